"""The tools that made COCO*: boxes drawn by hand get masks, and join COCO's own labels (spec unmore 13).

They make labels for evaluation. The original draws the masks with SAM, which was trained on human masks; here they may
come from anywhere: a network, or a file of masks that another tool made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
from torch import Tensor

from nolabel.data.files import examples, read_image, read_json
from nolabel.errors import DataError
from nolabel.methods.unmore.image_roots import ImageRoots
from nolabel.methods.unmore.label_files import FOREGROUND

__all__ = [
    "BoxMasks",
    "category_statistics",
    "masks_for_boxes",
    "masks_of_file",
    "merge_labels",
    "without_classes",
]

Json = Mapping[str, Any]
BoxMasks = Callable[[Json, Sequence[Json]], Sequence[Any]]
"""Gives the masks (RLE, or (H, W) booleans) of the drawn boxes of an image: (COCO image record, annotations) -> masks."""


def masks_for_boxes(drawn: Json, source: BoxMasks) -> dict[str, Any]:
    """Give every drawn box a mask.

    Args:
        drawn: COCO content whose annotations have a ``bbox``.
        source: where masks come from; :func:`masks_of_file`, or a network with a box as its prompt.

    Returns:
        The same content; every annotation has ``segmentation`` (RLE), the tight ``bbox`` of its mask, the drawn one as
        ``original_bbox``, ``area`` and ``iscrowd``, and a number from 1.

    Raises:
        DataError: a mask is missing or empty.
    """
    rows: dict[Any, list[Json]] = {image["id"]: [] for image in drawn["images"]}
    for row in drawn["annotations"]:
        rows[row["image_id"]].append(row)
    annotations: list[dict[str, Any]] = []
    for image in drawn["images"]:
        boxes = rows[image["id"]]
        masks = source(image, boxes) if boxes else []
        if len(masks) != len(boxes):
            raise DataError(f"{image['file_name']}: {len(boxes)} boxes, but {len(masks)} masks")
        for row, mask in zip(boxes, masks, strict=True):
            coded = _encoded(mask)
            if float(mask_utils.area(coded)) == 0:
                raise DataError(f"{image['file_name']}: the mask of annotation {row.get('id')} is empty")
            text = {"size": list(coded["size"]), "counts": _text(coded["counts"])}
            added = {"segmentation": text, "original_bbox": list(row["bbox"]), **_measured(coded)}
            annotations.append({**row, **added, "id": len(annotations) + 1})
    return {**drawn, "annotations": annotations}


def masks_of_file(masks: Path) -> BoxMasks:
    """Return masks that another tool wrote.

    Args:
        masks: a COCO file or result list whose annotations have the ids of the drawn ones and a ``segmentation``; or a
            folder of pictures ``<annotation id>.png``, not black where the object is.

    Raises:
        DataError: when called, of boxes without a mask.
    """
    if masks.is_dir():
        roots = ImageRoots([masks])

        def drawn(image: Json, rows: Sequence[Json]) -> list[Any]:
            paths = {row["id"]: roots.find(f"{row['id']}.png") for row in rows}
            _refuse_missing([key for key, path in paths.items() if path is None], masks)
            return [read_image(path).as_subclass(Tensor).amax(dim=0) > 0 for path in paths.values() if path]

        return drawn
    content = read_json(masks)
    entries = content["annotations"] if isinstance(content, Mapping) else content
    known = {row["id"]: row["segmentation"] for row in entries}

    def listed(image: Json, rows: Sequence[Json]) -> list[Any]:
        _refuse_missing([row["id"] for row in rows if row["id"] not in known], masks)
        size = image["height"], image["width"]
        return [_rle(known[row["id"]], size) for row in rows]

    return listed


def merge_labels(original: Json, extra: Json) -> dict[str, Any]:
    """Join COCO's labels and additional ones of the same images.

    Categories of the extra labels keep COCO's number where COCO has the name, and get new numbers otherwise. COCO's
    annotations come first; all are numbered from 1 (the original numbers from 0, and pycocotools never finds the object
    0). Extra annotations get the ``area`` and ``iscrowd`` that the original leaves out.

    Raises:
        DataError: the extra labels name images or categories that are not there.
    """
    categories = [dict(category) for category in original["categories"]]
    numbers = {category["name"]: category["id"] for category in categories}
    renumbered = {}
    for category in extra["categories"]:
        if category["name"] not in numbers:
            numbers[category["name"]] = max((c["id"] for c in categories), default=0) + 1
            categories.append({**category, "id": numbers[category["name"]]})
        renumbered[category["id"]] = numbers[category["name"]]
    sizes = {image["id"]: (image["height"], image["width"]) for image in original["images"]}
    strangers = {row["image_id"] for row in extra["annotations"]} - sizes.keys()
    unnamed = {row["category_id"] for row in extra["annotations"]} - renumbered.keys()
    if strangers or unnamed:
        what = "images" if strangers else "categories"
        raise DataError(
            f"the extra labels name {what} that are not listed: {examples(sorted(strangers or unnamed, key=str))}"
        )
    annotations = [dict(row) for row in original["annotations"]]
    for row in extra["annotations"]:
        coded = _rle(row["segmentation"], sizes[row["image_id"]])
        measured = {"iscrowd": 0, "area": _measured(coded)["area"]}
        annotations.append({**measured, **row, "category_id": renumbered[row["category_id"]]})
    for number, row in enumerate(annotations, start=1):
        row["id"] = number
    return {**original, "categories": categories, "annotations": annotations}


def without_classes(content: Json) -> dict[str, Any]:
    """Return the labels with one category, the object."""
    rows = [{**row, "category_id": FOREGROUND["id"]} for row in content["annotations"]]
    return {**content, "categories": [dict(FOREGROUND)], "annotations": rows}


def category_statistics(content: Json) -> list[dict[str, Any]]:
    """Return ``id``, ``name`` and ``count`` of every category, the most frequent first."""
    counts = Counter(row["category_id"] for row in content["annotations"])
    rows = [{"id": c["id"], "name": c["name"], "count": counts[c["id"]]} for c in content["categories"]]
    return sorted(rows, key=lambda row: -row["count"])


def _refuse_missing(missing: Sequence[Any], masks: Path) -> None:
    if missing:
        raise DataError(
            f"{masks} lacks the masks of {len(missing)} annotations: {examples(missing)}",
            hint="masks are found by the id of the annotation",
        )


def _rle(segmentation: Any, size: tuple[int, int]) -> Any:
    if isinstance(segmentation, Mapping) and not isinstance(segmentation["counts"], list):
        return segmentation
    coded = mask_utils.frPyObjects(segmentation, *size)
    return mask_utils.merge(coded) if isinstance(segmentation, list) else coded


def _encoded(mask: Any) -> Any:
    if isinstance(mask, Mapping):
        return mask
    return mask_utils.encode(np.asfortranarray(np.asarray(mask, dtype=np.uint8)))


def _measured(coded: Any) -> dict[str, Any]:
    box = [float(value) for value in mask_utils.toBbox(coded)]
    return {"bbox": box, "area": float(mask_utils.area(coded)), "iscrowd": 0}


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts
