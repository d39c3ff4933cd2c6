"""Official CUPS checkpoints: which tensors they hold and which network these belong to.

Our network uses the official parameter names, so the map is the identity apart from prefixes: ``model.`` for the
student and ``teacher_model.model.`` for the teacher in Lightning files, nothing in detectron2 files (which nest the
tensors under ``model``). Source: CUPS specification, section 3.

Works on name -> tensor mappings only; :func:`nolabel.weights.load_checkpoint` reads the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.strict import strict_state

__all__ = [
    "STUDENT_PREFIX",
    "TEACHER_PREFIX",
    "backbone_state",
    "is_backbone",
    "network_sizes",
    "network_state",
    "strict_state",
]

STUDENT_PREFIX = "model."
TEACHER_PREFIX = "teacher_model.model."

# Buffers of old or foreign files that our network computes instead of storing.
IGNORED = re.compile(r"anchor_generator\.cell_anchors|^pixel_(mean|std)$")

# Files in detectron2 format hold the ResNet alone, named from its stem and stages on.
BACKBONE_PREFIX = "backbone.bottom_up."
BACKBONE_IGNORED = re.compile(r"^stem\.fc\.")


def network_state(
    state: Mapping[str, Any], part: Literal["student", "teacher"] = "student"
) -> dict[str, Tensor]:
    """Return the tensors of one network of a checkpoint under our names.

    Args:
        state: name -> tensor, or a detectron2 file's dictionary with these under ``model``.
        part: of self-training checkpoints, the network that was trained or its average.

    Raises:
        WeightsError: the checkpoint has no such network.
    """
    tensors = _tensors(state)
    has_teacher = any(name.startswith(TEACHER_PREFIX) for name in tensors)
    if part == "teacher" and not has_teacher:
        raise WeightsError("this checkpoint holds no teacher", hint='load part="student"')
    prefix = TEACHER_PREFIX if part == "teacher" else STUDENT_PREFIX
    if any(name.startswith(prefix) for name in tensors):
        tensors = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    found = {name: value for name, value in tensors.items() if not IGNORED.search(name)}
    if "sem_seg_head.predictor.bias" not in found:
        some = ", ".join(list(found)[:3]) or "no tensors at all"
        raise WeightsError(
            f"this is not a CUPS checkpoint: sem_seg_head.predictor.bias is missing (found {some}, ...)",
            hint="a ResNet in detectron2 format goes into the backbone alone",
        )
    return found


def is_backbone(state: Mapping[str, Any]) -> bool:
    """Tell whether these are the tensors of a ResNet in detectron2 format, and not of a whole network."""
    return "stem.conv1.weight" in state


def backbone_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the ResNet of a detectron2-format file (DINO's ``dino_RN50_pretrain_d2_format.pkl``) under our names."""
    tensors = _tensors(state)
    kept = {name: value for name, value in tensors.items() if not BACKBONE_IGNORED.match(name)}
    if not is_backbone(kept):
        raise WeightsError(
            "this is not a ResNet in detectron2 format: stem.conv1.weight is missing",
            hint="CUPS starts from dino_RN50_pretrain_d2_format.pkl",
        )
    return {BACKBONE_PREFIX + name: value for name, value in kept.items()}


def network_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the sizes of the network from the shapes of its tensors.

    Returns:
        num_things, num_stuff, stem_channels, res2_channels, bottleneck_channels, blocks, pyramid_channels,
        semantic_channels, box_channels, mask_channels, class_agnostic_masks and num_stages.

    Raises:
        WeightsError: a tensor that tells a size is missing.
    """

    def size(name: str, axis: int = 0) -> int:
        if name not in state:
            raise WeightsError(
                f"the checkpoint lacks {name}", hint="is the file complete and a CUPS network?"
            )
        return int(state[name].shape[axis])

    resnet = BACKBONE_PREFIX
    num_things = size("roi_heads.box_predictor.0.cls_score.bias") - 1
    return {
        "num_things": num_things,
        "num_stuff": size("sem_seg_head.predictor.bias") - 1,
        "stem_channels": size(f"{resnet}stem.conv1.weight"),
        "res2_channels": size(f"{resnet}res2.0.conv3.weight"),
        "bottleneck_channels": size(f"{resnet}res2.0.conv1.weight"),
        "blocks": tuple(
            _count(state, rf"^{re.escape(resnet)}res{stage}\.(\d+)\.conv1\.weight$") for stage in range(2, 6)
        ),
        "pyramid_channels": size("backbone.fpn_output2.weight"),
        "semantic_channels": size("sem_seg_head.p2.0.weight"),
        "box_channels": size("roi_heads.box_head.0.fc1.weight"),
        "mask_channels": size("roi_heads.mask_head.mask_fcn1.weight"),
        "class_agnostic_masks": num_things > 1 and size("roi_heads.mask_head.predictor.bias") == 1,
        "num_stages": _count(state, r"^roi_heads\.box_head\.(\d+)\.fc1\.weight$"),
    }


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    nested = state.get("model")
    entries = nested if isinstance(nested, Mapping) else state
    return {name: torch.as_tensor(value) for name, value in entries.items() if hasattr(value, "shape")}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len([name for name in state if re.match(pattern, name)])
