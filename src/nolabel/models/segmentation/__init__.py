"""Semantic segmentation networks behind one small contract."""

from __future__ import annotations

from typing import Any

from nolabel.models.segmentation.adaptation import ADAPTATION_NETWORKS, build_adaptation_network
from nolabel.models.segmentation.boxes import Box
from nolabel.models.segmentation.contract import Segmentor, enlarge
from nolabel.models.segmentation.deeplab import DeepLabConfig, DeepLabV3Plus
from nolabel.models.segmentation.discriminator import DomainDiscriminator
from nolabel.models.segmentation.encoder_decoder import EncoderDecoder
from nolabel.models.segmentation.heads import DAFormerHead, DeepLabV2Head, DilatedSum
from nolabel.models.segmentation.hrda import HRDA, HRDAConfig, HRDAMaps
from nolabel.models.segmentation.outputs import FeatureSegmentor, TrainingOutputs
from nolabel.models.segmentation.pyramid import PyramidSegmentor, timm_pyramid, tiny_pyramid
from nolabel.models.segmentation.sliding import SlidingWindow, sliding_logits

__all__ = [
    "ADAPTATION_NETWORKS",
    "HRDA",
    "Box",
    "DAFormerHead",
    "DeepLabConfig",
    "DeepLabV2Head",
    "DeepLabV3Plus",
    "DilatedSum",
    "DomainDiscriminator",
    "EncoderDecoder",
    "FeatureSegmentor",
    "HRDAConfig",
    "HRDAMaps",
    "PyramidSegmentor",
    "Segmentor",
    "SlidingWindow",
    "TrainingOutputs",
    "build_segmentor",
    "enlarge",
    "sliding_logits",
]


def build_segmentor(name: str, num_logits: int, **options: Any) -> Segmentor:
    """Build a network with random weights.

    Args:
        name: ``deeplab_v3_plus`` (the official sizes), ``deeplab_v3_plus_tiny``, ``tiny``, one of
            :data:`ADAPTATION_NETWORKS` (``daformer_mit_b5``, ``hrda_mit_b5``, ``deeplab_v2_resnet101``,
            ``daformer_mit_tiny``, ...), or a timm model that gives a pyramid of features.
        num_logits: channels of the result.
        options: fields of :class:`DeepLabConfig`, arguments of :class:`PyramidSegmentor`, or of the functions in
            :mod:`nolabel.models.segmentation.adaptation`.

    Raises:
        ConfigError: there is no such network.
    """
    if name == "deeplab_v3_plus":
        return DeepLabV3Plus(DeepLabConfig(num_logits, **options))
    if name == "deeplab_v3_plus_tiny":
        return DeepLabV3Plus(DeepLabConfig.tiny(num_logits, **options))
    if name == "tiny":
        return tiny_pyramid(num_logits, **options)
    if name in ADAPTATION_NETWORKS:
        return build_adaptation_network(name, num_logits, **options)
    return timm_pyramid(name, num_logits, **options)
