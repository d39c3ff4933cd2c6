"""The two files of discovery that the original program writes: boxes by image, and a list of scored objects.

``discovery_results.json`` is ``{image id: [[x1, y1, x2, y2], ...]}``; ``object_discovery_with_scores.json`` is a list of
COCO results with four more numbers each. Neither knows sizes or names of images.

Source: unMORE specification, 6.4 and 7.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.data.files import read_json
from nolabel.errors import DataError
from nolabel.methods.unmore.label_files import LabelledImage, labelled_images
from nolabel.structures.files import atomic_path

__all__ = [
    "BOXES_FILE",
    "SCORED_FILE",
    "read_boxes",
    "read_scored_objects",
    "write_boxes",
    "write_scored_objects",
]

BOXES_FILE, SCORED_FILE = "discovery_results.json", "object_discovery_with_scores.json"


def write_boxes(path: str | Path, boxes: Iterable[tuple[int | str, list[list[float]]]]) -> Path:
    """Write boxes XYXY by image id; images without any are left out, as the original leaves them out."""
    return _stream(path, "{}", (f"{json.dumps(str(key))}: {json.dumps(own)}" for key, own in boxes if own))


def read_boxes(path: str | Path) -> dict[str, Tensor]:
    """Read boxes (N, 4) float32 XYXY by image id (as text).

    Raises:
        DataError: the file is not of this form.
    """
    content = read_json(path)
    try:
        boxes = {
            key: torch.tensor(own, dtype=torch.float32).reshape(len(own), 4) for key, own in content.items()
        }
    except (AttributeError, TypeError, ValueError, RuntimeError):
        raise DataError(f"{path} does not hold boxes by image id: {{id: [[x1, y1, x2, y2], ...]}}") from None
    if not all(bool(own.isfinite().all()) for own in boxes.values()):
        raise DataError(f"{path}: a box is not finite")
    return boxes


def write_scored_objects(path: str | Path, images: Iterable[LabelledImage]) -> Path:
    """Write the objects of images as the original's list."""
    return _stream(path, "[]", (json.dumps(record) for image in images for record in _records(image)))


def read_scored_objects(path: str | Path, images: str | Path) -> list[LabelledImage]:
    """Read the original's list of objects.

    Args:
        path: the list.
        images: a COCO file of the same images, for their names and sizes.

    Raises:
        DataError: a file is not of its form, or an object's image is not listed.
    """
    scored, listed = read_json(path), read_json(images)
    if not (isinstance(scored, list) and all(isinstance(record, dict) for record in scored)):
        raise DataError(f"{path} is no list of objects", hint="a COCO file is taken without a file of images")
    if not (isinstance(listed, dict) and isinstance(listed.get("images"), list)):
        raise DataError(f"{images} does not list images as COCO files do")
    return labelled_images({"images": listed["images"], "annotations": scored}, path)


def _records(image: LabelledImage) -> Iterable[dict[str, Any]]:
    objects = image.instances
    for index, mask in enumerate(objects.masks):
        x, y, right, bottom = objects.boxes[index].tolist()
        yield {
            "image_id": image.id,
            "category_id": 1,
            "score": float(objects.scores[index]),
            "bbox": [x, y, right - x, bottom - y],
            "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
            **{name: column[index] for name, column in image.extra.items()},
        }


def _stream(path: str | Path, brackets: str, entries: Iterable[str]) -> Path:
    """Write JSON entry by entry, so that memory does not grow with their number."""
    path = Path(path)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(brackets[0])
        for number, entry in enumerate(entries):
            file.write((",\n" if number else "\n") + entry)
        file.write(f"\n{brackets[1]}\n")
    return path
