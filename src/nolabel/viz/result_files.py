"""What all kinds of results are shown in: overlays, videos, and one page to look through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.labels import LabelSpace
from nolabel.structures.files import atomic_path
from nolabel.viz.colours import Picture, to_array
from nolabel.viz.layout import legend, resize
from nolabel.viz.report import Report
from nolabel.viz.video import VideoFile

__all__ = ["ResultFiles", "known_formats"]

Result = TypeVar("Result")
_PAGE_PICTURES = 60
_PAGE_WIDTH = 640


def known_formats(wanted: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the wanted names of formats in the order of the known ones.

    Raises:
        ConfigError: an unknown name, or none at all.
    """
    wanted = set(wanted)
    unknown = sorted(wanted - set(known))
    if unknown or not wanted:
        what = (
            f"there is no output called {', '.join(unknown)}" if unknown else "nothing was chosen to be saved"
        )
        raise ConfigError(what, hint=f"choose from {', '.join(known)}")
    return tuple(name for name in known if name in wanted)


class ResultFiles(ABC, Generic[Result]):
    """Writes pictures of results: ``overlay/<name>.jpg``, ``<sequence>.mp4``, ``index.html``.

    Use it as a context manager; files that cover all images are written when it is left without an error. Each file
    appears whole; files of the same name are replaced.

    Args:
        out: the folder.
        space: the label space of all results.
        formats: the chosen ones: ``overlay``, ``video``, ``gallery``, and those of the subclass.
        total: how many images there will be: the gallery shows up to 60 of them, evenly spread.
        title: heading of the gallery.
        fps: frames per second of videos.

    Attributes:
        written: format -> number of files so far.
    """

    def __init__(
        self,
        out: str | Path,
        space: LabelSpace,
        formats: Collection[str],
        *,
        total: int,
        title: str,
        fps: float = 10.0,
    ) -> None:
        self.out, self.space, self.formats, self.total, self.fps = Path(out), space, formats, total, fps
        self.written: Counter[str] = Counter()
        self._title = title
        self._index = 0
        self._pixels = np.zeros(256, np.int64)
        self._pictures: list[tuple[Picture, str]] = []
        self._video: VideoFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._video is not None:
            self._video.__exit__(kind, error, trace)
        if kind is None:
            self._finish()
            if "gallery" in self.formats:
                self._report().save(self.out / "index.html")
                self.written["gallery"] += 1
            self.written = +self.written  # formats that have written nothing are not named

    def add(
        self,
        name: str,
        result: Result,
        image: Tensor | None = None,
        *,
        file_name: str | None = None,
        sequence: str = "video",
        formats: Collection[str] | None = None,
    ) -> None:
        """Write one result.

        Args:
            name: what its files are called; unique.
            result: the prediction or label.
            image: (3, H, W) in [0, 1], shown at the size of the result; without it, pictures are drawn on grey.
            file_name: the picture's own file, where a format names it.
            sequence: name of the video it belongs to; another one than before ends the video before.
            formats: a part of the chosen formats, where not all apply to this image.
        """
        chosen = set(self.formats if formats is None else formats)
        self._write(name, result, file_name, chosen)
        shown = "gallery" in chosen and self._is_shown()
        if {"overlay", "video"} & chosen or shown:
            self._draw(name, self._picture(result, image), chosen, sequence, shown)
        self._index += 1

    @abstractmethod
    def _write(self, name: str, result: Result, file_name: str | None, chosen: set[str]) -> None:
        """Write what is no picture, and count the pixels of the classes."""

    @abstractmethod
    def _picture(self, result: Result, image: Tensor | None) -> Picture:
        """Draw the result over its image."""

    def _finish(self) -> None:
        """Write what covers all images, besides the pictures."""

    def _class_columns(self) -> tuple[list[str], dict[int, list[object]]]:
        """More columns of the gallery's table: their names, and for each class its entries."""
        return [], {}

    def _count(self, labels: Tensor) -> None:
        self._pixels += np.bincount(to_array(labels).reshape(-1), minlength=256)

    def _background(self, size: tuple[int, int], image: Tensor | None) -> Picture:
        height, width = size
        grey = np.full((height, width, 3), 128, np.uint8)
        return grey if image is None else resize(image, height=height, width=width)

    def _draw(self, name: str, picture: Picture, chosen: set[str], sequence: str, shown: bool) -> None:
        if "overlay" in chosen:
            with atomic_path(self.out / "overlay" / f"{name}.jpg") as written:
                Image.fromarray(picture).save(written, format="JPEG", quality=92)
            self.written["overlay"] += 1
        if "video" in chosen:
            self._sequence(sequence).add(picture)
        if shown:
            small = resize(picture, width=_PAGE_WIDTH) if picture.shape[1] > _PAGE_WIDTH else picture
            self._pictures.append((small, name))

    def _sequence(self, sequence: str) -> VideoFile:
        path = self.out / f"{sequence}.mp4"
        if self._video is None or self._video.path != path:
            if self._video is not None:
                self._video.__exit__(None, None, None)
            self._video = VideoFile(path, self.fps)
            self.written["video"] += 1
        return self._video

    def _is_shown(self) -> bool:
        """Whether this image is among those that spread evenly over all."""
        shown = min(self.total, _PAGE_PICTURES)
        return shown > 0 and self._index * shown // self.total != (self._index - 1) * shown // self.total

    def _report(self) -> Report:
        report = Report(self._title, f"{self._index} images; classes of {self.space.name}.")
        seen = [label for label in range(self.space.num_classes) if self._pixels[label]]
        if seen:
            total = max(1, int(self._pixels.sum()))
            names, entries = self._class_columns()
            rows = [
                [self.space.names[label], 100 * int(self._pixels[label]) / total, *entries.get(label, [])]
                for label in seen
            ]
            report.heading("Classes").image(legend(self.space, seen), "Colours of the classes", "png")
            report.table(["class", "share of the pixels, %", *names], rows)
        if self._pictures:
            count = len(self._pictures)
            report.heading(f"Pictures ({count} of {self._index})" if count < self._index else "Pictures")
            report.gallery([p for p, _ in self._pictures], [n for _, n in self._pictures], cell_width=400)
        return report
