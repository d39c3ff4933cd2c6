"""A narrow convolutional network for dense features, small enough to be trained from nothing on one processor core.

Maps of 4, 8 and 16 pixels a cell are brought to one grid and added up, so that a cell knows both its own texture and
what lies around it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.errors import ConfigError
from nolabel.models.backbones.convolution import ConvNorm
from nolabel.models.features.extractor import FeatureExtractor, ImageNetNormalised, SceneGeometry

__all__ = ["CompactFeatures"]

STAGES = (4, 8, 16)  # pixels a cell


class CompactFeatures(FeatureExtractor):
    """A residual network of three stages whose maps are added up on one grid.

    Args:
        widths: channels at 4, 8 and 16 pixels a cell.
        depths: residual blocks of each stage.
        channels: length of the feature vectors; they are normalised over a batch (BatchNorm), not in length.
        stride: pixels a cell of the result: 4 or 8.

    Raises:
        ConfigError: another stride, or not three stages.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = (48, 96, 192),
        depths: tuple[int, int, int] = (1, 2, 2),
        channels: int = 128,
        stride: int = 8,
    ) -> None:
        super().__init__()
        if stride not in (4, 8) or len(widths) != 3 or len(depths) != 3:
            raise ConfigError(
                f"no compact network has stride {stride}, widths {tuple(widths)} and depths {tuple(depths)}",
                hint="stride 4 or 8; three widths and three depths",
            )
        self.stride, self.channels = stride, channels
        self.normalise = ImageNetNormalised()
        self.stem = nn.Sequential(
            ConvNorm(3, widths[0] // 2, 3, 2), nn.ReLU(), ConvNorm(widths[0] // 2, widths[0], 3, 2), nn.ReLU()
        )
        inputs = (widths[0], *widths[:2])
        self.stages = nn.ModuleList(
            _stage(into, width, depth, 1 if place == 0 else 2)
            for place, (into, width, depth) in enumerate(zip(inputs, widths, depths, strict=True))
        )
        self.laterals = nn.ModuleList(ConvNorm(width, channels) for width in widths)
        self.output = ConvNorm(channels, channels, 3)

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Map RGB (B, 3, H, W) in [0, 1] to (B, channels, ceil(H / stride), ceil(W / stride))."""
        x = self.stem(self.normalise(_filled_up(images, STAGES[-1])))
        maps = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        size = maps[0 if self.stride == STAGES[0] else 1].shape[-2:]
        fused = torch.stack([_brought_to(found, size) for found in maps]).sum(0)
        rows, columns = (-(-side // self.stride) for side in images.shape[-2:])
        return self.output(F.relu(fused))[..., :rows, :columns]


class _Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016, basic block)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride)
        self.second = ConvNorm(outputs, outputs, 3)
        nn.init.zeros_(self.second.norm.weight)  # type: ignore[arg-type]  # a block begins as its shortcut
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.second(F.relu(self.first(x))))


def _stage(inputs: int, outputs: int, depth: int, stride: int) -> nn.Sequential:
    blocks = [
        _Residual(inputs if n == 0 else outputs, outputs, stride if n == 0 else 1) for n in range(depth)
    ]
    return nn.Sequential(*blocks)


def _filled_up(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until the sides are multiples."""
    rows, columns = (-side % multiple for side in images.shape[-2:])
    return F.pad(images, [0, columns, 0, rows], mode="replicate") if rows or columns else images


def _brought_to(maps: Tensor, size: torch.Size) -> Tensor:
    """Average a finer map, interpolate a coarser one."""
    if maps.shape[-2:] == size:
        return maps
    if maps.shape[-1] > size[-1]:
        return F.avg_pool2d(maps, maps.shape[-1] // size[-1])
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
