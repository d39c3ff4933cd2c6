"""Label maps that bring their own meaning: a folder of images and maps, and COCO panoptic files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nolabel.data.class_mapping import ClassMapping, find_mapping, read_mapping
from nolabel.data.files import examples, list_images, read_json
from nolabel.data.folder import flat_name
from nolabel.data.label_layouts import decode_segments, read_channels
from nolabel.data.labelled import (
    IdMap,
    LabelledDataset,
    LabelledLayout,
    LabelledRecord,
    find_space,
    identity_table,
)
from nolabel.errors import DataError
from nolabel.labels import LabelClass, LabelSpace

__all__ = ["CocoPanoptic", "FolderLabelled", "find_coco"]

_FOLDER_HELP = (
    "lay the pictures into images/ and the label maps (one channel of class ids, 255 = void) into labels/ with equal "
    "names; maps of instance ids may lie in instances/"
)
_COCO_HELP = (
    "a COCO panoptic set is a JSON with segments_info, the PNGs in a folder of the JSON's name, and the pictures; "
    "get COCO from https://cocodataset.org"
)


class FolderLabelled(LabelledDataset):
    """Own images with label maps.

    ::

        root/images/[.../]<name>.jpg
        root/labels/[.../]<name>.png        class ids of ``space`` (or of ``table``), 255 = void
        root/instances/[.../]<name>.png     optional: 0 = none
        root/classes.yaml                   optional: what the values mean, see nolabel.data.class_mapping

    Images without a label map are left out (``nolabel doctor`` counts them).

    Args:
        root: the folder above.
        space: label space or its name; by default that of the class mapping, else ``cityscapes_19``.
        split: subfolder of images/ and labels/, if there are splits.
        table: data set whose raw ids the maps hold, e.g. ``cityscapes``; by default they are what the mapping says, else
            the space's labels.
        mapping: file that says what the values of the maps mean; ``classes.yaml`` or ``classes.json`` in the root by
            default.
        options: see :class:`~nolabel.data.labelled.LabelledDataset`.

    Raises:
        DataError: a folder is missing, or label maps have no image.
        ConfigError: the space is not known, or nothing leads to it from the mapping's classes.
    """

    def __init__(
        self,
        root: str | Path,
        space: LabelSpace | str | None = None,
        split: str = "",
        *,
        table: str | None = None,
        mapping: str | Path | None = None,
        **options: Any,
    ) -> None:
        file = mapping if mapping is not None or table is not None else find_mapping(Path(root))
        self.mapping = None if file is None else read_mapping(file)
        if space is None:
            space = self.mapping.space if self.mapping is not None else "cityscapes_19"
        space = find_space(space)
        values: str | npt.NDArray[np.uint8] = identity_table(space) if table is None else table
        if self.mapping is not None:
            self.mapping = self.mapping.in_space(space)
            values = self.mapping.table
        layout = LabelledLayout(
            values,
            _folder_records,
            partial(_decode_folder, self.mapping),
            None,
            "centre",
            space,
            _FOLDER_HELP,
        )
        super().__init__(layout, root, split, **options)


class CocoPanoptic(LabelledDataset):
    """A COCO panoptic set; its label space is made from the JSON's categories, in their order.

    Args:
        annotations: the JSON.
        images: folder of the pictures.
        pngs: folder of the segment PNGs; by default the one beside the JSON with its name.
        options: see :class:`~nolabel.data.labelled.LabelledDataset`.

    Raises:
        DataError: a file is missing or the JSON is no panoptic one.
    """

    def __init__(
        self, annotations: str | Path, images: str | Path, pngs: str | Path | None = None, **options: Any
    ) -> None:
        path, images = Path(annotations), Path(images)
        folder = path.with_suffix("") if pngs is None else Path(pngs)
        content = read_json(path)
        try:
            space = _coco_space(path.stem, content["categories"])
            records = _coco_records(content, images, folder)
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} is no COCO panoptic file: it lacks {error}", hint=_COCO_HELP) from None
        missing = [file.name for r in records for file in (r.image, r.label) if not file.is_file()]
        if missing:
            raise DataError(f"{path}: {len(missing)} files are missing: {examples(missing)}", hint=_COCO_HELP)
        identity = np.arange(256).astype(np.uint8)
        layout = LabelledLayout(
            identity, partial(_given, records), decode_segments, None, "centre", space, _COCO_HELP
        )
        super().__init__(layout, path.parent, path.stem, **options)


def find_coco(root: Path) -> tuple[Path, Path] | None:
    """Find a COCO panoptic JSON with its PNG folder beside it, and the folder that holds its pictures."""
    for path in sorted(root.glob("*.json")):
        if not path.with_suffix("").is_dir():
            continue
        content = read_json(path)
        if not (isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)):
            continue
        if not content["images"] or "segments_info" not in (content["annotations"] or [{}])[0]:
            continue
        first = content["images"][0]["file_name"]
        for folder in (root, *sorted(p for p in root.iterdir() if p.is_dir())):
            if (folder / first).is_file():
                return path, folder
    return None


def _folder_records(root: Path, split: str) -> list[LabelledRecord]:
    sides = []
    for side in ("images", "labels"):
        folder = root / side / split
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}", hint=_FOLDER_HELP)
        sides.append(
            {path.relative_to(folder).with_suffix("").as_posix(): path for path in list_images(folder)}
        )
    images, labels = sides
    single = [name for name in labels if name not in images]
    if single:
        raise DataError(
            f"{root}: {len(single)} of {len(labels)} label maps have no image: {examples(single)}",
            hint=_FOLDER_HELP,
        )
    place = root / "instances" / split
    instances = (
        {path.relative_to(place).with_suffix("").as_posix(): path for path in list_images(place)}
        if place.is_dir()
        else {}
    )
    base = root / "labels" / split
    return [
        LabelledRecord(flat_name(label, base), images[name], label, instances.get(name))
        for name, label in labels.items()
    ]


def _decode_folder(mapping: ClassMapping | None, record: LabelledRecord) -> tuple[IdMap, IdMap]:
    classes = read_channels(record.label, 1) if mapping is None else mapping.read(record.label)
    if record.instance is None:
        return classes, np.zeros_like(classes)
    instance = read_channels(record.instance, 1)
    if instance.shape != classes.shape:
        raise DataError(
            f"{record.instance} and {record.label} differ in size", hint="they describe one image"
        )
    return classes, instance


def _coco_space(name: str, categories: list[dict[str, Any]]) -> LabelSpace:
    return LabelSpace(
        name,
        tuple(
            LabelClass(entry["name"], tuple(entry.get("color", (0, 0, 0))), bool(entry["isthing"]))
            for entry in categories
        ),
    )


def _coco_records(content: dict[str, Any], images: Path, pngs: Path) -> list[LabelledRecord]:
    categories = {
        entry["id"]: (label, bool(entry["isthing"])) for label, entry in enumerate(content["categories"])
    }
    file_of = {entry["id"]: entry["file_name"] for entry in content["images"]}
    records = []
    for entry in content["annotations"]:
        image = images / file_of[entry["image_id"]]
        segments = {}
        for info in entry["segments_info"]:
            label, is_thing = categories[info["category_id"]]
            segments[int(info["id"])] = (label, is_thing and not info.get("iscrowd"))
        records.append(LabelledRecord(image.stem, image, pngs / entry["file_name"], None, segments))
    return records


def _given(records: list[LabelledRecord], root: Path, split: str) -> list[LabelledRecord]:
    return records
