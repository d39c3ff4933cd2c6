"""Boundary reasoning: boxes grow and shrink until they fit their objects (unMORE specification, 6.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.methods.unmore.reasoning.crops import CROP_SIDE, Boxes, Scenes
from nolabel.methods.unmore.reasoning.looking import Eyes, Memory
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.reasoning.steps import Watcher

__all__ = ["CONVERGED", "MOVING", "REJECTED", "Moves", "fit_boxes", "move_boxes", "wanted_moves"]

REJECTED, MOVING, CONVERGED = -1, 0, 1
_OUTWARDS = (-1.0, -1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Moves:
    """One round.

    Attributes:
        boxes: after the round; a rejected one is where it was.
        labels: (N,) int64: rejected -1, moving 0, converged 1.
    """

    boxes: Boxes
    labels: Tensor


def wanted_moves(boundary: Tensor) -> Tensor:
    """How far the boundary lies outside each side of a crop, and the highest distance inside.

    Args:
        boundary: (N, S, S) signed distances.

    Returns:
        (N, 5): left, top, right, bottom in pixels of the crop, above 0 where the object goes on beyond that side;
        and the maximum of the map. The distance at the border is turned into pixels by its mean slope, inside and
        outside apart.
    """
    inner = boundary[:, :-1, :-1]
    down, right = boundary[:, 1:, :-1] - inner, boundary[:, :-1, 1:] - inner
    slope = (down.square() + right.square()).sqrt()
    inside = inner.sigmoid()
    outside = 1 - inside
    step = _pixels_per_unit(slope, inside) * inside + _pixels_per_unit(slope, outside) * outside
    move = step * inner
    lines = (move[:, :, 0], move[:, 0, :], move[:, :, -1], move[:, -1, :])
    peak = boundary.flatten(1).amax(1, keepdim=True)
    return torch.cat([torch.stack([line.amax(1) for line in lines], dim=1), peak], dim=1)


def _pixels_per_unit(slope: Tensor, weight: Tensor) -> Tensor:
    mean = (weight * slope).sum((1, 2), keepdim=True) / (weight.sum((1, 2), keepdim=True) + 1e-8)
    return 1 / (mean + 1e-10)


def move_boxes(boxes: Boxes, wanted: Tensor, scenes: Scenes, settings: ReasoningSettings) -> Moves:
    """Move boxes by what :func:`wanted_moves` found in their crops.

    A side that touches the image's edge cannot grow, and counts as fitting where it wants to.
    """
    wanted, peak = wanted[:, :4], wanted[:, 4]
    rectangles = scenes.rectangles(boxes)[:, 1:]
    ends = scenes.limits(boxes.scene)
    ends[:, :2] = 0
    tested = torch.where((rectangles == ends) & (wanted > 0), 0.0, wanted)
    fits = (tested.amax(1) <= 0) & (tested.amin(1) >= -settings.largest_shrink)
    labels = torch.where(fits, CONVERGED, MOVING)
    labels = torch.where(peak <= settings.boundary_threshold, REJECTED, labels)

    step = wanted + settings.step_ratio * wanted.abs()
    step = torch.where((labels == MOVING)[:, None], step, 0.0) * step.new_tensor(_OUTWARDS)
    moved = boxes.corners + step * boxes.sides.repeat(1, 2) / CROP_SIDE
    # In float32 from the first round on, as the original: it decides which whole pixels a box touches.
    return Moves(scenes.clip(Boxes(moved.float(), boxes.scene)), labels)


def fit_boxes(boxes: Boxes, eyes: Eyes, settings: ReasoningSettings, watch: Watcher | None = None) -> Boxes:
    """Move boxes until they fit their objects; those that do not within the rounds are lost.

    Crops that were seen before are not looked at again. So converged boxes, which stay where they are, boxes that swing
    between two places and boxes that met cost nothing, and a round's network calls shrink with what still moves.

    Returns:
        The boxes that fit, float32, in their order.
    """

    def look(rectangles: Tensor) -> Tensor:
        seen = eyes.maps(rectangles, "boundary", centre=False)
        return torch.cat([wanted_moves(maps.boundary) for maps in seen if maps.boundary is not None])

    remember = Memory(eyes.scenes, look)
    labels = boxes.scene.new_full((len(boxes),), MOVING)
    for number in range(settings.rounds):
        boxes = boxes.larger_than(settings.smallest_area)
        if not len(boxes):
            return boxes
        eyes.counts.add("boundary", boxes=len(boxes))
        moves = move_boxes(boxes, remember(eyes.scenes.rectangles(boxes)), eyes.scenes, settings)
        if watch is not None:
            watch(f"boundary, round {number + 1}", moves.boxes, moves.labels)
        kept = moves.labels != REJECTED
        boxes, labels = moves.boxes[kept], moves.labels[kept]
        if number and bool((labels == CONVERGED).all()):  # the first round may round a box to other pixels
            break
    return boxes[labels == CONVERGED]
