"""The files that panoptic results are written to, image by image: one class for all kinds, chosen by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from nolabel.labels import VOID, LabelSpace, cityscapes_label_ids
from nolabel.structures import CocoWriter, PanopticMap
from nolabel.structures.files import write_png
from nolabel.viz.colours import Picture, to_array
from nolabel.viz.overlays import panoptic_overlay
from nolabel.viz.result_files import ResultFiles, known_formats

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


def check_formats(formats: Iterable[str], space: LabelSpace) -> tuple[Format, ...]:
    """Check names of formats, in the order of ``FORMATS``.

    Raises:
        ConfigError: an unknown name, none at all, or Cityscapes' codes for a space that has none.
    """
    wanted: tuple[Format, ...] = known_formats(formats, FORMATS)  # type: ignore[assignment]
    if "cityscapes" in wanted:
        cityscapes_label_ids(space)  # raises for spaces outside the Cityscapes family
    return wanted


class PanopticFiles(ResultFiles[PanopticMap]):
    """Writes panoptic results in the chosen formats.

    Args:
        out: the folder.
        space: the label space of all results.
        formats: names of ``FORMATS``.
        total, title, fps: see :class:`~nolabel.viz.result_files.ResultFiles`.
        split: of Cityscapes' folders.
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
        super().__init__(out, space, check_formats(formats, space), total=total, title=title, fps=fps)
        self.split = split
        self._objects = np.zeros(256, np.int64)
        self._coco: CocoWriter | None = None
        if {"coco", "instances"} & set(self.formats):
            self._coco = CocoWriter(
                out, space, panoptic="coco" in self.formats, detection="instances" in self.formats
            )

    def _write(self, name: str, result: PanopticMap, file_name: str | None, chosen: set[str]) -> None:
        if "labels" in chosen:
            self._labels(name, result)
        if self._coco is not None:
            self.written["coco"] += len(self._coco.add(name, result, file_name))
        if "cityscapes" in chosen:
            self._cityscapes(name, result)
        self._count(result.semantic)
        self._count_objects(result)

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

    def _picture(self, result: PanopticMap, image: Tensor | None) -> Picture:
        background = self._background(result.size, image)
        return panoptic_overlay(background, result.semantic, result.instance, self.space, names=True)

    def _count_objects(self, result: PanopticMap) -> None:
        labels, instances = to_array(result.semantic), to_array(result.instance)
        stride = int(instances.max(initial=0)) + 1
        here = (labels != VOID) & (instances > 0)
        found = np.flatnonzero(np.bincount((labels * stride + instances)[here]))
        self._objects += np.bincount(found // stride, minlength=256)

    def _finish(self) -> None:
        if self._coco is not None:
            files = self._coco.close()
            self.written["instances"] += sum(path.name == "detection.json" for path in files)
            self.written["coco"] += sum(path.name == "panoptic.json" for path in files)

    def _class_columns(self) -> tuple[list[str], dict[int, list[object]]]:
        kinds = ["thing" if label_class.is_thing else "stuff" for label_class in self.space.classes]
        return ["kind", "objects"], {i: [kind, int(self._objects[i])] for i, kind in enumerate(kinds)}
