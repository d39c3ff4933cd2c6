"""Pictures put together: side by side, in a grid, with captions and legends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import LabelSpace
from nolabel.viz.colours import Picture, to_picture
from nolabel.viz.text import font, shorten

INK, PAPER = (32, 33, 36), (255, 255, 255)


def resize(image: ArrayLike | Tensor, *, height: int | None = None, width: int | None = None) -> Picture:
    """Scale a picture to a height or a width, keeping its proportions (both: exactly)."""
    picture = Image.fromarray(to_picture(image))
    if height is None and width is None:
        return np.asarray(picture)
    scale_of_width = (height or 0) / picture.height if width is None else 0
    scale_of_height = (width or 0) / picture.width if height is None else 0
    size = (
        width or max(1, round(picture.width * scale_of_width)),
        height or max(1, round(picture.height * scale_of_height)),
    )
    if size == picture.size:
        return np.asarray(picture)
    # Enlarged pictures keep hard pixel edges, so that small label maps stay readable.
    larger = size[0] >= picture.width
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS))


def caption(image: ArrayLike | Tensor, text: str, *, size: int = 16) -> Picture:
    """Write one line above a picture."""
    picture = to_picture(image)
    bar = Image.new("RGB", (picture.shape[1], size + 10), PAPER)
    words = shorten(text, font(size), bar.width - 4)
    ImageDraw.Draw(bar).text((2, bar.height / 2), words, font=font(size), fill=INK, anchor="lm")
    return np.concatenate([np.asarray(bar), picture])


def side_by_side(
    images: Sequence[ArrayLike | Tensor],
    captions: Sequence[str] | None = None,
    *,
    height: int | None = None,
    gap: int = 8,
) -> Picture:
    """Put pictures in one row, at a common height (that of the first by default), each with a caption."""
    if not images:
        raise DataError("nothing to put side by side", hint="give at least one picture")
    common = height or to_picture(images[0]).shape[0]
    pictures = [resize(image, height=common) for image in images]
    if captions is not None:
        pictures = [caption(p, text) for p, text in zip(pictures, captions, strict=True)]
    between = np.full((pictures[0].shape[0], gap, 3), PAPER, dtype=np.uint8)
    row = [part for picture in pictures for part in (between, picture)][1:]
    return np.concatenate(row, axis=1)


def contact_sheet(
    rows: Sequence[Sequence[ArrayLike | Tensor | None]],
    *,
    row_titles: Sequence[str] | None = None,
    column_titles: Sequence[str] | None = None,
    cell_width: int = 320,
    gap: int = 8,
    text_size: int = 16,
) -> Picture:
    """Put pictures in a grid with titles.

    Args:
        rows: pictures of each row; None leaves a cell empty, rows may differ in length. A picture is
            scaled to ``cell_width``; the height of a row is that of its tallest picture.
        row_titles: written upright at the left, one for each row.
        column_titles: written above, one for each column.
        cell_width: pixels.
        gap: pixels between pictures.
        text_size: pixels.
    """
    cells = [[None if c is None else resize(c, width=cell_width) for c in row] for row in rows]
    if not any(cell is not None for row in cells for cell in row):
        raise DataError("a contact sheet needs a picture", hint="give rows of pictures")
    columns = max(len(row) for row in cells)
    heights = [max((c.shape[0] for c in row if c is not None), default=text_size) for row in cells]
    line = text_size + 10
    left, top = (line if row_titles else 0), (line if column_titles else 0)
    width = left + columns * (cell_width + gap) - gap
    sheet = Image.new("RGB", (width, top + sum(heights) + gap * (len(cells) - 1)), PAPER)
    draw, type_face = ImageDraw.Draw(sheet), font(text_size)
    for j, title in enumerate(column_titles or ()):
        words = shorten(title, type_face, cell_width)
        draw.text((left + j * (cell_width + gap), line / 2), words, font=type_face, fill=INK, anchor="lm")
    y = top
    for i, row in enumerate(cells):
        if row_titles:
            sheet.paste(_upright(row_titles[i], heights[i], line, text_size), (0, y))
        for j, cell in enumerate(row):
            if cell is not None:
                sheet.paste(Image.fromarray(cell), (left + j * (cell_width + gap), y))
        y += heights[i] + gap
    return np.asarray(sheet)


def _upright(text: str, height: int, width: int, text_size: int) -> Image.Image:
    bar = Image.new("RGB", (height, width), PAPER)
    words = shorten(text, font(text_size), height)
    ImageDraw.Draw(bar).text((height / 2, width / 2), words, font=font(text_size), fill=INK, anchor="mm")
    return bar.transpose(Image.Transpose.ROTATE_90)


def legend(
    space: LabelSpace,
    present: Iterable[int] | ArrayLike | Tensor | None = None,
    *,
    columns: int = 4,
    text_size: int = 16,
) -> Picture:
    """Coloured squares and class names.

    Args:
        space: names and colours.
        present: labels to show, or a label map that holds them; all classes by default.
        columns: entries in a row.
        text_size: pixels.
    """
    labels = range(space.num_classes) if present is None else _labels_in(present, space.num_classes)
    names = [space.names[label] for label in labels]
    type_face, line = font(text_size), text_size + 10
    columns = max(1, min(columns, len(names)))
    entry = line + 16 + round(max((type_face.getlength(name) for name in names), default=0))
    rows = -(-len(names) // columns)
    picture = Image.new("RGB", (entry * columns, max(1, line * rows)), PAPER)
    draw = ImageDraw.Draw(picture)
    for i, (label, name) in enumerate(zip(labels, names, strict=True)):
        x, y = entry * (i % columns), line * (i // columns)
        colour = tuple(int(c) for c in space.palette[label])
        draw.rectangle((x + 3, y + 3, x + line - 4, y + line - 4), fill=colour, outline=(128, 128, 128))
        draw.text((x + line + 4, y + line / 2), name, font=type_face, fill=INK, anchor="lm")
    return np.asarray(picture)


def _labels_in(present: Iterable[int] | ArrayLike | Tensor, classes: int) -> list[int]:
    values = present.cpu().numpy() if isinstance(present, Tensor) else present
    if not isinstance(values, np.ndarray):
        values = np.asarray(list(values) if isinstance(values, Iterable) else values)
    return [int(label) for label in np.unique(values) if 0 <= label < classes]
