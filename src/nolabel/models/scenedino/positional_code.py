"""Where a point lies, in numbers a small network can read (SceneDINO specification, 3.3)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["PositionalCode", "normalised_depth"]

NEAREST_DEPTH = 1e-3  # metres


def normalised_depth(depth: Tensor, near: float, far: float, inverse: bool = True) -> Tensor:
    """Depth (or distance), metres, as a number that is 1 at ``near`` and -1 at ``far`` (``inverse``), or the reverse.

    Args:
        depth: any shape.
        near: metres.
        far: metres.
        inverse: linear in 1 / depth instead of depth.
    """
    if inverse:
        return 2 * (1 / depth.clamp(min=NEAREST_DEPTH) - 1 / far) / (1 / near - 1 / far) - 1
    return 2 * (depth - near) / (far - near) - 1


class PositionalCode(nn.Module):
    """Image position and depth, with sines and cosines of their multiples.

    Args:
        frequencies: how many.
        factor: the lowest, radians; each next one is twice as high.
        depth: measured along the viewing axis (``z``) or to the camera (``distance``).
        inverse: see :func:`normalised_depth`.
        near: metres.
        far: metres.
    """

    rates: Tensor
    phases: Tensor

    def __init__(
        self,
        frequencies: int = 6,
        factor: float = 1.5,
        depth: Literal["z", "distance"] = "z",
        inverse: bool = True,
        near: float = 3.0,
        far: float = 80.0,
    ) -> None:
        super().__init__()
        self.depth, self.inverse, self.near, self.far = depth, inverse, near, far
        rates = factor * 2.0 ** torch.arange(frequencies)
        # Phases of float32: sin(x + pi / 2), not cos(x), is what the weights were trained on.
        self.register_buffer("rates", rates.repeat_interleave(2)[:, None], persistent=False)
        self.register_buffer(
            "phases", torch.tensor([0, math.pi / 2]).repeat(frequencies)[:, None], persistent=False
        )
        self.channels = 3 + 6 * frequencies

    def forward(self, image: Tensor, z: Tensor, distance: Tensor) -> Tensor:
        """Encode points.

        Args:
            image: (..., 2) positions in the image, which spans -1..1.
            z: (...) depth, metres.
            distance: (...) to the camera, metres.

        Returns:
            (..., channels): position and depth; then for each frequency three sines and three shifted ones.
        """
        measured = z if self.depth == "z" else distance
        depth = normalised_depth(measured, self.near, self.far, self.inverse)
        place = torch.cat([image, depth[..., None]], dim=-1)
        waves = torch.addcmul(self.phases, place[..., None, :], self.rates).sin()
        return torch.cat([place, waves.flatten(-2)], dim=-1)
