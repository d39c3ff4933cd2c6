"""One COCO file for many images, written image by image: what is in memory does not grow with the pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nolabel.errors import DataError
from nolabel.labels import LabelSpace
from nolabel.structures.coco import categories, object_annotations, segment_colours, segment_info
from nolabel.structures.files import write_json, write_png
from nolabel.structures.panoptic import PanopticMap

__all__ = ["CocoWriter"]


class CocoWriter:
    """Collects results and writes COCO files that name them all.

    ::

        folder/panoptic.json  folder/panoptic/<name>.png     what COCO's panoptic tools and trainers read
        folder/detection.json                                objects with run-length encoded masks

    PNGs appear with each :meth:`add`, the JSON files with :meth:`close`; an older JSON goes away at the start, because
    it would describe PNGs that are being replaced.

    Args:
        folder: where the files go.
        space: the label space of all results; its classes become the categories.
        panoptic, detection: which of the two to write.
    """

    def __init__(
        self, folder: str | Path, space: LabelSpace, *, panoptic: bool = True, detection: bool = False
    ) -> None:
        self.folder, self.space = Path(folder), space
        self.panoptic, self.detection = panoptic, detection
        self._images: list[dict[str, Any]] = []
        self._segments: list[dict[str, Any]] = []
        self._objects: list[dict[str, Any]] = []
        self._names: set[str] = set()
        for path in self._json_files():
            path.unlink(missing_ok=True)

    def add(self, name: str, result: PanopticMap, file_name: str | None = None) -> list[Path]:
        """Add an image.

        Args:
            name: what its PNG is called.
            result: its prediction or label.
            file_name: the picture it belongs to, relative to the pictures' folder; ``<name>.png`` by default.

        Returns:
            The files written now.

        Raises:
            DataError: the name occurred before, or the result has another label space.
        """
        if name in self._names:
            raise DataError(
                f"two results are called {name!r}", hint="names become file names: make them unique"
            )
        if result.space != self.space:
            raise DataError(f"{name}: expected label space {self.space.name!r}, got {result.space.name!r}")
        self._names.add(name)
        image_id = len(self._images) + 1
        height, width = result.size
        self._images.append(
            {"id": image_id, "file_name": file_name or f"{name}.png", "height": height, "width": width}
        )
        if self.detection:
            self._objects += object_annotations(result.instances(), image_id, first_id=len(self._objects) + 1)
        if not self.panoptic:
            return []
        png = f"{name}.png"
        ids, segments = result.segments()
        infos = [segment_info(segment) for segment in segments]
        self._segments.append({"image_id": image_id, "file_name": png, "segments_info": infos})
        return [write_png(self.folder / "panoptic" / png, segment_colours(ids))]

    def close(self) -> list[Path]:
        """Write the JSON files; returns them."""
        contents = {"panoptic.json": self._segments, "detection.json": self._objects}
        return [
            write_json(
                path,
                {
                    "images": self._images,
                    "annotations": contents[path.name],
                    "categories": categories(self.space),
                },
            )
            for path in self._json_files()
        ]

    def _json_files(self) -> list[Path]:
        wanted = {"panoptic.json": self.panoptic, "detection.json": self.detection}
        return [self.folder / name for name, chosen in wanted.items() if chosen]
