"""Boundary and centre fields to look at: heat maps, directions as colours and arrows, target beside prediction."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nolabel.methods.unmore.reasoning.centre import anti_centre, erode, object_area
from nolabel.methods.unmore.targets import ObjectTargets
from nolabel.models.objectness import ObjectnessMaps
from nolabel.viz import contact_sheet, flow_colours, scalar_colours, to_picture
from nolabel.viz.overlays import contours

__all__ = ["boundary_colours", "centre_colours", "draw_fields", "draw_fields_and_targets"]

INSIDE, LEVEL, OUTSIDE = (200, 40, 40), (255, 255, 255), (40, 70, 190)
ARROW_STEP, ENLARGED = 8, 2  # pixels between arrows, and the scale of the picture they are drawn on
LEAST_LENGTH = 0.5  # of an arrow that is drawn


def boundary_colours(boundary: Tensor) -> NDArray[np.uint8]:
    """Colours of a boundary field (S, S): red inside, blue outside, paler towards the boundary, which is a dark line."""
    values = boundary.detach().float().cpu().clamp(-1, 1).numpy()[..., None]
    ends = np.where(values > 0, np.array(INSIDE), np.array(OUTSIDE))
    colours = (np.array(LEVEL) + np.abs(values) * (ends - np.array(LEVEL))).astype(np.uint8)
    colours[contours(values[..., 0] > 0)] = 0
    return colours


def centre_colours(centre: Tensor) -> NDArray[np.uint8]:
    """Picture of a centre field (2, S, S): the hue is the direction, arrows point along it; twice the size."""
    field = centre.detach().float().cpu()
    picture = flow_colours(field.flip(0), largest=1.0)
    large = cv2.resize(picture, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)
    start = ARROW_STEP // 2
    rows, columns = field.shape[1:]
    for row in range(start, rows, ARROW_STEP):
        for column in range(start, columns, ARROW_STEP):
            down, right = field[:, row, column].tolist()
            if np.hypot(down, right) < LEAST_LENGTH:
                continue
            length = ENLARGED * (ARROW_STEP - 2) / np.hypot(down, right)
            tail = (ENLARGED * column, ENLARGED * row)
            head = (round(tail[0] + length * right), round(tail[1] + length * down))
            cv2.arrowedLine(large, tail, head, (0, 0, 0), 1, cv2.LINE_AA, tipLength=0.4)
    return large.astype(np.uint8)


def draw_fields(
    images: Tensor, maps: ObjectnessMaps, row_titles: Sequence[str] | None = None
) -> NDArray[np.uint8]:
    """Draw what a network sees in crops, one row for each.

    Args:
        images: (N, 3, S, S) RGB in [0, 1].
        maps: of these, both fields.
        row_titles: written beside the rows.

    Returns:
        A sheet: crop with the edge of what both fields call object; boundary; centre field; length of its vectors;
        anti-centre map inside the object, above 0 (bright) where two objects meet.
    """
    rows, titles = _predicted(images, maps)
    return contact_sheet(rows, column_titles=titles, row_titles=row_titles, cell_width=2 * images.shape[-1])


def draw_fields_and_targets(
    images: Tensor, maps: ObjectnessMaps, targets: ObjectTargets
) -> NDArray[np.uint8]:
    """Draw as :func:`draw_fields`, with the targets first."""
    predicted, titles = _predicted(images, maps)
    rows = [
        [_outlined(image, mask), boundary_colours(boundary), centre_colours(centre), *cells]
        for image, mask, boundary, centre, cells in zip(
            images, targets.mask, targets.boundary, targets.centre, predicted, strict=True
        )
    ]
    titles = ["object", "boundary target", "centre target", *titles]
    return contact_sheet(rows, column_titles=titles, cell_width=2 * images.shape[-1])


def _predicted(
    images: Tensor, maps: ObjectnessMaps
) -> tuple[list[list[ArrayLike | Tensor | None]], list[str]]:
    assert maps.boundary is not None and maps.centre is not None
    area = object_area(maps)
    meeting = anti_centre(maps.centre) * erode(area)
    rows: list[list[ArrayLike | Tensor | None]] = [
        [
            _outlined(image, inside),
            boundary_colours(boundary),
            centre_colours(centre),
            scalar_colours(
                torch.linalg.vector_norm(centre.float(), dim=0), low=0, high=1.2, colour_map="viridis"
            ),
            scalar_colours(between, low=-1, high=0.2, colour_map="magma"),
        ]
        for image, inside, boundary, centre, between in zip(
            images, area, maps.boundary, maps.centre, meeting, strict=True
        )
    ]
    return rows, ["seen as object", "boundary", "centre field", "its length", "anti-centre"]


def _outlined(image: Tensor, mask: Tensor) -> NDArray[np.uint8]:
    picture = to_picture(image).copy()
    picture[contours(mask.cpu().numpy())] = (255, 230, 0)
    return picture
