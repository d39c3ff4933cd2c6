"""Official checkpoints of ACCEL DeepLab-V2 (UDASS video 642 tensors, TPS 641) and the ImageNet network they start from.

Source: spec ``udass_video.md`` 4.1 and 4.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from nolabel.errors import WeightsError

__all__ = ["backbone_state", "from_network", "student_state", "to_network"]

# (official prefix, ours)
HEADS = (
    ("layer5.conv2d_list.", "auxiliary.branches."),
    ("layer6.conv2d_list.", "main.branches."),  # TPS
    ("layer7.conv2d_list.", "main.pooling.branches."),  # UDASS
    ("layer7.head.1.", "main.classifier."),
    ("sf_layer.", "fusion."),
)
STEM = (("conv1.", "backbone.stem.conv1."), ("bn1.", "backbone.stem.conv1.norm."))
PIECES = (
    ("bn1.", "conv1.norm."),
    ("bn2.", "conv2.norm."),
    ("bn3.", "conv3.norm."),
    ("downsample.0.", "shortcut."),
    ("downsample.1.", "shortcut.norm."),
)
_STAGE = re.compile(r"^layer([1-4])\.(\d+)\.(.+)$")
_OURS = re.compile(r"^backbone\.res([2-5])\.(\d+)\.(.+)$")
_KNOWN = re.compile(r"^(conv1|bn1|layer[1-7]|sf_layer)\.")


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of :class:`nolabel.models.video_segmentation.AccelDeepLab` from the official one.

    Args:
        state: tensors by official name, possibly with ``module.`` in front (data parallel). Names that are in no
            official file are kept, for the strict loader to complain about.

    Raises:
        WeightsError: there is no fusion layer, so this is no such network.
    """
    found = {_ours(name.removeprefix("module.")): value for name, value in state.items()}
    if "fusion.weight" not in found:
        some = ", ".join(list(state)[:3]) or "no tensors at all"
        raise WeightsError(
            f"this is no two-frame DeepLab-V2 checkpoint: sf_layer.weight is missing (found {some}, ...)",
            hint="a ResNet-101 alone is what training starts from: give it as the backbone's weights",
        )
    return found


def from_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the official names of a network's state dict (inverse of :func:`to_network`)."""
    return {_official(name): value for name, value in state.items()}


def student_state(teacher: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what a UDASS network takes over from an official TPS one: all but the main head, under our names."""
    return {name: value for name, value in to_network(teacher).items() if not name.startswith("main.")}


def backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone of DeepLab-V2's ImageNet checkpoint, under our names.

    Its names have one component in front (``Scale.``), and it holds the heads of another task (``layer5``).

    Raises:
        WeightsError: there is no such backbone.
    """
    plain = {name if _KNOWN.match(name) else name.partition(".")[2]: value for name, value in state.items()}
    renamed = {_ours(name): value for name, value in plain.items()}
    kept = {name: value for name, value in renamed.items() if name.startswith("backbone.")}
    if "backbone.stem.conv1.weight" not in kept:
        raise WeightsError(
            "this is no ResNet checkpoint: conv1.weight is missing",
            hint="two-frame DeepLab-V2 starts from DeepLab_resnet_pretrained_imagenet.pth",
        )
    return kept


def _ours(name: str) -> str:
    stage = _STAGE.match(name)
    if stage is not None:
        rest = _replaced(stage[3], PIECES)
        return f"backbone.res{int(stage[1]) + 1}.{stage[2]}.{rest}"
    return _replaced(name, HEADS + STEM)


def _official(name: str) -> str:
    stage = _OURS.match(name)
    if stage is not None:
        rest = _replaced(stage[3], _inverse(PIECES))
        return f"layer{int(stage[1]) - 1}.{stage[2]}.{rest}"
    # ``stem.conv1.norm.`` before ``stem.conv1.``
    return _replaced(name, _inverse(HEADS + STEM))


def _inverse(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    turned = ((ours, official) for official, ours in pairs)
    return tuple(sorted(turned, key=lambda pair: -len(pair[0])))


def _replaced(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for before, after in pairs:
        if name.startswith(before):
            return after + name[len(before) :]
    return name
