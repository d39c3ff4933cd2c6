"""Checkpoints in the layout of mmsegmentation (DAFormer, HRDA, MIC, UDASS for images) and of the backbones they take.

Student, teacher and frozen copy in one file are told apart by :func:`nolabel.weights.select_part`; here are the names
within one of them. Source: UDASS image specification, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.renaming import Rules, renamed

__all__ = ["OfficialNetwork", "backbone_state", "describe", "from_network", "is_official", "to_network"]

MIX_TRANSFORMER: Rules = tuple(
    (official.format(stage + 1), ours.format(stage))
    for stage in range(4)
    for official, ours in (
        ("patch_embed{}.proj.", "stages.{}.embedding.projection."),
        ("patch_embed{}.norm.", "stages.{}.embedding.norm."),
        ("block{}.#.norm1.", "stages.{}.blocks.#.norm1."),
        ("block{}.#.attn.q.", "stages.{}.blocks.#.attention.query."),
        ("block{}.#.attn.kv.", "stages.{}.blocks.#.attention.key_value."),
        ("block{}.#.attn.proj.", "stages.{}.blocks.#.attention.projection."),
        ("block{}.#.attn.sr.", "stages.{}.blocks.#.attention.reduction."),
        ("block{}.#.attn.norm.", "stages.{}.blocks.#.attention.reduced_norm."),
        ("block{}.#.norm2.", "stages.{}.blocks.#.norm2."),
        ("block{}.#.mlp.fc1.", "stages.{}.blocks.#.feed_forward.expand."),
        ("block{}.#.mlp.dwconv.dwconv.", "stages.{}.blocks.#.feed_forward.depthwise."),
        ("block{}.#.mlp.fc2.", "stages.{}.blocks.#.feed_forward.contract."),
        ("norm{}.", "stages.{}.norm."),
    )
)

RESNET: Rules = (
    *(
        rule
        for number in (1, 2, 3)
        for rule in (
            (f"stem.{3 * number - 3}.", f"resnet.stem.conv{number}."),
            (f"stem.{3 * number - 2}.", f"resnet.stem.conv{number}.norm."),
        )
    ),
    *(
        (f"layer{stage}.#.{official}.", f"resnet.res{stage + 1}.#.{ours}.")
        for stage in (1, 2, 3, 4)
        for official, ours in (
            *((f"conv{number}", f"conv{number}") for number in (1, 2, 3)),
            *((f"bn{number}", f"conv{number}.norm") for number in (1, 2, 3)),
            ("downsample.0", "shortcut"),
            ("downsample.1", "shortcut.norm"),
        )
    ),
)

DAFORMER_HEAD: Rules = (
    ("conv_seg.", "classifier."),
    ("embed_layers.#.proj.", "embeddings.#."),
    ("fuse_layer.aspp_modules.#.depthwise_conv.conv.", "fusion.branches.#.depthwise."),
    ("fuse_layer.aspp_modules.#.depthwise_conv.bn.", "fusion.branches.#.depthwise.norm."),
    ("fuse_layer.aspp_modules.#.pointwise_conv.conv.", "fusion.branches.#.pointwise."),
    ("fuse_layer.aspp_modules.#.pointwise_conv.bn.", "fusion.branches.#.pointwise.norm."),
    ("fuse_layer.aspp_modules.#.conv.", "fusion.branches.#."),
    ("fuse_layer.aspp_modules.#.bn.", "fusion.branches.#.norm."),
    ("fuse_layer.bottleneck.conv.", "fusion.bottleneck."),
    ("fuse_layer.bottleneck.bn.", "fusion.bottleneck.norm."),
    ("fuse_layer.conv.", "fusion."),
    ("fuse_layer.bn.", "fusion.norm."),
)
DEEPLAB_V2_HEAD: Rules = (("aspp_modules.#.conv.", "branches.#."),)
DISCRIMINATOR: Rules = (
    *((f"conv{number + 1}.", f"convolutions.{number}.") for number in range(4)),
    ("classifier.", "classifier."),
)

BACKBONES = MIX_TRANSFORMER + RESNET
HEADS = DAFORMER_HEAD + DEEPLAB_V2_HEAD


def _within(official: str, ours: str, rules: Rules) -> Rules:
    return tuple((official + start, ours + our_start) for start, our_start in rules)


ONE_RESOLUTION = _within("backbone.", "backbone.", BACKBONES) + _within("decode_head.", "head.", HEADS)
TWO_RESOLUTIONS = (
    _within("backbone.", "backbone.", BACKBONES)
    + _within("decode_head.head.", "head.", HEADS)
    + _within("decode_head.scale_attention.", "scale_attention.", HEADS)
)

TWO_RESOLUTIONS_MARK = "decode_head.head."
ATTENTION = "decode_head.scale_attention."
CLASSIFIER_OF_IMAGENET = re.compile(r"^(head|fc)\.")

# (channels of the first stage, blocks of each stage): name.
TRANSFORMER_NAMES: dict[tuple[int, tuple[int, ...]], str] = {
    (32, (2, 2, 2, 2)): "mit_b0",
    (64, (2, 2, 2, 2)): "mit_b1",
    (64, (3, 4, 6, 3)): "mit_b2",
    (64, (3, 4, 18, 3)): "mit_b3",
    (64, (3, 8, 27, 3)): "mit_b4",
    (64, (3, 6, 40, 3)): "mit_b5",
}
RESNET_NAMES: dict[tuple[int, ...], str] = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101"}
DILATIONS = {2: (6, 12), 4: (6, 12, 18, 24)}


@dataclass(frozen=True)
class OfficialNetwork:
    """Which network a checkpoint holds.

    Attributes:
        name: as :func:`nolabel.models.segmentation.build_segmentor` calls it.
        num_logits: channels of its result.
        options: of ``build_segmentor``, where they are not the defaults.
    """

    name: str
    num_logits: int
    options: dict[str, Any] = field(default_factory=dict)


def is_official(names: Iterable[str]) -> bool:
    """Say whether these are the names of a whole network in this layout (without the prefix of student or teacher)."""
    return any(name.startswith("decode_head.") for name in names)


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of DAFormer, DeepLab-V2 or HRDA of :mod:`nolabel.models.segmentation`.

    Args:
        state: tensors by official name. Names that are in no official file are kept, for the strict loader to complain
            about.

    Raises:
        WeightsError: there is no head, so this is no such network.
    """
    if not is_official(state):
        some = ", ".join(list(state)[:3]) or "no tensors at all"
        raise WeightsError(
            f"this is no DAFormer or HRDA checkpoint: there is no decode_head (found {some}, ...)",
            hint="a backbone alone (mit_b5.pth) is what training starts from: give it as the backbone's weights",
        )
    two = any(name.startswith(TWO_RESOLUTIONS_MARK) for name in state)
    return renamed(state, TWO_RESOLUTIONS if two else ONE_RESOLUTION)


