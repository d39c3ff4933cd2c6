"""The blocks of DPT's decoder (Ranftl et al., ICCV 2021), which unMORE and SceneDINO share.

Four maps of a vision transformer, all of one size, become a pyramid of four sizes (4x, 2x, 1x and 1/2 of the tokens'
grid), and are fused from coarse to fine by residual units.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Fusion", "ResidualUnit", "enlarge_twice", "fuse", "fusions", "projections", "reassembling"]


def enlarge_twice(x: Tensor) -> Tensor:
    """Double the sides of (N, C, H, W) bilinearly, corners on corners."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """Adds a finer map to what comes from below and refines the sum.

    ``out`` and the enlargement before it belong to the block, but the caller applies them: a linear head takes its taps
    before them.
    """

    def __init__(self, channels: int, *, has_skip: bool) -> None:
        super().__init__()
        self.skip = ResidualUnit(channels) if has_skip else None
        self.refine = ResidualUnit(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return the refined sum of two maps (N, C, H, W); a skip of another size is brought to that of ``x``."""
        if self.skip is not None and skip is not None:
            if skip.shape[-2:] != x.shape[-2:]:  # an odd number of tokens, rounded up by the coarsest map
                skip = F.interpolate(skip, size=x.shape[-2:], mode="bilinear", align_corners=False)
            x = x + self.skip(skip)
        return self.refine(x)

    def enlarged(self, x: Tensor) -> Tensor:
        """Finish the block: (N, C, 2 H, 2 W).

        Published order: enlarge, then ``out``. Both are linear and the weights of the enlargement sum to one, so the other
        order is the same function at a quarter of the price.
        """
        return enlarge_twice(self.out(x))


def reassembling(width: int, channels: tuple[int, int, int, int]) -> nn.ModuleList:
    """Make the layers that turn four maps of tokens (N, width, h, w) into the pyramid's, finest first."""
    resampling = (
        nn.ConvTranspose2d(channels[0], channels[0], 4, 4),
        nn.ConvTranspose2d(channels[1], channels[1], 2, 2),
        nn.Identity(),
        nn.Conv2d(channels[3], channels[3], 3, 2, 1),
    )
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(width, count, 1), resample)
        for count, resample in zip(channels, resampling, strict=True)
    )


def projections(channels: tuple[int, int, int, int], features: int) -> nn.ModuleList:
    """Make the convolutions that bring the pyramid's maps to the decoder's channels."""
    return nn.ModuleList(nn.Conv2d(count, features, 3, padding=1, bias=False) for count in channels)


def fusions(features: int) -> nn.ModuleList:
    """Make the four fusions, finest first; the coarsest has nothing to add."""
    return nn.ModuleList(Fusion(features, has_skip=level < 3) for level in range(4))


def fuse(maps: list[Tensor], projecting: Iterable[nn.Module], blocks: Iterable[nn.Module]) -> Tensor:
    """Fuse the pyramid's maps from coarse to fine: as large as the finest, before the last block's enlargement."""
    projected = [project(x) for project, x in zip(projecting, maps, strict=True)]
    levels = [cast(Fusion, block) for block in blocks]
    x = levels[3](projected[3])
    for level in (2, 1, 0):
        x = levels[level](levels[level + 1].enlarged(x), projected[level])
    return x
