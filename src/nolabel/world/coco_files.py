"""Files of the COCO layout: single images and one JSON with the exact masks of all things."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nolabel.labels import CITYSCAPES_19
from nolabel.structures import PanopticMap
from nolabel.structures.coco import categories, object_annotations
from nolabel.structures.files import encode_json, write_json
from nolabel.world.encoding import image_png
from nolabel.world.render import WorldFrame

if TYPE_CHECKING:
    from nolabel.world.settings import WorldSettings

__all__ = ["PARTS", "annotations_of", "coco_files", "join_coco"]

PARTS = ".annotations"
"""Folder of the annotations of each image; clips are written independently of each other, the JSON at the end."""


def coco_files(
    s: WorldSettings, scene: int, index: int, frame: Callable[[], WorldFrame]
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Image i of all, from 1, and what is annotated in it."""
    number = scene * s.frames + index + 1
    yield f"images/{number:06d}.png", lambda: image_png(frame())
    yield f"{PARTS}/{number:06d}.json", lambda: encode_json(annotations_of(number, frame()))


def join_coco(out: Path) -> Path:
    """Write ``annotations.json`` of all images in the folder; the categories are the things of Cityscapes."""
    parts = [json.loads(path.read_bytes()) for path in sorted((out / PARTS).glob("*.json"))]
    rows = [row for part in parts for row in part["annotations"]]
    return write_json(
        out / "annotations.json",
        {
            "images": [part["image"] for part in parts],
            "annotations": [{**row, "id": number} for number, row in enumerate(rows, start=1)],
            "categories": [entry for entry in categories(CITYSCAPES_19) if entry["isthing"]],
        },
    )


def annotations_of(number: int, frame: WorldFrame) -> dict[str, Any]:
    """What COCO's file says of one image: its record, and a row for each thing in it."""
    panoptic = PanopticMap(frame.semantic.cpu(), frame.instance.cpu(), CITYSCAPES_19)
    rows = object_annotations(panoptic.instances(), number)
    for row in rows:
        del row["score"]  # these are no predictions
    height, width = panoptic.size
    return {
        "image": {"id": number, "file_name": f"{number:06d}.png", "height": height, "width": width},
        "annotations": rows,
    }
