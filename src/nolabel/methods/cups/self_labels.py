"""Training targets from a network's own predictions (CUPS, sections 3.3 and 3.4; spec cups_model 4.5 and 5.4).

Stage 2 pastes what the network discovers into its next images (:func:`confident_target`, :func:`without_known`);
stage 3 trains the student on what the teacher sees (:func:`self_label`). In both the objects are those of the merged
panoptic map, so their masks do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchvision.ops import box_iou

from nolabel.methods.cups.targets import VOID, boxes_of
from nolabel.models.panoptic import PanopticSegments, PanopticTarget, Segment

__all__ = ["confident_target", "self_label", "without_known"]


def self_label(
    probabilities: Tensor,
    panoptic: PanopticSegments,
    semantic_threshold: float = 0.5,
    *,
    reference_compat: bool = False,
) -> PanopticTarget:
    """Turn the teacher's prediction into the student's target (spec 5.4).

    A pixel takes the most probable channel among those that are sure of it: more probable there than
    ``semantic_threshold`` times the channel's highest probability in this image. Every channel has its own threshold,
    so classes that are hard everywhere keep their best pixels. Where no channel is sure the pixel is void.

    Args:
        probabilities: (S + 1, H, W) semantic probabilities, channel 0 = some thing.
        panoptic: the merged map; all its things become objects.
        semantic_threshold: share of a channel's highest probability, 0 .. 1.
        reference_compat: inclusive box maxima.
    """
    limits = semantic_threshold * probabilities.flatten(1).max(dim=1).values
    sure = torch.where(probabilities > limits[:, None, None], probabilities, 0)
    best, channel = sure.max(dim=0)
    semantic = torch.where(best > 0, channel, VOID)
    return _with_objects(panoptic, _things(panoptic), semantic, reference_compat)


def confident_target(
    panoptic: PanopticSegments, confidence: float, *, reference_compat: bool = False
) -> PanopticTarget:
    """Turn a panoptic map into a target as it is (spec 4.5).

    Args:
        panoptic: the merged map.
        confidence: things with a higher score become objects; the others become void.
        reference_compat: inclusive box maxima.
    """
    kept = [segment for segment in _things(panoptic) if (segment.score or 0.0) > confidence]
    channels = [VOID] * (1 + len(panoptic.segments))
    for segment in panoptic.segments:
        channels[segment.id] = VOID if segment.is_thing else segment.category
    for segment in kept:
        channels[segment.id] = 0
    return _with_objects(panoptic, kept, _look_up(channels, panoptic), reference_compat)


def without_known(target: PanopticTarget, known: Tensor) -> PanopticTarget:
    """Leave out the objects whose box overlaps one of the boxes ``known`` (M, 4) by an IoU of 0.5 or more."""
    if not len(known) or not len(target):
        return target
    new = ~(box_iou(target.boxes, known) >= 0.5).any(dim=1)
    new_id = torch.cat([new.new_zeros(1, dtype=torch.long), new.long().cumsum(0) * new])
    return replace(
        target, boxes=target.boxes[new], classes=target.classes[new], instances=new_id[target.instances]
    )


def _things(panoptic: PanopticSegments) -> list[Segment]:
    return [segment for segment in panoptic.segments if segment.is_thing]


def _with_objects(
    panoptic: PanopticSegments, objects: Sequence[Segment], semantic: Tensor, reference_compat: bool
) -> PanopticTarget:
    numbers = [0] * (1 + len(panoptic.segments))
    for number, segment in enumerate(objects, start=1):
        numbers[segment.id] = number
    instances = _look_up(numbers, panoptic)
    classes = torch.tensor([s.category for s in objects], dtype=torch.long, device=semantic.device)
    boxes = boxes_of(instances, len(objects), reference_compat=reference_compat)
    return PanopticTarget(boxes=boxes, classes=classes, instances=instances, semantic=semantic)


def _look_up(values: Sequence[int], panoptic: PanopticSegments) -> Tensor:
    """Return the (H, W) int64 map that gives every id of the panoptic map its value."""
    return torch.tensor(values, dtype=torch.long, device=panoptic.ids.device)[panoptic.ids.long()]
