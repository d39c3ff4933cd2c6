"""Text in pictures, with the font that Pillow carries."""

from __future__ import annotations

from functools import cache

from PIL import ImageDraw, ImageFont

Colour = tuple[int, ...]
_SCALABLE = ImageFont.FreeTypeFont


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font at a size in pixels."""
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, _SCALABLE)  # a size always gives the scalable font
    return loaded


def text_on(background: Colour) -> Colour:
    """Black or white, whichever is easier to read on the background."""
    red, green, blue = background[:3]
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def draw_label(
    draw: ImageDraw.ImageDraw,
    position: tuple[float, float],
    text: str,
    type_face: ImageFont.FreeTypeFont,
    *,
    background: Colour = (20, 20, 24),
    anchor: str = "la",
) -> None:
    """Write text on a filled rectangle, moved into the picture; ``anchor`` as in Pillow."""
    margin = max(2, round(type_face.size / 6))
    left, top, right, bottom = draw.textbbox(position, text, font=type_face, anchor=anchor)
    width, height = draw.im.size
    x = position[0] + max(0, margin - left) - max(0, right + margin - width)
    y = position[1] + max(0, margin - top) - max(0, bottom + margin - height)
    left, top, right, bottom = draw.textbbox((x, y), text, font=type_face, anchor=anchor)
    draw.rectangle((left - margin, top - margin, right + margin, bottom + margin), fill=background)
    draw.text((x, y), text, font=type_face, fill=text_on(background), anchor=anchor)


def shorten(text: str, type_face: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, cut with an ellipsis where it is wider than ``width`` pixels."""
    if type_face.getlength(text) <= width:
        return text
    while text and type_face.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
