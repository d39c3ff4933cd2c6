"""From scenes to boxes of their objects: all of reasoning, for several images at once (unMORE specification, 6)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from nolabel.methods.unmore.reasoning.boundary import CONVERGED, fit_boxes
from nolabel.methods.unmore.reasoning.centre import reason_about_centres
from nolabel.methods.unmore.reasoning.crops import Boxes, Scenes
from nolabel.methods.unmore.reasoning.grid import grid_proposals
from nolabel.methods.unmore.reasoning.looking import Eyes
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.reasoning.steps import Watcher

__all__ = ["all_proposals", "find_boxes", "part_objects", "suppress"]


def find_boxes(eyes: Eyes, settings: ReasoningSettings, watch: Watcher | None = None) -> Boxes:
    """Find the boxes of the objects of scenes.

    Args:
        eyes: the scenes and the networks.
        settings: of reasoning.
        watch: told about every step.

    Returns:
        Boxes, float32; for each scene in the order in which earlier ones won over those that overlap them.
    """
    boxes = all_proposals(eyes.scenes)
    if watch is not None:
        watch("proposals", boxes, None)
    boxes = keep_existing(boxes, eyes, settings)
    if watch is not None:
        watch("an object may exist", boxes, None)
    boxes = part_objects(boxes, eyes, settings, watch)
    boxes = fit_boxes(boxes, eyes, settings, watch)
    boxes = suppress(Boxes(boxes.corners.float(), boxes.scene), settings.nms_threshold)
    if watch is not None:
        watch("objects", boxes, torch.full_like(boxes.scene, CONVERGED))
    return boxes


def all_proposals(scenes: Scenes) -> Boxes:
    """The grid's boxes of every scene."""
    sizes = zip(scenes.heights.tolist(), scenes.widths.tolist(), strict=True)
    grids = [grid_proposals(height, width) for height, width in sizes]
    counts = torch.tensor([len(grid) for grid in grids], dtype=torch.long)
    scene = torch.repeat_interleave(torch.arange(len(grids)), counts)
    corners = torch.cat([torch.zeros(0, 4, dtype=torch.float64), *grids])
    return Boxes(corners.to(scenes.device), scene.to(scenes.device))


def keep_existing(boxes: Boxes, eyes: Eyes, settings: ReasoningSettings) -> Boxes:
    """The boxes that may hold an object and are large enough to be followed."""
    boxes = boxes.larger_than(settings.smallest_area)
    probabilities = eyes.probabilities(eyes.scenes.rectangles(boxes))
    return boxes[probabilities >= settings.existence_threshold]


def part_objects(
    boxes: Boxes, eyes: Eyes, settings: ReasoningSettings, watch: Watcher | None = None
) -> Boxes:
    """Centre reasoning on boxes, on the parts of those that failed, and so on for the levels asked for.

    Returns:
        The boxes that passed, those of the first level first.
    """
    passed = []
    for level in range(settings.split_levels + 1):
        if not len(boxes):
            break
        found = reason_about_centres(boxes, eyes, settings)
        passed.append(found.passed)
        if level == settings.split_levels:
            break
        boxes = keep_existing(found.split, eyes, settings)
        if watch is not None:
            watch(f"split, level {level + 1}", boxes, None)
    return Boxes.join(passed) if passed else boxes


def suppress(boxes: Boxes, threshold: float) -> Boxes:
    """Drop boxes that overlap an earlier one of their scene by more than this IoU; scenes in order."""
    kept = [boxes.scene.new_zeros(0)]
    for scene in boxes.scene.unique().tolist():
        own = (boxes.scene == scene).nonzero()[:, 0]
        kept.append(own[_earlier_wins(boxes.corners[own], threshold)])
    return boxes[torch.cat(kept)]


def _earlier_wins(corners: Tensor, threshold: float) -> Tensor:
    # Falling scores rather than equal ones: the order must not depend on how a device sorts equal values.
    scores = torch.arange(len(corners), 0, -1, device=corners.device, dtype=torch.float32)
    return nms(corners, scores, threshold)
