"""ACCEL on DeepLab-V2: the convolutional two-frame networks of UDASS, and of TPS, which teaches it.

Source: spec ``udass_video.md`` 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor, nn

from nolabel.models.backbones import ResNet, ResNetConfig
from nolabel.models.segmentation import DilatedSum
from nolabel.models.video_segmentation.contract import FrameScores, TwoFrameSegmentor
from nolabel.models.video_segmentation.feature_mixing import FeatureMix
from nolabel.models.video_segmentation.normalise import subtract_mean

__all__ = ["AccelDeepLab", "AccelDeepLabConfig"]

# ResNet-101 at stride 8: the last two stages are dilated instead of strided.
RESNET_101_STRIDE_8 = ResNetConfig(64, 256, 64, (3, 4, 23, 3), (1, 2, 1, 1), (1, 1, 2, 4), caffe=True)


@dataclass(frozen=True)
class AccelDeepLabConfig:
    """Sizes of an ACCEL DeepLab-V2; the defaults are the network of the released UDASS checkpoints.

    Attributes:
        num_logits: channels of the result.
        resnet: widths and depths of the backbone.
        head_channels: channels between the dilated convolutions of the main head and its classifier; None where these
            convolutions classify themselves, as in TPS.
        rates: dilations of the convolutions of a head.
        dropout: part of the head's channels dropped in training (with ``head_channels``).
    """

    num_logits: int = 15
    resnet: ResNetConfig = field(default_factory=lambda: RESNET_101_STRIDE_8)
    head_channels: int | None = 256
    rates: tuple[int, ...] = (6, 12, 18, 24)
    dropout: float = 0.1

    @classmethod
    def tps(cls, num_logits: int = 15, **changes: Any) -> Self:
        """Return the network of the released TPS checkpoints, the teacher."""
        settings: dict[str, Any] = {"head_channels": None}
        return cls(num_logits=num_logits, **(settings | changes))

    @classmethod
    def tiny(cls, num_logits: int = 15, **changes: Any) -> Self:
        """Return a network of about half a million parameters for small images and processors without an accelerator."""
        settings: dict[str, Any] = {
            "resnet": ResNetConfig(16, 64, 16, (1, 2, 2, 1), (1, 2, 1, 1), (1, 1, 2, 4), caffe=True),
            "head_channels": 32,
            "rates": (1, 3, 6),
        }
        return cls(num_logits=num_logits, **(settings | changes))


class DeepHead(nn.Module):
    """A dilated sum, dropout of whole channels and a classifier, without anything non-linear between them."""

    def __init__(
        self, in_channels: int, channels: int, num_logits: int, rates: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.pooling = DilatedSum(in_channels, channels, rates)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_logits, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in, h, w) to (B, num_logits, h, w)."""
        scores: Tensor = self.classifier(self.dropout(self.pooling(features)))
        return scores


class AccelDeepLab(TwoFrameSegmentor):
    """Two-frame DeepLab-V2 on ResNet-101 with scores at stride 8 and a second head on the third stage.

    The affine maps of the batch normalisations are never trained; their statistics follow the data in training.

    Args:
        config: sizes.
        reference_compat: see :class:`TwoFrameSegmentor`.
    """

    def __init__(self, config: AccelDeepLabConfig | None = None, *, reference_compat: bool = False) -> None:
        self.config = config = config or AccelDeepLabConfig()
        super().__init__(config.num_logits, reference_compat=reference_compat)
        *_, third, last = config.resnet.out_channels
        self.backbone = ResNet(config.resnet)
        self.auxiliary = DilatedSum(third, config.num_logits, config.rates)
        self.main: nn.Module = DilatedSum(last, config.num_logits, config.rates)
        if config.head_channels is not None:
            self.main = DeepHead(last, config.head_channels, config.num_logits, config.rates, config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        for part in (self.backbone, self.auxiliary, self.main):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.normal_(module.weight, std=0.01)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.requires_grad_(False)
                module.bias.requires_grad_(False)

    def frame_scores(self, images: Tensor, mix: FeatureMix | None = None) -> FrameScores:
        """Score single frames; ``feature`` is the last stage of the backbone. See :class:`TwoFrameSegmentor`."""
        # In the type of the weights: frames may come in a finer one, so that what wraps around stays exact.
        stages = self.backbone(subtract_mean(images).to(self.fusion.weight.dtype))
        feature = stages["res5"]
        # The released source takes the other feature map and does nothing with it.
        mixed = feature if mix is None or self.reference_compat else mix.apply(feature)
        return FrameScores(self.main(mixed), self.auxiliary(stages["res4"]), feature)