def from_network(state: Mapping[str, Any], *, two_resolutions: bool | None = None) -> dict[str, Any]:
    """Return the official names of what is named by parameter (inverse of :func:`to_network`).

    Args:
        state: anything by our names.
        two_resolutions: whether it is HRDA; by default, whether there is an attention between resolutions.
    """
    if two_resolutions is None:
        two_resolutions = any(name.startswith("scale_attention.") for name in state)
    return renamed(state, TWO_RESOLUTIONS if two_resolutions else ONE_RESOLUTION, back=True)


def backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone of an ImageNet checkpoint (``mit_b5.pth``, ``resnet101_v1c``) or of a whole network.

    Names begin with ``backbone.``, as in a whole network of ours.

    Raises:
        WeightsError: there is neither a Mix Transformer nor a ResNet with a stem of three convolutions.
    """
    plain = {name.removeprefix("module.").removeprefix("backbone."): value for name, value in state.items()}
    plain = {name: value for name, value in plain.items() if not name.startswith("decode_head.")}
    kept = {name: value for name, value in plain.items() if not CLASSIFIER_OF_IMAGENET.match(name)}
    if not {"patch_embed1.proj.weight", "stem.6.weight"} & kept.keys():
        raise WeightsError(
            "this is neither a Mix Transformer nor a ResNet v1c: there is no patch_embed1 and no stem.6",
            hint="take mit_b5.pth of SegFormer, or resnet101_v1c of OpenMMLab",
        )
    return {f"backbone.{name}": value for name, value in renamed(kept, BACKBONES).items()}


def describe(state: Mapping[str, Tensor]) -> OfficialNetwork:
    """Find out which network a checkpoint holds, from names and shapes.

    Args:
        state: tensors by official name, without the prefix of student or teacher.

    Raises:
        WeightsError: it is none of the published kinds.
    """
    two = any(name.startswith(TWO_RESOLUTIONS_MARK) for name in state)
    head = TWO_RESOLUTIONS_MARK if two else "decode_head."
    backbone = backbone_name(state)
    family = "hrda" if two else "daformer" if f"{head}conv_seg.weight" in state else "deeplab_v2"
    classifier = "conv_seg.weight" if f"{head}conv_seg.weight" in state else "aspp_modules.0.conv.weight"
    if backbone is None or f"{head}{classifier}" not in state:
        raise WeightsError(
            f"the checkpoint has no head and backbone known to us ({', '.join(list(state)[:3])}, ...)",
            hint="DAFormer's and the reduced DeepLab-V2 head on MiT-B0 .. B5 or ResNet-50/101-v1c are known",
        )
    num_logits = len(state[head + classifier])
    options = head_options(state, head)
    if two:
        if f"{ATTENTION}{classifier}" not in state:
            raise WeightsError(
                "this HRDA checkpoint has no scale attention: it was trained with a fixed one",
                hint="build the network with fixed_attention=... and load the file into it",
            )
        if len(state[ATTENTION + classifier]) != num_logits:
            options["classwise_attention"] = False
    return OfficialNetwork(f"{family}_{backbone}", num_logits, options)


def backbone_name(state: Mapping[str, Tensor]) -> str | None:
    first = state.get("backbone.patch_embed1.proj.weight")
    if first is None:
        return RESNET_NAMES.get(_depths(state, "backbone.layer"))
    return TRANSFORMER_NAMES.get((len(first), _depths(state, "backbone.block")))


def _depths(state: Mapping[str, Tensor], start: str) -> tuple[int, ...]:
    """Count the blocks of each of four stages."""
    blocks = {tuple(name.removeprefix(start).split(".")[:2]) for name in state if name.startswith(start)}
    return tuple(sum(stage == str(number) for stage, _ in blocks) for number in (1, 2, 3, 4))


def head_options(state: Mapping[str, Tensor], head: str) -> dict[str, Any]:
    """Tell the head's options from its tensors; nothing for what is published."""
    if f"{head}conv_seg.weight" not in state:
        count = len(
            {name for name in state if re.match(rf"{re.escape(head)}aspp_modules\.\d+\.conv\.bias", name)}
        )
        return {} if count == 2 else {"dilations": DILATIONS.get(count, ())}
    single = state.get(f"{head}fuse_layer.conv.weight")
    if single is not None:
        return {"fusion": f"conv{single.shape[-1]}"}
    separable = f"{head}fuse_layer.aspp_modules.1.depthwise_conv.conv.weight" in state
    width = state[f"{head}conv_seg.weight"].shape[1]
    options = {} if separable else {"fusion": "aspp"}
    return options | ({} if width == 256 else {"width": width})
