"""Band-limited procedural noise from one fixed periodic volume, and anti-aliased stripe patterns."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 64  # cells per period of the noise volume


@lru_cache(maxsize=4)
def _volume(device: torch.device) -> Tensor:
    """Uniform [-1, 1] values on a periodic lattice, two channels, padded by one: (1, 2, 65, 65, 65)."""
    generator = torch.Generator().manual_seed(20250611)
    values = torch.rand((2, SIDE, SIDE, SIDE), generator=generator) * 2 - 1
    for axis in (1, 2, 3):
        values = torch.cat([values, values.narrow(axis, 0, 1)], axis)
    return values.unsqueeze(0).to(device)


def value_noise(points: Tensor, channels: int = 2) -> Tensor:
    """Trilinear value noise at lattice coordinates (n, 3): `channels` (1 or 2) independent ones, (n, c) in [-1, 1]."""
    wrapped = points - (points / SIDE).floor() * SIDE
    grid = (wrapped * (2.0 / SIDE) - 1.0).view(1, -1, 1, 1, 3)
    return (
        F.grid_sample(_volume(points.device)[:, :channels], grid, align_corners=True, padding_mode="border")
        .view(channels, -1)
        .T
    )


def value_noise_nearest(points: Tensor) -> Tensor:
    """Blocky noise at lattice coordinates (n, 3): one value (n,) in [-1, 1]; cheap, for cut-outs."""
    cell = points.floor().long() & (SIDE - 1)
    return _volume(points.device)[0, 0].reshape(-1)[
        (cell[:, 2] * (SIDE + 1) + cell[:, 1]) * (SIDE + 1) + cell[:, 0]
    ]


def hash_cells(*cells: Tensor) -> Tensor:
    """A repeatable pseudo-random number in [0, 1) for integer-valued coordinates, each (n,)."""
    state = torch.zeros_like(cells[0], dtype=torch.int64)
    for step, cell in enumerate(cells):
        state = (state ^ (cell.floor().long() + 0x9E37 * (step + 1))) * 0x5851F42D
        state = (state ^ (state >> 15)) & 0x7FFFFFFF
    state = (state * 0x27D4EB2F) & 0x7FFFFFFF
    return ((state >> 7) & 0xFFFF).float() / 65536.0


def step(value: Tensor, edge: float | Tensor, width: Tensor) -> Tensor:
    """0 below `edge`, 1 above, blended over `width` (the size of a pixel in the units of `value`)."""
    return ((value - edge) / width.clamp(min=1e-4) + 0.5).clamp(0, 1)


def band(value: Tensor, low: float | Tensor, high: float | Tensor, width: Tensor) -> Tensor:
    """1 between `low` and `high`, 0 outside, with pixel-wide edges."""
    return step(value, low, width) - step(value, high, width)


def stripes(value: Tensor, period: float, share: float, width: Tensor) -> Tensor:
    """Periodic stripes: 1 on the first `share` of each `period`; fades to its mean once a pixel covers a period."""
    inside = value - (value / period).floor() * period
    mask = band(inside, 0.0, period * share, width)
    fade = (width / (0.6 * period)).clamp(0, 1)
    return mask + (share - mask) * fade
