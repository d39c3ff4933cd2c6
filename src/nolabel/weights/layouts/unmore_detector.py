"""Official class-agnostic detectors (unMORE, CutLER, CuVLER): the tensors of their checkpoints under our names.

Our network uses detectron2's parameter names, so the map is the identity; trainer checkpoints nest them under
``model`` beside the optimizer. Source: unMORE specification, section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.cascade_mask_rcnn import IGNORED, named_tensors

__all__ = ["network_state"]

LAST = "roi_heads.mask_head.predictor.bias"


def network_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of the network of a checkpoint.

    Args:
        state: name -> tensor, or a detectron2 file's dictionary with these under ``model``.

    Raises:
        WeightsError: the checkpoint holds no such network.
    """
    found = {name: value for name, value in named_tensors(state).items() if not IGNORED.search(name)}
    if LAST not in found:
        some = ", ".join(list(found)[:3]) or "no tensors at all"
        raise WeightsError(
            f"this is no class-agnostic detector: {LAST} is missing (found {some}, ...)",
            hint="a ResNet in detectron2 format is what a training starts from (initial_weights=FILE)",
        )
    classes = len(found["roi_heads.box_predictor.0.cls_score.bias"]) - 1
    if classes != 1 or len(found[LAST]) != 1:
        raise WeightsError(f"this detector knows {classes} classes; unMORE's knows one: object")
    return found
