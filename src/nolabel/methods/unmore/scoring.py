"""From boxes to scored objects: their masks, tight boxes, and four scores (unMORE specification, 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import nms

from nolabel.methods.unmore.reasoning.crops import Boxes
from nolabel.methods.unmore.reasoning.looking import Eyes
from nolabel.structures import Instances
from nolabel.structures.rle import RLE, areas, boxes_xyxy, encode_crop

__all__ = ["SCORE_COLUMNS", "Discovery", "score_boxes"]

SCORE_COLUMNS = (
    "existence_score",
    "center_score",
    "boundary_score",
    "area_score",
)  # names of the original's files


@dataclass(frozen=True)
class Discovery:
    """The objects found in one scene.

    Attributes:
        boxes: (M, 4) float32 XYXY, all boxes that reasoning ended with.
        instances: the N objects, best boundary first; their score is the product of the four.
        scores: (N, 4) float32: existence (probability), centre (longest vector, about 1), boundary (highest distance,
            at most 1) and area (fourth root of the part of the largest object's area).
    """

    boxes: Tensor
    instances: Instances
    scores: Tensor

    def columns(self) -> dict[str, list[float]]:
        """The four scores by the names of the original's files."""
        return dict(zip(SCORE_COLUMNS, self.scores.T.tolist(), strict=True))


def score_boxes(boxes: Boxes, eyes: Eyes, nms_threshold: float = 0.5) -> list[Discovery]:
    """Draw and score the object of every box.

    Args:
        boxes: of all scenes.
        eyes: the scenes and the networks.
        nms_threshold: an object is dropped whose tight box overlaps that of one with a higher boundary score by more
            than this IoU.

    Returns:
        One result for each scene, in order.
    """
    rectangles = eyes.scenes.rectangles(boxes)
    eyes.counts.add("scores", boxes=len(boxes))
    masks: list[RLE] = []
    peaks = [torch.zeros(0, 2, device=eyes.scenes.device)]
    sizes = list(zip(eyes.scenes.heights.tolist(), eyes.scenes.widths.tolist(), strict=True))
    for maps in eyes.maps(rectangles, "scores"):
        assert maps.boundary is not None and maps.centre is not None
        length = maps.centre.square().sum(1).sqrt()
        peaks.append(torch.stack([length.flatten(1).amax(1), maps.boundary.flatten(1).amax(1)], dim=1))
        areas_of_fields = torch.stack([length > 0.5, maps.boundary > 0], dim=1)
        rows = rectangles[len(masks) : len(masks) + len(length)].tolist()
        masks += [
            _draw(fields, row, sizes[row[0]]) for fields, row in zip(areas_of_fields, rows, strict=True)
        ]
    existence = eyes.probabilities(rectangles, "existence of objects")
    three = torch.cat([existence[:, None], torch.cat(peaks)], dim=1).cpu()
    scene = boxes.scene.cpu()
    results = []
    for index, size in enumerate(sizes):
        own = (scene == index).nonzero()[:, 0]
        found = [masks[i] for i in own.tolist()]
        results.append(
            _result(boxes.corners[own.to(boxes.scene.device)], found, three[own], size, nms_threshold)
        )
    return results


def _draw(fields: Tensor, rectangle: list[int], size: tuple[int, int]) -> RLE:
    """Bring the areas (2, S, S) bool that two fields call object to the pixels of a rectangle; either counts.

    The original resizes integers, which are rounded half to even: exactly one half is not object.
    """
    _, left, top, right, bottom = rectangle
    shape = (bottom - top, right - left)
    grown = functional.interpolate(fields[None].float(), shape, mode="bilinear", align_corners=False)[0]
    return encode_crop((grown > 0.5).any(0), top, left, size)


def _result(
    boxes: Tensor, masks: list[RLE], three: Tensor, size: tuple[int, int], nms_threshold: float
) -> Discovery:
    """Drop objects that overlap better ones, then compare the sizes of those that are left."""
    tight = boxes_xyxy(masks)
    order = torch.argsort(three[:, 2], descending=True, stable=True)
    rank = torch.arange(len(order), 0, -1, dtype=torch.float32)  # no ties for the suppression to decide on
    order = order[nms(tight[order], rank, nms_threshold)]
    masks, tight, three = [masks[i] for i in order.tolist()], tight[order], three[order]
    area = areas(masks).float()
    largest = area.max().clamp(min=1) if len(area) else 1.0
    scores = torch.cat([three, (area / largest)[:, None] ** 0.25], dim=1)
    instances = Instances(masks, tight, scores.prod(1), size=size)
    return Discovery(boxes.float().cpu(), instances, scores)
