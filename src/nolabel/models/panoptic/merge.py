"""One label for every pixel: detections painted best first, stuff where they leave room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.models.detection import MaskCrop

__all__ = ["PanopticSegments", "Segment", "merge_panoptic", "standard_format"]

VOID = 255


@dataclass(frozen=True)
class Segment:
    """One region of a panoptic map.

    Attributes:
        id: value in the map, 1, 2, ...
        is_thing: object or stuff.
        category: thing cluster 0 .. T - 1, or semantic channel 1 .. S for stuff.
        area: pixels of the map with this id.
        score: score of the detection; ``None`` for stuff.
        detection: row among the detections; ``None`` for stuff.
    """

    id: int
    is_thing: bool
    category: int
    area: int
    score: float | None = None
    detection: int | None = None


@dataclass(frozen=True)
class PanopticSegments:
    """Id map (H, W) int32, 0 = void, and what its ids mean (``segments[n]`` has id n + 1)."""

    ids: Tensor
    segments: tuple[Segment, ...]


def merge_panoptic(
    masks: Sequence[MaskCrop],
    scores: Tensor,
    classes: Tensor,
    semantic: Tensor,
    *,
    confidence_threshold: float = 0.5,
    overlap_limit: float = 0.5,
    stuff_area_limit: int = 4096,
) -> PanopticSegments:
    """Merge detections and semantics into one map.

    Detections with enough score are painted best first where the map is still free; one whose mask is taken to more
    than ``overlap_limit`` is left out. Then every stuff channel fills what is left of its pixels, if those are
    enough; semantic channel 0 ("some thing") never does. Source: CUPS specification 2.9, point 3.

    Args:
        masks: N masks, each cut to the part that can be set.
        scores: (N,) float.
        classes: (N,) thing clusters.
        semantic: (H, W) integer channels 0 .. S.
        confidence_threshold: lowest score that is painted.
        overlap_limit: largest part of a mask that better detections may have taken.
        stuff_area_limit: smallest stuff region, pixels.
    """
    order = torch.sort(scores, descending=True, stable=True).indices
    order = order[scores[order] >= confidence_threshold]
    ids, painted = _paint_things(masks, order.tolist(), semantic, overlap_limit)
    ids, stuff = _fill_stuff(ids, painted.sum(), semantic, stuff_area_limit)

    # Until here nothing waited for the device; now one look at everything that was decided.
    kept = order[painted.to(order.device)]
    areas = torch.bincount(ids.flatten(), minlength=1 + len(kept) + len(stuff)).tolist()
    rows = zip(kept.tolist(), scores[kept].tolist(), classes[kept].tolist(), strict=True)
    segments = [
        Segment(number, True, category, areas[number], score, row)
        for number, (row, score, category) in enumerate(rows, start=1)
    ]
    first = len(segments) + 1
    segments += [
        Segment(n, False, channel, areas[n]) for n, channel in enumerate(stuff.tolist(), start=first)
    ]
    return PanopticSegments(ids, tuple(segments))


def _paint_things(
    masks: Sequence[MaskCrop], order: Sequence[int], semantic: Tensor, overlap_limit: float
) -> tuple[Tensor, Tensor]:
    """Return the id map and, for every entry of ``order``, whether it was painted (bool).

    Whether a mask is painted depends on all better ones, so this runs over the detections one by one; it touches
    only the pixels of each and decides on the device.
    """
    ids = torch.zeros(semantic.shape, dtype=torch.int32, device=semantic.device)
    painted = torch.zeros(len(order), dtype=torch.bool, device=semantic.device)
    next_id = torch.ones((), dtype=torch.int32, device=semantic.device)
    for position, row in enumerate(order):
        top, left, mask = masks[row]
        region = ids[top : top + mask.shape[0], left : left + mask.shape[1]]
        free = mask & (region == 0)
        area, free_area = mask.sum(), free.sum()
        # An empty mask gives 0 / 0, which is no number and therefore not within the limit.
        accepted = (area - free_area) / area <= overlap_limit
        region += free * (accepted * next_id)
        painted[position] = accepted
        next_id = next_id + accepted
    return ids, painted


def _fill_stuff(
    ids: Tensor, num_things: Tensor, semantic: Tensor, stuff_area_limit: int
) -> tuple[Tensor, Tensor]:
    """Return the completed id map and the semantic channels that got an id, ascending."""
    semantic = semantic.long()
    free = ids == 0
    # Counted over all pixels, so that channels that detections cover completely keep their place with area 0.
    areas = torch.bincount(semantic.flatten(), weights=free.flatten().double())
    large = areas >= max(stuff_area_limit, 1)
    large[0] = False
    new_id = torch.where(large, num_things + large.cumsum(0), 0).to(ids.dtype)
    return torch.where(free, new_id[semantic], ids), large.nonzero().squeeze(1)


def standard_format(
    panoptic: PanopticSegments, stuff_classes: Sequence[int], thing_classes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Translate a merged map into semantic and instance labels.

    Args:
        panoptic: the merged map.
        stuff_classes: label of each stuff cluster (semantic channel minus 1).
        thing_classes: label of each thing cluster.

    Returns:
        semantic (H, W) int64 with 255 = void, and instance (H, W) int64 with things numbered 1, 2, ... in the order
        of the segments and 0 elsewhere. Source: CUPS specification 2.9, point 4.
    """
    labels, numbers = [VOID], [0]
    for segment in panoptic.segments:
        labels.append(
            thing_classes[segment.category] if segment.is_thing else stuff_classes[segment.category - 1]
        )
        numbers.append(numbers[-1] + 1 if segment.is_thing else 0)
    table = torch.tensor([labels, numbers], device=panoptic.ids.device)
    semantic, instance = table[:, panoptic.ids.long()]
    return semantic, instance
