"""Nearest-neighbour sampling between the image and the coarse grid on which motions are searched (spec 5.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_shape(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return the size of the grid for an image, at least 2x2."""
    return max(2, int(scale * height)), max(2, int(scale * width))


def nearest_indices(source: int, target: int) -> Tensor:
    """Return which of ``source`` samples each of ``target`` samples reads: (target,) int64 on the CPU.

    Output ``i`` reads position ``s/2 - 0.5 + i s`` with ``s = source / target``. Positions exactly between two
    samples are common (every even ``s``); they are decided by float32 rounding inside ``grid_sample``, which the
    published labels depend on. So the indices are read off a ramp with that very function.
    """
    step = source / target
    positions = (step / 2 - 0.5 + step * torch.arange(target, dtype=torch.float64)).float()
    normalised = (positions - (source - 1) / 2) / (source - 1) * 2
    ramp = torch.arange(source, dtype=torch.float32).view(1, 1, 1, source)
    grid = torch.stack([normalised, torch.zeros_like(normalised)], dim=-1).view(1, 1, target, 2)
    read = F.grid_sample(ramp, grid, mode="nearest", padding_mode="border", align_corners=True)
    return read.view(target).long()


def resize_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., H, W) of any type to ``size`` by the rule of ``nearest_indices``, down or up."""
    rows = nearest_indices(maps.shape[-2], size[0]).to(maps.device)
    columns = nearest_indices(maps.shape[-1], size[1]).to(maps.device)
    return maps[..., rows, :][..., columns]
