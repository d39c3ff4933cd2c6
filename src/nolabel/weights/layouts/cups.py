"""Official CUPS checkpoints: which tensors they hold and which network these belong to.

Our network uses the official parameter names, so the map is the identity apart from prefixes: ``model.`` for the
student and ``teacher_model.model.`` for the teacher in Lightning files, nothing in detectron2 files (which nest the
tensors under ``model``). Source: CUPS specification, section 3.

Works on name -> tensor mappings only; :func:`nolabel.weights.load_checkpoint` reads the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.cascade_mask_rcnn import (
    BACKBONE_PREFIX,
    IGNORED,
    backbone_state,
    detector_sizes,
    is_backbone,
    named_tensors,
    tensor_size,
)
from nolabel.weights.strict import strict_state

__all__ = [
    "BACKBONE_PREFIX",
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
    tensors = named_tensors(state)
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


def network_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the sizes of the network from the shapes of its tensors.

    Returns:
        num_things, num_stuff, stem_channels, res2_channels, bottleneck_channels, blocks, pyramid_channels,
        semantic_channels, box_channels, mask_channels, class_agnostic_masks and num_stages.

    Raises:
        WeightsError: a tensor that tells a size is missing.
    """

    sizes = detector_sizes(state)
    return {
        "num_things": sizes.pop("num_classes"),
        "num_stuff": tensor_size(state, "sem_seg_head.predictor.bias") - 1,
        "semantic_channels": tensor_size(state, "sem_seg_head.p2.0.weight"),
        **sizes,
    }
