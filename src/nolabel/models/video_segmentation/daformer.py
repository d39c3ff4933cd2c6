"""The two-frame transformer of UDASS: DAFormer on a Mix Transformer, with the fusion of ACCEL.

Source: spec ``udass_video.md`` 4.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.models.backbones import MIX_TRANSFORMERS, MixTransformer
from nolabel.models.segmentation import DAFormerHead
from nolabel.models.video_segmentation.contract import FrameScores, TwoFrameSegmentor
from nolabel.models.video_segmentation.feature_mixing import FeatureMix
from nolabel.models.video_segmentation.normalise import subtract_mean

__all__ = ["AccelDAFormer"]


class AccelDAFormer(TwoFrameSegmentor):
    """Two-frame DAFormer with scores at stride 4; it has one head.

    Its images are normalised as those of :class:`AccelDeepLab`, although the ImageNet weights of its backbone were
    trained on others: so were the published checkpoints.

    Args:
        num_logits: channels of the result.
        backbone: sizes of the Mix Transformer, one of ``MIX_TRANSFORMERS``.
        width: channels of the head.
        dropout: part of the head's channels dropped in training.
        reference_compat: see :class:`TwoFrameSegmentor`.
    """

    def __init__(
        self,
        num_logits: int = 15,
        *,
        backbone: str = "mit_b5",
        width: int = 256,
        dropout: float = 0.1,
        reference_compat: bool = False,
    ) -> None:
        super().__init__(num_logits, reference_compat=reference_compat)
        self.backbone = MixTransformer(MIX_TRANSFORMERS[backbone])
        self.head = DAFormerHead(self.backbone.channels, num_logits, width=width, dropout=dropout)

    def frame_scores(self, images: Tensor, mix: FeatureMix | None = None) -> FrameScores:
        """Score single frames; ``feature`` is the joined embedding of all maps. See :class:`TwoFrameSegmentor`."""
        images = subtract_mean(images).to(self.fusion.weight.dtype)
        feature = self.head.embed(self.backbone(images))
        mixed = feature if mix is None else mix.apply(feature)
        if mix is not None and self.reference_compat:
            # The release overwrites what it fuses from the mixed map; only batch statistics have seen it.
            with torch.no_grad():
                self.head.fusion(mixed)
            mixed = feature
        return FrameScores(self.head.classify(mixed), None, feature)
