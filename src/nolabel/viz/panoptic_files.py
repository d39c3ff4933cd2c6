"""The files that panoptic results are written to, image by image: one class for all kinds, chosen by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.labels import VOID, LabelSpace, cityscapes_label_ids
from nolabel.structures import CocoWriter, PanopticMap
from nolabel.structures.files import atomic_path, write_png
from nolabel.viz.colours import Picture, to_array
from nolabel.viz.layout import legend, resize
from nolabel.viz.overlays import panoptic_overlay
from nolabel.viz.report import Report
from nolabel.viz.video import VideoFile

__all__ = ["FORMATS", "Format", "PanopticFiles", "check_formats"]

Format = Literal["labels", "instances", "coco", "cityscapes", "overlay", "video", "gallery"]
FORMATS: dict[str, str] = {
    "labels": "<name>_semantic.png (8 bit, with palette) and <name>_instance.png (16 bit, 0 = none)",
    "instances": "detection.json: COCO detection with run-length encoded masks and scores",
    "coco": "panoptic.json and panoptic/<name>.png: COCO panoptic, all images in one file",
    "cityscapes": "gtFine/<split>/<city>/<name>_gtFine_labelIds.png and _instanceIds.png, Cityscapes' codes",
    "overlay": "overlay/<name>.jpg: classes, objects and names over the image",
    "video": "<sequence>.mp4: the overlays as a video",
    "gallery": "index.html: one page to look through, complete in itself",
}
_PAGE_PICTURES = 60
_PAGE_WIDTH = 640


def check_formats(formats: Iterable[str], space: LabelSpace) -> tuple[Format, ...]:
    """Check names of formats, in the order of ``FORMATS``.

    Raises:
        ConfigError: an unknown name, none at all, or Cityscapes' codes for a space that has none.
    """
    wanted = set(formats)
    unknown = sorted(wanted - set(FORMATS))
    if unknown or not wanted:
        what = (
            f"there is no output called {', '.join(unknown)}" if unknown else "nothing was chosen to be saved"
        )
        raise ConfigError(what, hint=f"choose from {', '.join(FORMATS)}")
    if "cityscapes" in wanted:
        cityscapes_label_ids(space)  # raises for spaces outside the Cityscapes family
    return tuple(name for name in get_args(Format) if name in wanted)


class PanopticFiles:
    """Writes results in the chosen formats; each file appears whole, files of the same name are replaced.

    Use it as a context manager; files that cover all images are written when it is left without an error.

    Args:
        out: the folder.
        space: the label space of all results.
        formats: names of ``FORMATS``.
        total: how many images there will be: the gallery shows up to 60 of them, evenly spread.
        title: heading of the gallery.
        fps: frames per second of videos.
        split: of Cityscapes' folders.

    Attributes:
        written: format -> number of files so far.
    """

    def __init__(
        self,
        out: str | Path,
        space: LabelSpace,
        formats: Sequence[Format],
        *,
        total: int,
        title: str = "Panoptic predictions",
        fps: float = 10.0,
        split: str = "val",
    ) -> None:
        self.out, self.space, self.total, self.fps, self.split = Path(out), space, total, fps, split
        self.formats = check_formats(formats, space)
        self.written: Counter[str] = Counter()
        self._index = 0
        self._pixels = np.zeros(256, np.int64)
        self._objects = np.zeros(256, np.int64)
        self._pictures: list[tuple[Picture, str]] = []
        self._title = title
        self._video: VideoFile | None = None
        self._coco: CocoWriter | None = None
        if {"coco", "instances"} & set(self.formats):
            self._coco = CocoWriter(
                out, space, panoptic="coco" in self.formats, detection="instances" in self.formats
            )

    def __enter__(self) -> PanopticFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self._video is not None:
            self._video.__exit__(kind, error, trace)
        if kind is None:
            self._finish()

    def add(
        self,
        name: str,
        result: PanopticMap,
        image: Tensor | None = None,
        *,
        file_name: str | None = None,
        sequence: str = "video",
        formats: Sequence[Format] | None = None,
    ) -> None:
        """Write one result.

        Args:
            name: what its files are called; unique.
            result: the prediction or label.
            image: (3, H, W) in [0, 1], shown at the size of the result; without it, pictures are drawn on grey.
            file_name: the picture's own file, for COCO's ``images``.
            sequence: name of the video it belongs to; another one than before ends the video before.
            formats: a part of the chosen formats, where not all apply to this image.
        """
        chosen = set(self.formats if formats is None else formats)
        if "labels" in chosen:
            self._labels(name, result)
        if self._coco is not None:
            self.written["coco"] += len(self._coco.add(name, result, file_name))
        if "cityscapes" in chosen:
            self._cityscapes(name, result)
        self._count(result)
        shown = "gallery" in chosen and self._is_shown()
        if {"overlay", "video"} & chosen or shown:
            self._draw(name, result, image, chosen, sequence, shown)
        self._index += 1

    def _labels(self, name: str, result: PanopticMap) -> None:
        instances = result.instance_png()  # refuses before anything is written
        result.semantic_map().save(self.out, name)
        write_png(self.out / f"{name}_instance.png", instances)
        self.written["labels"] += 2

    def _cityscapes(self, name: str, result: PanopticMap) -> None:
        """Name the files as Cityscapes does; images of other data sets lie in a city called ``images``."""
        stem = name.removesuffix("_leftImg8bit")
        frame = re.fullmatch(r"(.+)_\d{6}_\d{6}", stem)
        folder = self.out / "gtFine" / self.split / (frame.group(1) if frame else "images")
        table = cityscapes_label_ids(self.space)
        write_png(folder / f"{stem}_gtFine_labelIds.png", table[result.semantic.numpy()])
        write_png(
            folder / f"{stem}_gtFine_instanceIds.png", result.cityscapes_ids().numpy().astype(np.uint16)
        )
        self.written["cityscapes"] += 2

    def _draw(
        self,
        name: str,
        result: PanopticMap,
        image: Tensor | None,
        chosen: set[Format],
        sequence: str,
        shown: bool,
    ) -> None:
        height, width = result.size
        grey = np.full((height, width, 3), 128, np.uint8)
        picture = panoptic_overlay(
            grey if image is None else resize(image, height=height, width=width),
            result.semantic,
            result.instance,
            self.space,
            names=True,
        )
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

    def _count(self, result: PanopticMap) -> None:
        labels, instances = to_array(result.semantic), to_array(result.instance)
        self._pixels += np.bincount(labels.reshape(-1), minlength=256)
        stride = int(instances.max(initial=0)) + 1
        here = (labels != VOID) & (instances > 0)
        found = np.flatnonzero(np.bincount((labels * stride + instances)[here]))
        self._objects += np.bincount(found // stride, minlength=256)

    def _finish(self) -> None:
        if self._coco is not None:
            files = self._coco.close()
            self.written["instances"] += sum(path.name == "detection.json" for path in files)
            self.written["coco"] += sum(path.name == "panoptic.json" for path in files)
        if "gallery" in self.formats:
            self._report().save(self.out / "index.html")
            self.written["gallery"] += 1
        self.written = +self.written  # formats that have written nothing are not named

    def _report(self) -> Report:
        report = Report(self._title, f"{self._index} images; classes of {self.space.name}.")
        seen = [label for label in range(self.space.num_classes) if self._pixels[label]]
        if seen:
            total = max(1, int(self._pixels.sum()))
            rows = [
                [
                    self.space.names[label],
                    "thing" if self.space.classes[label].is_thing else "stuff",
                    100 * int(self._pixels[label]) / total,
                    int(self._objects[label]),
                ]
                for label in seen
            ]
            report.heading("Classes").image(legend(self.space, seen), "Colours of the classes", "png")
            report.table(["class", "kind", "share of the pixels, %", "objects"], rows)
        if self._pictures:
            count = len(self._pictures)
            report.heading(f"Pictures ({count} of {self._index})" if count < self._index else "Pictures")
            report.gallery([p for p, _ in self._pictures], [n for _, n in self._pictures], cell_width=400)
        return report
