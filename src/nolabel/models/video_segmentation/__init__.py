"""Semantic segmentation of video: networks that see the frame before, and the motion between the two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nolabel.errors import ConfigError
from nolabel.models.video_segmentation.contract import (
    FrameScores,
    TwoFrameScores,
    TwoFrameSegmentor,
    enlarge_corners,
)
from nolabel.models.video_segmentation.daformer import AccelDAFormer
from nolabel.models.video_segmentation.deeplab import AccelDeepLab, AccelDeepLabConfig
from nolabel.models.video_segmentation.feature_mixing import FeatureMix, mix_features
from nolabel.models.video_segmentation.normalise import add_mean, subtract_mean

__all__ = [
    "AccelDAFormer",
    "AccelDeepLab",
    "AccelDeepLabConfig",
    "FeatureMix",
    "FrameScores",
    "TwoFrameScores",
    "TwoFrameSegmentor",
    "add_mean",
    "build_video_segmentor",
    "enlarge_corners",
    "mix_features",
    "subtract_mean",
]

_DEEPLABS: dict[str, Callable[..., AccelDeepLabConfig]] = {
    "accel_deeplab": AccelDeepLabConfig,
    "accel_deeplab_tps": AccelDeepLabConfig.tps,
    "accel_deeplab_tiny": AccelDeepLabConfig.tiny,
}

_DAFORMERS: dict[str, dict[str, Any]] = {
    "accel_daformer": {},
    "accel_daformer_tiny": {"backbone": "mit_tiny", "width": 32},
}


def build_video_segmentor(
    name: str, num_logits: int, *, reference_compat: bool = False, **options: Any
) -> TwoFrameSegmentor:
    """Build a two-frame network with random weights.

    Args:
        name: ``accel_deeplab`` (UDASS' convolutional network), ``accel_deeplab_tps`` (its teacher),
            ``accel_daformer`` (its transformer), or ``accel_deeplab_tiny`` and ``accel_daformer_tiny``.
        num_logits: channels of the result.
        reference_compat: see :class:`TwoFrameSegmentor`.
        options: fields of :class:`AccelDeepLabConfig`, or arguments of :class:`AccelDAFormer`.

    Raises:
        ConfigError: there is no such network.
    """
    if name in _DEEPLABS:
        return AccelDeepLab(_DEEPLABS[name](num_logits, **options), reference_compat=reference_compat)
    if name in _DAFORMERS:
        return AccelDAFormer(num_logits, reference_compat=reference_compat, **(_DAFORMERS[name] | options))
    known = ", ".join((*_DEEPLABS, *_DAFORMERS))
    raise ConfigError(f"there is no two-frame network {name!r}", hint=f"choose one of {known}")
