"""RAFT's correlation of all pairs of positions, and the windows that an update reads from it (spec cups_pseudo 3.2)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.models.pointwise import linear

__all__ = ["CorrelationPyramid"]


class CorrelationPyramid:
    """Scalar products of the features of each position of one image with those of all positions of another.

    Upper levels are products with averaged features, which equal averaged products. One pair of images of
    H x W pixels takes 4/3 (H W / 64)^2 floats: 0.87 GB at 640x1280.

    Args:
        first: (B, C, h, w) features, on whose grid windows are asked for.
        second: (B, C, h, w) features in which they lie.
        levels: levels of the pyramid; sides halve from one to the next.
        radius: cells on each side of a window's centre.
    """

    def __init__(self, first: Tensor, second: Tensor, levels: int = 4, radius: int = 4) -> None:
        batch, channels, self.height, self.width = first.shape
        queries = first.flatten(2) / math.sqrt(channels)
        self.levels: list[Tensor] = []
        for level in range(levels):
            if level > 0:
                second = F.avg_pool2d(second, kernel_size=2, stride=2)
            # (B, N, h' w'): the positions of ``second`` are the rows of a matrix that maps the queries.
            products = [
                linear(q.T, keys.flatten(1).T.contiguous()) for q, keys in zip(queries, second, strict=True)
            ]
            volume = torch.stack(products) if batch > 1 else products[0][None]
            self.levels.append(volume.view(batch * self.height * self.width, 1, *second.shape[-2:]))
        steps = torch.arange(-radius, radius + 1, device=first.device, dtype=torch.float32)
        # As in torchvision, the first axis of a window is x.
        offsets = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
        # What grid_sample calls 2 is the distance of the outermost cells.
        sizes = [(volume.shape[-1], volume.shape[-2]) for volume in self.levels]
        self._scales = 2 / (torch.tensor(sizes, device=first.device, dtype=torch.float32) - 1)
        self._offsets = offsets * self._scales[:, None, None]
        self._shrink = 0.5 ** torch.arange(levels, device=first.device, dtype=torch.float32)[:, None]

    def windows(self, position: Tensor) -> Tensor:
        """Read the window around each position from every level.

        Args:
            position: (B, 2, h, w) column and row in ``second``.

        Returns:
            (B, levels (2 radius + 1)^2, h, w) bilinear values, 0 outside, channels last in memory.
        """
        batch = len(position)
        centre = position.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
        read = []
        for volume, scale, offsets in zip(
            self.levels, self._scales * self._shrink, self._offsets, strict=True
        ):
            sampled = F.grid_sample(volume, centre * scale - 1 + offsets, mode="bilinear", align_corners=True)
            read.append(sampled.view(batch, self.height, self.width, -1))
        return torch.cat(read, dim=-1).permute(0, 3, 1, 2)
