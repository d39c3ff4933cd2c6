"""DINO and DINOv2 checkpoints (facebookresearch): their names as timm's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

PREFIXES = ("module.", "backbone.")  # data parallel and multi-crop wrappers of training checkpoints
PARTS_LEFT_OUT = ("mask_token",)  # masked-image training only


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return timm's names; names that are timm's already pass as they are."""
    renamed = {}
    for name, value in state.items():
        for prefix in PREFIXES:
            name = name.removeprefix(prefix)
        if name not in PARTS_LEFT_OUT:
            renamed[name] = value
    return renamed
