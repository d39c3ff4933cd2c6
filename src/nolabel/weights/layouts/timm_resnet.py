"""ResNets with bottleneck blocks under timm's and torchvision's names: DINO's own, and ``nolabel pretrain features``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nolabel.weights.layouts.renaming import Rules, renamed

__all__ = ["is_resnet", "to_detectron"]

_PREFIX = "network."  # of the files of `nolabel pretrain features`
_CLASSIFIER = ("fc.", "head.")
_STAGES = tuple((f"layer{stage}.#.", f"res{stage + 1}.#.") for stage in range(1, 5))
_PARTS = (
    *((f"conv{number}.", f"conv{number}.") for number in (1, 2, 3)),
    *((f"bn{number}.", f"conv{number}.norm.") for number in (1, 2, 3)),
    ("downsample.0.", "shortcut."),
    ("downsample.1.", "shortcut.norm."),
)
RULES: Rules = (
    ("conv1.", "stem.conv1."),
    ("bn1.", "stem.conv1.norm."),
    *((before + a, after + b) for before, after in _STAGES for a, b in _PARTS),
)


def is_resnet(state: Mapping[str, Any]) -> bool:
    """Tell whether these are the tensors of a ResNet under such names."""
    names = {name.removeprefix(_PREFIX) for name in state}
    return {"conv1.weight", "layer1.0.conv3.weight"} <= names


def to_detectron(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the ResNet under detectron2's names, without classifier and counters."""
    plain = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    kept = {
        name: value
        for name, value in plain.items()
        if not name.startswith(_CLASSIFIER) and not name.endswith("num_batches_tracked")
    }
    return renamed(kept, RULES)
