"""Label maps, instances, boxes and contours drawn over an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import LabelSpace
from nolabel.viz.colours import (
    Picture,
    id_colours,
    instance_colours,
    label_colours,
    panoptic_colours,
    to_array,
    to_picture,
)
from nolabel.viz.text import draw_label, font

VOID = 255


def blend(
    image: ArrayLike | Tensor, colours: Picture, alpha: float, where: ArrayLike | None = None
) -> Picture:
    """Mix ``alpha`` of the colours ``(H, W, 3)`` into the image, where a mask ``(H, W)`` says so."""
    picture = to_picture(image)
    if picture.shape != colours.shape:
        raise DataError(
            f"an image of {picture.shape[:2]} and a map of {colours.shape[:2]} pixels do not match",
            hint="resize one to the other first",
        )
    mixed = np.asarray(cv2.addWeighted(colours, alpha, picture, 1 - alpha, 0), dtype=np.uint8)
    return mixed if where is None else np.where(np.asarray(where, dtype=bool)[..., None], mixed, picture)


def contours(ids: ArrayLike | Tensor, thickness: int = 1) -> NDArray[np.bool_]:
    """Pixels ``(H, W)`` that border on another id; lines between two regions are ``2 thickness`` wide."""
    numbers = to_array(ids)
    edge = np.zeros(numbers.shape, dtype=bool)
    for shift in range(1, thickness + 1):
        down, right = numbers[shift:] != numbers[:-shift], numbers[:, shift:] != numbers[:, :-shift]
        edge[shift:] |= down
        edge[:-shift] |= down
        edge[:, shift:] |= right
        edge[:, :-shift] |= right
    return edge


def semantic_overlay(
    image: ArrayLike | Tensor, labels: ArrayLike | Tensor, space: LabelSpace, alpha: float = 0.6
) -> Picture:
    """Class colours over the image; void shows the image."""
    ids = to_array(labels)
    known = (ids >= 0) & (ids < space.num_classes)
    return blend(image, label_colours(ids, space.palette), alpha, known)


def panoptic_overlay(
    image: ArrayLike | Tensor,
    semantic: ArrayLike | Tensor,
    instance: ArrayLike | Tensor,
    space: LabelSpace,
    *,
    alpha: float = 0.6,
    outline: bool = True,
    names: bool = False,
    numbers: bool = False,
) -> Picture:
    """Class colours, shaded by instance, over the image, with white outlines of the instances.

    Args:
        image: see :func:`nolabel.viz.to_picture`.
        semantic, instance: ``(H, W)`` labels (void 255) and ids (0 none).
        space: names and colours.
        alpha: share of the colours.
        outline: draw the borders of instances.
        names: write the class name at every instance.
        numbers: write the id of every instance, in place of its name.
    """
    categories, ids = to_array(semantic).astype(np.int64), to_array(instance).astype(np.int64)
    known = (categories >= 0) & (categories < space.num_classes)
    ids = np.where(known & np.isin(categories, space.things), ids, 0)
    picture = blend(image, panoptic_colours(categories, ids, space.palette), alpha, known)
    # Ids may repeat in other classes: two touching objects differ in class or in id.
    objects = np.where(ids > 0, ids * space.num_classes + categories, 0)
    if outline:
        width = max(1, round(min(picture.shape[:2]) / 600))
        picture[contours(objects, width) & (ids > 0)] = 255
    if not (names or numbers):
        return picture

    def text(key: int) -> str:
        number, category = divmod(key, space.num_classes)
        return str(number) if numbers else space.names[category]

    return _write_texts(picture, objects, text)


def _write_texts(picture: Picture, objects: NDArray[np.int64], text_of: Callable[[int], str]) -> Picture:
    """Write a text at the middle of every object (any id but 0) that can hold it."""
    rows, columns = np.nonzero(objects)
    found, index, area = np.unique(objects[rows, columns], return_inverse=True, return_counts=True)
    top, left = (np.bincount(index, weights=axis) / area for axis in (rows, columns))
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    type_face = font(max(10, round(min(picture.shape[:2]) / 45)))
    for i in np.argsort(-area, kind="stable"):
        text = text_of(int(found[i]))
        if area[i] > 1.5 * draw.textlength(text, font=type_face) * type_face.size:
            draw_label(draw, (left[i], top[i]), text, type_face, anchor="mm")
    return np.asarray(canvas)


def instance_overlay(
    image: ArrayLike | Tensor, instances: ArrayLike | Tensor, *, alpha: float = 0.6, outline: bool = True
) -> Picture:
    """Distinct colours of an id map ``(H, W)`` over the image; id 0 shows the image."""
    ids = to_array(instances).astype(np.int64)
    picture = blend(image, instance_colours(ids), alpha, ids > 0)
    if outline:
        picture[contours(ids, max(1, round(min(ids.shape) / 600))) & (ids > 0)] = 255
    return picture


def draw_boxes(
    image: ArrayLike | Tensor,
    boxes: ArrayLike | Tensor,
    texts: Sequence[str] | None = None,
    colours: ArrayLike | None = None,
) -> Picture:
    """Draw boxes ``(N, 4)`` XYXY in pixels (maxima exclusive), each with a text and a colour ``(N, 3)``."""
    corners = to_array(boxes).reshape(-1, 4)
    shades = id_colours(np.arange(1, len(corners) + 1)) if colours is None else np.asarray(colours)
    canvas = Image.fromarray(to_picture(image))
    draw = ImageDraw.Draw(canvas)
    width = max(2, round(min(canvas.size) / 300))
    type_face = font(max(10, round(min(canvas.size) / 40)))
    for i, (x0, y0, x1, y1) in enumerate(corners.tolist()):
        colour = tuple(int(c) for c in shades[i])
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour, width=width)
        if texts is not None and texts[i]:
            draw_label(draw, (x0, y0), texts[i], type_face, background=colour)
    return np.asarray(canvas)
