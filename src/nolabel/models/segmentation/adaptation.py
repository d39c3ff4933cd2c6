"""The networks of DAFormer, HRDA, MIC and QuadMix by name.

Source: UDASS image specification, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor, nn

from nolabel.models.backbones import MIX_TRANSFORMERS, MixTransformer, ResNet, ResNetConfig
from nolabel.models.segmentation.encoder_decoder import EncoderDecoder
from nolabel.models.segmentation.heads import DAFormerHead, DeepLabV2Head, Fusion
from nolabel.models.segmentation.hrda import HRDA, HRDAConfig
from nolabel.models.segmentation.sliding import SlidingWindow

__all__ = [
    "ADAPTATION_NETWORKS",
    "DilatedResNet",
    "build_adaptation_network",
    "daformer",
    "deeplab_v2",
    "hrda",
]

RESNET_DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class DilatedResNet(nn.Module):
    """ResNet "v1c" with a stem of three 3x3 convolutions, at strides 4, 8, 8 and 8.

    The first block of a dilated stage has half of its dilation (``contract_dilation``).
    """

    def __init__(self, depths: tuple[int, int, int, int]) -> None:
        super().__init__()
        third, fourth = ((half, *(2 * half,) * (n - 1)) for half, n in ((1, depths[2]), (2, depths[3])))
        config = ResNetConfig((32, 32, 64), 256, 64, depths, (1, 2, 1, 1), (1, 1, third, fourth))
        self.resnet = ResNet(config)
        self.channels = config.out_channels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to the maps of the four stages, each axis rounded up."""
        return list(cast("dict[str, Tensor]", self.resnet(images)).values())


def daformer(
    transformer: str,
    num_logits: int,
    *,
    width: int = 256,
    fusion: Fusion = "separable_aspp",
    dilations: Sequence[int] = (1, 6, 12, 18),
    dropout: float = 0.1,
    drop_path: float = 0.1,
) -> EncoderDecoder:
    """Return a Mix Transformer with DAFormer's head.

    Args:
        transformer: name in :data:`~nolabel.models.backbones.MIX_TRANSFORMERS`.
        num_logits: channels of the result.
        width, fusion, dilations, dropout: of the head, see :class:`DAFormerHead`.
        drop_path: of the transformer.
    """
    backbone = MixTransformer(replace(MIX_TRANSFORMERS[transformer], drop_path=drop_path))
    options: dict[str, Any] = {
        "width": width,
        "fusion": fusion,
        "dilations": dilations,
        "dropout": dropout,
    }
    return EncoderDecoder(backbone, DAFormerHead(backbone.channels, num_logits, **options))


def deeplab_v2(resnet: str, num_logits: int, *, dilations: Sequence[int] = (6, 12)) -> EncoderDecoder:
    """Return a dilated ResNet (``resnet50``, ``resnet101``) with the reduced head of DeepLab-V2."""
    backbone = DilatedResNet(RESNET_DEPTHS[resnet])
    return EncoderDecoder(backbone, DeepLabV2Head(backbone.channels[-1], num_logits, dilations))


def hrda(
    single: EncoderDecoder,
    *,
    detail_size: int = 512,
    window: int | None = None,
    classwise_attention: bool = True,
    **options: Any,
) -> HRDA:
    """Return a network that looks at two resolutions with the backbone and the head of one that looks once.

    Args:
        single: what :func:`daformer` or :func:`deeplab_v2` returned; it is taken over.
        detail_size: pixels along each side of a detail window.
        window: of the sliding window over larger images; twice the detail by default, 0 for none.
        classwise_attention: whether the attention is learned for each class, or once for all.
        options: further fields of :class:`HRDAConfig`.
    """
    side = 2 * detail_size if window is None else window
    grid = SlidingWindow((side, side), (side // 2, side // 2)) if side else None
    config = HRDAConfig(detail_size, window=grid, **options)
    head, channels = single.head, cast("Sequence[int]", single.backbone.channels)
    attention: DAFormerHead | DeepLabV2Head | None = None
    if config.fixed_attention is None:
        count = single.num_logits if classwise_attention else 1
        if isinstance(head, DAFormerHead):
            attention = DAFormerHead(
                channels, count, width=head.width, fusion="conv1", dropout=head.dropout.p
            )
        else:
            attention = DeepLabV2Head(channels[-1], count, head.dilations)
    return HRDA(single.backbone, head, attention, config)


def build_adaptation_network(name: str, num_logits: int, **options: Any) -> EncoderDecoder | HRDA:
    """Build one of :data:`ADAPTATION_NETWORKS` with random weights.

    Args:
        name: of the network.
        num_logits: channels of the result.
        options: arguments of :func:`daformer` or :func:`deeplab_v2`, and for HRDA those of :func:`hrda`, too.
    """
    kind = ADAPTATION_NETWORKS[name]
    own = {key: options.pop(key) for key in HRDA_OPTIONS & options.keys()} if kind.resolutions == 2 else {}
    make = daformer if kind.head == "daformer" else deeplab_v2
    single = make(kind.backbone, num_logits, **options)
    return hrda(single, **own) if kind.resolutions == 2 else single


class Kind(NamedTuple):
    """What a name stands for."""

    resolutions: int
    head: Literal["daformer", "deeplab_v2"]
    backbone: str


ADAPTATION_NETWORKS = {
    **{f"daformer_{name}": Kind(1, "daformer", name) for name in MIX_TRANSFORMERS},
    **{f"hrda_{name}": Kind(2, "daformer", name) for name in MIX_TRANSFORMERS},
    **{f"deeplab_v2_{name}": Kind(1, "deeplab_v2", name) for name in RESNET_DEPTHS},
    **{f"hrda_{name}": Kind(2, "deeplab_v2", name) for name in RESNET_DEPTHS},
}
"""Networks by name: ``daformer_mit_b5``, ``hrda_mit_b5`` (DAFormer's head), ``deeplab_v2_resnet101``,
``hrda_resnet101`` (DeepLab-V2's head), and so on for the other sizes."""
HRDA_OPTIONS = {field.name for field in fields(HRDAConfig)} | {"classwise_attention"}
