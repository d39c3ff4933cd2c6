"""Centre reasoning: does a box hold one object, or several that have to be parted (unMORE specification, 6.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nolabel.methods.unmore.reasoning.components import component_boxes, enlarged
from nolabel.methods.unmore.reasoning.crops import CROP_SIDE, Boxes, Scenes
from nolabel.methods.unmore.reasoning.looking import Eyes, same_once
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.models.objectness.contract import ObjectnessMaps

__all__ = ["CentreFindings", "anti_centre", "erode", "object_area", "reason_about_centres"]

EROSION = 25  # pixels: three erosions by squares of 9 are one by a square of 25
_DIAGONAL, _STEEP, _FLAT = 1 / 2**0.5, 2 / 5**0.5, 1 / 5**0.5


@dataclass(frozen=True)
class CentreFindings:
    """What centre reasoning made of boxes.

    Attributes:
        passed: those with one object at most.
        split: the parts of the others; then boxes around the connected parts of passed ones that have several.
    """

    passed: Boxes
    split: Boxes


def reason_about_centres(boxes: Boxes, eyes: Eyes, settings: ReasoningSettings) -> CentreFindings:
    """Test boxes (at least one) and split those that hold several objects."""
    rectangles = eyes.scenes.rectangles(boxes)
    eyes.counts.add("centre", boxes=len(boxes))
    first, inverse = same_once(eyes.scenes.keys(rectangles))
    peaks, places, parts = [], [], []
    count = 0
    for maps in eyes.maps(rectangles[first], "centre"):
        area = object_area(maps)
        peak, place = _highest(maps, area)
        peaks.append(peak)
        places.append(place)
        if settings.components:
            whole = peak <= settings.centre_threshold
            parts.append(_several(area, whole, count))
        count += len(area)
    several = torch.cat(peaks)[inverse] > settings.centre_threshold
    split = [_quarters(boxes[several], torch.cat(places)[inverse][several])]
    if settings.components:
        split.append(
            _part_boxes(torch.cat(parts), inverse, rectangles, eyes.scenes, settings.reference_compat)
        )
    return CentreFindings(boxes[~several], Boxes.join(split))


def object_area(maps: ObjectnessMaps) -> Tensor:
    """Where either field sees an object, (N, S, S) bool."""
    assert maps.boundary is not None and maps.centre is not None
    down, along = maps.centre.unbind(1)  # a norm over so short an axis costs sixty times as much
    return (maps.boundary > 0) | (down.square() + along.square() > 0.5**2)


def erode(masks: Tensor, side: int = EROSION) -> Tensor:
    """Erode masks (N, S, S) bool by a square of an odd side; pixels outside the crop are background.

    Along each axis, pairs of pixels are joined, then pairs of pairs, and so on: five steps for 25 pixels.
    """
    for dim, margin in ((1, [0, 0, side // 2, side // 2]), (2, [side // 2, side // 2])):
        masks = _all_of(functional.pad(masks, margin), side, dim)
    return masks


def _all_of(masks: Tensor, length: int, dim: int) -> Tensor:
    """Whether all of ``length`` successive pixels along ``dim`` are set, at every place where they exist."""
    reach = 1
    while reach < length:
        step, left = min(reach, length - reach), masks.shape[dim]
        masks = masks.narrow(dim, 0, left - step) & masks.narrow(dim, step, left - step)
        reach += step
    return masks


def anti_centre(centre: Tensor) -> Tensor:
    """How much the neighbourhood's vectors point at each pixel, (N, S, S) float64.

    The correlation with 5 x 5 unit vectors that point to the middle, over 24: about -1 at an object's centre, above
    0 where the fields of two objects meet. Float64, as boxes are decided on by a threshold of 0.009. The kernel is odd
    in one direction and even in the other, so pairs of pixels are subtracted and added before they are weighed.

    Args:
        centre: (N, 2, S, S) vectors (row, column).

    Source: unMORE specification, 6.2.4.
    """
    padded = functional.pad(centre.double(), [2, 2, 2, 2])
    return (_along_rows(padded[:, 0]) + _along_rows(padded[:, 1].mT).mT) / 24


def _along_rows(field: Tensor) -> Tensor:
    """The row components' part: field (N, S + 4, S + 4) -> (N, S, S)."""
    one = field[:, 1:-3] - field[:, 3:-1]
    two = field[:, :-4] - field[:, 4:]
    result = one[..., 2:-2] + two[..., 2:-2]
    result += (one[..., 1:-3] + one[..., 3:-1]) * _DIAGONAL
    result += (two[..., 1:-3] + two[..., 3:-1]) * _STEEP
    result += (one[..., :-4] + one[..., 4:]) * _FLAT
    result += (two[..., :-4] + two[..., 4:]) * _DIAGONAL
    return result


def _highest(maps: ObjectnessMaps, area: Tensor) -> tuple[Tensor, Tensor]:
    """The highest anti-centre value (N,) inside the eroded area, and its (row, column), the first of equal ones.

    The original also sets a border of 10 pixels to 0; erosion has emptied one of 12.
    """
    assert maps.centre is not None
    values = torch.where(erode(area), anti_centre(maps.centre), 0.0).flatten(1)
    peak = values.amax(1)
    places = torch.arange(values.shape[1], device=values.device)
    place = torch.where(values == peak[:, None], places, values.shape[1]).amin(1)
    return peak, torch.stack([place // area.shape[-1], place % area.shape[-1]], dim=1)


def _quarters(boxes: Boxes, place: Tensor) -> Boxes:
    """Left, right, upper and lower part of each box, parted at a pixel (row, column) of its crop."""
    corners = boxes.corners
    x, y = (corners[:, :2] + boxes.sides * (place.flip(1) / CROP_SIDE)).unbind(1)
    x1, y1, x2, y2 = corners.unbind(1)
    parts = [(x1, y1, x, y2), (x, y1, x2, y2), (x1, y1, x2, y), (x1, y, x2, y2)]
    halves = torch.stack([torch.stack(part, dim=1) for part in parts], dim=1)
    return Boxes(halves.reshape(-1, 4), boxes.scene.repeat_interleave(4))


def _several(area: Tensor, chosen: Tensor, offset: int) -> Tensor:
    """(M, 5) int64: crop's number (from ``offset``) and box of the parts of chosen crops that have several parts."""
    boxes, owner = component_boxes(area & chosen[:, None, None])
    count = torch.bincount(owner, minlength=len(area))
    return torch.cat([owner[:, None] + offset, boxes], dim=1)[count[owner] > 1]


def _part_boxes(
    parts: Tensor, crop_of: Tensor, rectangles: Tensor, scenes: Scenes, reference_compat: bool
) -> Boxes:
    """Boxes in the image around the parts of all boxes' crops: box by box, parts in raster order."""
    count = torch.bincount(parts[:, 0], minlength=int(crop_of.max()) + 1)
    start = count.cumsum(0) - count
    repeats = count[crop_of]
    owner = torch.repeat_interleave(torch.arange(len(crop_of), device=crop_of.device), repeats)
    within = torch.arange(len(owner), device=owner.device) - (repeats.cumsum(0) - repeats)[owner]
    corners = parts[start[crop_of[owner]] + within, 1:].double()
    scene, outline = rectangles[owner, 0], rectangles[owner, 1:].double()
    if not reference_compat:
        low, high = outline[:, :2].repeat(1, 2), outline[:, 2:].repeat(1, 2)
        corners = low + corners * (high - low) / CROP_SIDE
    return Boxes(enlarged(corners, scenes.limits(scene)), scene)
