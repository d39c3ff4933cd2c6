"""The files that objects without semantics are written to, image by image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nolabel.labels import LabelSpace
from nolabel.structures import Instances
from nolabel.structures.coco import object_annotations
from nolabel.structures.files import write_json, write_png
from nolabel.viz.colours import Picture
from nolabel.viz.overlays import draw_boxes, instance_overlay
from nolabel.viz.result_files import ResultFiles, known_formats

__all__ = ["INSTANCE_FORMATS", "InstanceFiles"]

INSTANCE_FORMATS: dict[str, str] = {
    "coco": "detection.json: COCO detection with run-length encoded masks and scores, all images in one file",
    "labels": "<name>_instance.png (16 bit, 0 = none, 1 + row of the object that scores highest there)",
    "overlay": "overlay/<name>.jpg: the objects with boxes and scores over the image",
    "video": "<sequence>.mp4: the overlays as a video",
    "gallery": "index.html: one page to look through, complete in itself",
}


class InstanceFiles(ResultFiles[Instances]):
    """Writes objects in the chosen formats.

    Args:
        out: the folder.
        space: the label space of all results.
        formats: names of ``INSTANCE_FORMATS``.
        total, title, fps: see :class:`~nolabel.viz.result_files.ResultFiles`.

    Raises:
        ConfigError: an unknown format, or none.
    """

    def __init__(
        self,
        out: str | Path,
        space: LabelSpace,
        formats: Iterable[str],
        *,
        total: int,
        title: str = "Objects",
        fps: float = 10.0,
    ) -> None:
        chosen = known_formats(formats, INSTANCE_FORMATS)
        super().__init__(out, space, chosen, total=total, title=title, fps=fps)
        self._objects = np.zeros(space.num_classes, np.int64)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        # Objects alone are categories, numbered from 1: what is no object is never found.
        self._category = {label: number for number, label in enumerate(space.things, start=1)}
        if "coco" in self.formats:
            self._json.unlink(missing_ok=True)  # an older one would tell of files that are being replaced

    def _write(self, name: str, result: Instances, file_name: str | None, chosen: set[str]) -> None:
        if "labels" in chosen:
            write_png(self.out / f"{name}_instance.png", result.id_map().numpy().astype(np.uint16))
            self.written["labels"] += 1
        if "coco" in chosen:
            self._annotate(name, result, file_name)
        self._objects += np.bincount(result.classes.numpy(), minlength=len(self._objects))
        ids = result.id_map()
        labels = ids.new_zeros(len(result) + 1)
        labels[1:] = result.classes
        self._count(labels[ids])

    def _picture(self, result: Instances, image: Tensor | None) -> Picture:
        assert result.size is not None
        ids = result.id_map()
        picture = instance_overlay(self._background(result.size, image), ids)
        return draw_boxes(picture, result.boxes, [f"{score:.2f}" for score in result.scores.tolist()])

    @property
    def _json(self) -> Path:
        return self.out / "detection.json"

    def _annotate(self, name: str, result: Instances, file_name: str | None) -> None:
        assert result.size is not None
        height, width = result.size
        number = len(self._images) + 1
        self._images.append(
            {"id": number, "file_name": file_name or f"{name}.png", "height": height, "width": width}
        )
        first = len(self._annotations) + 1
        for row, label in zip(
            object_annotations(result, number, first), result.classes.tolist(), strict=True
        ):
            self._annotations.append(row | {"category_id": self._category[label]})

    def _finish(self) -> None:
        if "coco" in self.formats:
            categories = [
                {"id": number, "name": self.space.names[label], "supercategory": "fg", "isthing": 1}
                for label, number in self._category.items()
            ]
            content = {"images": self._images, "annotations": self._annotations, "categories": categories}
            write_json(self._json, content)
            self.written["coco"] += 1

    def _class_columns(self) -> tuple[list[str], dict[int, list[object]]]:
        return ["objects"], {i: [int(count)] for i, count in enumerate(self._objects)}
