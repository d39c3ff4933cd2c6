"""Pictures one after another in an image file that any browser shows: GIF, APNG or WebP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from nolabel.errors import ConfigError
from nolabel.structures.files import atomic_path
from nolabel.viz.colours import Picture

__all__ = ["write_animation"]

_FORMATS = {".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}


def write_animation(
    path: str | Path, pictures: Sequence[Picture], seconds: float | Sequence[float] = 0.2
) -> Path:
    """Write pictures of one size as an animation that starts again at its end; whole or absent.

    Args:
        path: the file, ``.gif`` (256 colours a picture), ``.png`` or ``.apng`` (lossless, large) or ``.webp``.
        pictures: at least one, (H, W, 3) uint8.
        seconds: how long each is shown, or a number for all.

    Raises:
        ConfigError: another suffix.
    """
    path = Path(path)
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError(f"{path} is no animation", hint=f"end it in {', '.join(_FORMATS)}")
    each = [seconds] * len(pictures) if isinstance(seconds, int | float) else seconds
    times = [round(1000 * second) for second in each]
    frames = [Image.fromarray(picture) for picture in pictures]
    if kind == "GIF":  # colours chosen for each picture; dithering would flicker
        frames = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    with atomic_path(path) as temporary:
        options = {"quality": 80, "method": 2} if kind == "WEBP" else {}
        frames[0].save(
            temporary,
            format=kind,
            save_all=True,
            append_images=frames[1:],
            duration=times,
            loop=0,
            **options,
        )
    return path
