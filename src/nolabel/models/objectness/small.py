"""Small objectness networks: the pyramid network of semantic segmentation with three regressed maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nolabel.models.objectness.contract import ObjectnessModule
from nolabel.models.segmentation import PyramidSegmentor, enlarge
from nolabel.models.segmentation.pyramid import timm_pyramid, tiny_pyramid

__all__ = ["SmallObjectness"]

MAPS = 3  # boundary, and the two channels of the centre field


class SmallObjectness(ObjectnessModule):
    """A backbone's pyramid of maps, a light decoder, and both fields from its one last convolution.

    The maps are drawn at the stride of the finest features and enlarged bilinearly; a field that is not asked for is not
    enlarged, which is all that it costs here.

    Args:
        architecture: ``tiny`` (0.4 million parameters), or a convolutional backbone of timm (``resnet18``).
        options: of :class:`~nolabel.models.segmentation.PyramidSegmentor` (``width``) or ``finest``, the least stride
            of a timm backbone's maps that is used.

    Raises:
        ConfigError: timm has no such model, or it has no pyramid of maps.
    """

    def __init__(self, architecture: str = "tiny", **options: Any) -> None:
        super().__init__()
        options = {"dropout": 0.0, **options}
        self.pyramid: PyramidSegmentor = (
            tiny_pyramid(MAPS, **options)
            if architecture == "tiny"
            else timm_pyramid(architecture, MAPS, **options)
        )

    def maps(
        self, crops: Tensor, boundary: bool = True, centre: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return boundary (N, S, S) in (-1, 1) and centre field (N, 2, S, S), each where it is asked for."""
        drawn, size = self.pyramid(crops), (crops.shape[-2], crops.shape[-1])
        stride = self.pyramid.stride
        distance = torch.tanh(enlarge(drawn[:, :1], stride, size)[:, 0]) if boundary else None
        return distance, enlarge(drawn[:, 1:], stride, size) if centre else None
