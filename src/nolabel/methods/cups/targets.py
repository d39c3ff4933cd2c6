"""From pseudo-label maps to what the panoptic network is trained on (CUPS, section 3.3).

A pair of maps (pseudo-classes, instances) and the thing/stuff split become a :class:`PanopticTarget`: semantic
channels with one common "thing" channel 0, objects with the class of their thing cluster.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nolabel.models.panoptic import PanopticTarget

__all__ = ["VOID", "boxes_of", "build_target", "keep_objects", "renumber"]

VOID = 255


def renumber(ids: Tensor) -> Tensor:
    """Replace every id of an integer map (H, W) by its rank among the ids present, keeping 0 as "no object"."""
    present = torch.unique(ids)
    present = present[present > 0]
    ranks = torch.searchsorted(present, ids.contiguous()) + 1
    return torch.where(ids > 0, ranks, 0)


def boxes_of(instances: Tensor, count: int, *, reference_compat: bool = False) -> Tensor:
    """Return the bounding boxes of the objects 1..count of an id map.

    Args:
        instances: (H, W) integer ids.
        count: number of objects N; an id without a pixel gets the box 0, 0, 0, 0.
        reference_compat: maxima are the last pixel of the object instead of one past it, as in the original.

    Returns:
        (N, 4) float32 x0, y0, x1, y1 in pixels.
    """
    height, width = instances.shape
    rows, columns = torch.nonzero(instances, as_tuple=True)
    ids = instances[rows, columns].long() - 1
    low = torch.full((count, 2), max(height, width), dtype=torch.long, device=instances.device)
    high = torch.full((count, 2), -1, dtype=torch.long, device=instances.device)
    points = torch.stack([columns, rows], dim=1)
    index = ids[:, None].expand_as(points)
    low = low.scatter_reduce(0, index, points, "amin")
    high = high.scatter_reduce(0, index, points, "amax")
    boxes = torch.cat([low, high if reference_compat else high + 1], dim=1).float()
    return torch.where((high[:, :1] >= 0), boxes, torch.zeros_like(boxes))


def build_target(
    semantic: Tensor,
    instances: Tensor,
    things: Sequence[int],
    stuff: Sequence[int],
    *,
    ignore_unknown_things: bool = False,
    ignore_stuff_objects: bool = True,
    reference_compat: bool = False,
) -> PanopticTarget:
    """Turn a pair of pseudo-label maps into a training target.

    Args:
        semantic: (H, W) integer pseudo-classes, 255 = void.
        instances: (H, W) integer ids, 0 = no object, any numbering.
        things: pseudo-classes that are things; their order is the class number of the detector.
        stuff: pseudo-classes that are stuff; rank r becomes semantic channel r + 1.
        ignore_unknown_things: thing pixels without an object become void.
        ignore_stuff_objects: the pixels of an object whose class is not a thing become void.
        reference_compat: the original's rules where ours differ: void pixels inside an object take part in the
            vote for its class (and so discard it), boxes have inclusive maxima, and an image without any valid
            object keeps the pixels of the discarded ones.

    Returns:
        The target; objects are numbered 1..N in the order of their ids.
    """
    semantic, instances = semantic.long(), renumber(instances.long())
    count = int(instances.max()) if instances.numel() else 0
    device = semantic.device
    channel = torch.full((256,), VOID, dtype=torch.long, device=device)
    channel[torch.as_tensor(list(stuff), dtype=torch.long, device=device)] = torch.arange(
        1, len(stuff) + 1, device=device
    )
    thing_class = torch.full((256,), -1, dtype=torch.long, device=device)
    thing_index = torch.as_tensor(list(things), dtype=torch.long, device=device)
    channel[thing_index] = 0
    thing_class[thing_index] = torch.arange(len(things), device=device)
    channels = channel[semantic]
    if ignore_unknown_things:
        channels = torch.where((channels == 0) & (instances == 0), VOID, channels)

    votes = semantic if reference_compat else torch.where(semantic == VOID, -1, semantic)
    clusters = torch.full((count + 1,), -1, dtype=torch.long, device=device)
    clusters = clusters.scatter_reduce(0, instances.flatten(), votes.flatten(), "amax")[1:]
    classes = torch.where(clusters >= 0, thing_class[clusters.clamp(min=0)], -1)
    kept = classes >= 0
    if ignore_stuff_objects and (bool(kept.any()) or not reference_compat):
        dropped = torch.cat([torch.zeros(1, dtype=torch.bool, device=device), ~kept])[instances]
        channels = torch.where(dropped, VOID, channels)
    new_id = torch.cat([torch.zeros(1, dtype=torch.long, device=device), kept.long().cumsum(0) * kept])
    instances = new_id[instances]
    classes = classes[kept]
    boxes = boxes_of(instances, len(classes), reference_compat=reference_compat)
    return PanopticTarget(boxes=boxes, classes=classes, instances=instances, semantic=channels)


def keep_objects(
    target: PanopticTarget,
    instances: Tensor,
    semantic: Tensor,
    *,
    min_pixels: int,
    reference_compat: bool = False,
) -> PanopticTarget:
    """Return ``target`` with new maps (after a crop or a resize), dropping objects that became too small.

    Args:
        target: the objects before; their classes are kept.
        instances: (H', W') ids of the same objects.
        semantic: (H', W') semantic channels.
        min_pixels: objects with fewer pixels are dropped.
        reference_compat: inclusive box maxima.
    """
    count = len(target.classes)
    areas = torch.bincount(instances.flatten().long(), minlength=count + 1)[1 : count + 1]
    kept = areas >= min_pixels
    new_id = torch.cat([areas.new_zeros(1), kept.long().cumsum(0) * kept])
    instances = new_id[instances.long()]
    classes = target.classes[kept]
    boxes = boxes_of(instances, len(classes), reference_compat=reference_compat)
    return PanopticTarget(boxes=boxes, classes=classes, instances=instances, semantic=semantic)
