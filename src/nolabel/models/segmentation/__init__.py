"""Semantic segmentation networks behind one small contract."""

from __future__ import annotations

from typing import Any

from nolabel.models.segmentation.contract import Segmentor, enlarge
from nolabel.models.segmentation.deeplab import DeepLabConfig, DeepLabV3Plus
from nolabel.models.segmentation.pyramid import PyramidSegmentor, timm_pyramid, tiny_pyramid

__all__ = [
    "DeepLabConfig",
    "DeepLabV3Plus",
    "PyramidSegmentor",
    "Segmentor",
    "build_segmentor",
    "enlarge",
]


def build_segmentor(name: str, num_logits: int, **options: Any) -> Segmentor:
    """Build a network with random weights.

    Args:
        name: ``deeplab_v3_plus`` (the official sizes), ``deeplab_v3_plus_tiny``, ``tiny``, or a timm model that gives a
            pyramid of features.
        num_logits: channels of the result.
        options: fields of :class:`DeepLabConfig`, or arguments of :class:`PyramidSegmentor`.

    Raises:
        ConfigError: there is no such network.
    """
    if name == "deeplab_v3_plus":
        return DeepLabV3Plus(DeepLabConfig(num_logits, **options))
    if name == "deeplab_v3_plus_tiny":
        return DeepLabV3Plus(DeepLabConfig.tiny(num_logits, **options))
    if name == "tiny":
        return tiny_pyramid(num_logits, **options)
    return timm_pyramid(name, num_logits, **options)
