"""Volumes as pictures: from above, and cut open along the way ahead, with metres at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from nolabel.errors import DataError
from nolabel.geometry import VoxelGrid
from nolabel.structures import VoxelScene
from nolabel.viz.colours import Picture, scalar_colours
from nolabel.viz.text import font

__all__ = ["bird_eye", "density_from_above", "density_slice", "slice_of", "with_metres"]

PAPER, INK, SOFT = (250, 250, 251), (32, 33, 36), (150, 155, 162)
UNSEEN = (226, 229, 233)
STEPS = (1, 2, 5, 10, 20, 50, 100)  # metres between ticks
TICKS = 6  # at most, on the longer side
TEXT = 13
MARGIN = 34


def bird_eye(scene: VoxelScene, *, shaded: bool = True) -> Picture:
    """Classes from above, (X, Y, 3) uint8: far ahead is up, left is left; light where high, grey where nobody looked.

    Args:
        scene: the voxels.
        shaded: lower cells are darker.
    """
    occupied = scene.occupied.numpy()
    height = np.where(occupied, np.arange(1, occupied.shape[2] + 1), 0).max(axis=2)
    colours = scene.colours()[::-1, ::-1].astype(np.float64)  # back to the order of the cells
    if shaded and occupied.any():
        low, high = np.percentile(height[height > 0], [2, 98])
        share = np.clip((height - low) / max(high - low, 1), 0, 1)
        colours = colours * (0.72 + 0.28 * share[..., None])
    known = (scene.classes.numpy() != 255).any(axis=2)
    colours[height == 0] = np.where(known[height == 0][:, None], PAPER, UNSEEN)
    return _up(np.rint(colours).astype(np.uint8))


def density_from_above(density: npt.ArrayLike, cell: float) -> Picture:
    """How opaque columns are, (X, Y, 3) uint8: 1 - exp(-sum of density times ``cell``), far ahead up.

    Args:
        density: (X, Y, Z) 1 / metre.
        cell: edge of a cell, metres.
    """
    matter = np.asarray(density, dtype=np.float64).sum(axis=2) * cell
    return _up(scalar_colours(1 - np.exp(-matter), low=0.0, high=1.0, colour_map="magma"))


def density_slice(density: npt.ArrayLike, grid: VoxelGrid, aside: float = 0.0) -> Picture:
    """Density in a vertical plane along the way ahead, (Z, X, 3) uint8: up is up, ahead is right.

    Black to bright is 0.01 to 10 per metre, in equal factors.

    Args:
        density: (X, Y, Z) 1 / metre.
        grid: the cells.
        aside: where the plane is, metres to the left.
    """
    plane = np.asarray(density, dtype=np.float64)[:, _row(grid, aside)]
    return scalar_colours(np.log10(np.maximum(plane.T[::-1], 1e-3)), low=-2.0, high=1.0, colour_map="magma")


def slice_of(scene: VoxelScene, grid: VoxelGrid, aside: float = 0.0) -> Picture:
    """Classes in a vertical plane along the way ahead, (Z, X, 3) uint8; see :func:`density_slice`."""
    labels = scene.classes.numpy()[:, _row(grid, aside)].T[::-1]
    colours = scene.space.palette[labels]
    colours[labels == 0], colours[labels == 255] = PAPER, UNSEEN
    return colours


def with_metres(
    picture: Picture,
    horizontal: tuple[float, float],
    vertical: tuple[float, float],
    *,
    width: int = 640,
    title: str = "",
    scale: float | None = None,
) -> Picture:
    """Enlarge a picture of a plane and write metres at its edges.

    Args:
        picture: (rows, columns, 3) uint8.
        horizontal: metres at the left and right edge.
        vertical: metres at the upper and lower edge.
        width: pixels of the result without its margin.
        title: written above.
        scale: rows are this much higher than columns are wide; equal by default.
    """
    rows, columns = picture.shape[:2]
    height = max(1, round(width * rows / columns * (scale or 1.0)))
    top = MARGIN if title else MARGIN // 2
    sheet = Image.new("RGB", (width + 2 * MARGIN, height + top + MARGIN), (255, 255, 255))
    sheet.paste(Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST), (MARGIN, top))
    draw, face = ImageDraw.Draw(sheet), font(TEXT)
    draw.rectangle((MARGIN - 1, top - 1, MARGIN + width, top + height), outline=SOFT)
    for value, place in _ticks(horizontal, width):
        x = MARGIN + place
        draw.line((x, top + height, x, top + height + 4), fill=SOFT)
        draw.text((x, top + height + 6), f"{value:g}", font=face, fill=INK, anchor="ma")
    for value, place in _ticks(vertical, height, max(4, TICKS * height // width)):
        y = top + place
        draw.line((MARGIN - 5, y, MARGIN - 1, y), fill=SOFT)
        draw.text((MARGIN - 7, y), f"{value:g}", font=face, fill=INK, anchor="rm")
    draw.text((MARGIN + width + 4, top + height + 6), "m", font=face, fill=SOFT, anchor="la")
    draw.text((MARGIN, top / 2), title, font=font(TEXT + 2), fill=INK, anchor="lm")
    return np.asarray(sheet)


def _ticks(ends: tuple[float, float], pixels: int, most: int = TICKS) -> list[tuple[float, float]]:
    """(metres, pixel) of round numbers between the ends."""
    first, last = ends
    low, high = sorted(ends)
    step = next((step for step in STEPS if (high - low) / step <= most), STEPS[-1])
    values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step + 0.0  # no -0
    return [(float(v), float((v - first) / (last - first) * pixels)) for v in values]


def _up(colours: npt.NDArray[Any]) -> Picture:
    """(X, Y, 3) with far ahead up and left at the left."""
    return np.ascontiguousarray(colours[::-1, ::-1])


def _row(grid: VoxelGrid, aside: float) -> int:
    number = int(np.floor((aside - grid.origin[1]) / grid.voxel_size))
    if not 0 <= number < grid.shape[1]:
        raise DataError(f"the volume does not reach {aside} m aside")
    return number
