"""Official DeepLabV3+ checkpoints (Co-Training, detectron2's DeepLab project): 688 tensors and our names for them.

Source: Co-Training specification, section 3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from nolabel.errors import WeightsError

__all__ = ["BACKBONE_PREFIX", "backbone_state", "from_network", "to_network"]

BACKBONE_PREFIX = "backbone."
_ASPP = "sem_seg_head.decoder.res5.project_conv."
_LOW_LEVEL = "sem_seg_head.decoder.res2."

# (official prefix, our prefix); the first that fits counts.
PREFIXES = (
    (BACKBONE_PREFIX, BACKBONE_PREFIX),
    (f"{_ASPP}convs.4.1.", "aspp.pooled."),
    (f"{_ASPP}convs.", "aspp.branches."),
    (f"{_ASPP}project.", "aspp.project."),
    (f"{_LOW_LEVEL}project_conv.", "low_level."),
    (f"{_LOW_LEVEL}fuse_conv.0.", "fuse.0."),
    (f"{_LOW_LEVEL}fuse_conv.1.", "fuse.2."),
    ("sem_seg_head.predictor.", "classifier."),
)

# Constants that some files store, and the classifier of ImageNet networks.
IGNORED = re.compile(r"^(pixel_(mean|std)$|stem\.fc\.|fc\.|linear\.)")


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of :class:`nolabel.models.segmentation.DeepLabV3Plus` from the official one.

    Args:
        state: tensors by official name, possibly with ``module.`` in front (data parallel). Names that are in no
            official file are kept, for the strict loader to complain about.

    Raises:
        WeightsError: there is no classifier, so this is no such network.
    """
    found = _renamed(state, PREFIXES)
    if "classifier.bias" not in found:
        some = ", ".join(list(state)[:3]) or "no tensors at all"
        raise WeightsError(
            f"this is no DeepLabV3+ checkpoint: sem_seg_head.predictor.bias is missing (found {some}, ...)",
            hint="a ResNet alone (R-103.pkl) is what training starts from: give it as the backbone's weights",
        )
    return found


def from_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the official names of a network's state dict (inverse of :func:`to_network`)."""
    return _renamed(state, tuple((ours, official) for official, ours in PREFIXES))


def backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the backbone of an ImageNet ResNet in detectron2 format (``R-103.pkl``), under our names.

    Raises:
        WeightsError: there is no stem of three convolutions.
    """
    plain = {name.removeprefix(BACKBONE_PREFIX): value for name, value in state.items()}
    kept = {name: value for name, value in plain.items() if not IGNORED.match(name)}
    if "stem.conv3.weight" not in kept:
        raise WeightsError(
            "this is no ResNet with a stem of three convolutions: stem.conv3.weight is missing",
            hint="DeepLabV3+ starts from detectron2's DeepLab/R-103.pkl",
        )
    return {BACKBONE_PREFIX + name: value for name, value in kept.items()}


def _renamed(state: Mapping[str, Tensor], prefixes: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        name = name.removeprefix("module.")
        if IGNORED.match(name):
            continue
        for before, after in prefixes:
            if name.startswith(before):
                name = after + name[len(before) :]
                break
        renamed[name] = value
    return renamed
