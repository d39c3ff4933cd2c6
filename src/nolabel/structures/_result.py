"""What every result can do: give colours, be shown, and be saved under a stem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from PIL import Image

from nolabel.structures.pictures import Picture, blend, show_picture

__all__ = ["Result", "destination"]


class Result(ABC):
    """A result of a task. Tensors lie on the CPU."""

    @abstractmethod
    def colours(self) -> Picture:
        """The result as a picture, (H, W, 3) uint8."""

    @abstractmethod
    def save(self, path: str | Path, stem: str | None = None) -> list[Path]:
        """Write the result.

        Args:
            path: a folder (made if needed), or with ``stem`` None a path whose last part is the stem; a suffix
                such as ``.png`` is dropped.
            stem: what the names of the files start with.

        Returns:
            The files written. Each appears whole or not at all; the same result gives the same bytes.
        """

    def overlay(self, image: Any, alpha: float = 0.6) -> Picture:
        """The picture laid over an image of the same size; see :func:`nolabel.structures.pictures.blend`."""
        return blend(image, self.colours(), alpha)

    def show(self, image: Any = None) -> Image.Image:
        """Show the result, over ``image`` if given; returns the picture (a notebook displays it)."""
        return show_picture(self.colours() if image is None else self.overlay(image))


def destination(path: str | Path, stem: str | None) -> tuple[Path, str]:
    """Split what ``save`` was given into a folder and a stem."""
    path = Path(path)
    if stem is not None:
        return path, stem
    return path.parent, path.stem if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".json") else path.name
