"""Writing and reading COCO files: panoptic (JSON + PNG) and detection (JSON).

COCO's category ids start at 1, so ``category_id = label + 1``; ``categories`` names them. A panoptic PNG holds
segment ids as colours, id = R + 256 G + 65536 B, 0 = void. Boxes are [x, y, width, height].
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nolabel.errors import DataError
from nolabel.labels import LabelSpace
from nolabel.structures.files import write_json, write_png
from nolabel.structures.instances import Instances
from nolabel.structures.panoptic import PanopticMap, Segment
from nolabel.structures.pictures import Picture

__all__ = [
    "categories",
    "coco_detection_json",
    "coco_panoptic_json",
    "image_name",
    "load_coco_detection",
    "load_coco_panoptic",
    "object_annotations",
    "save_coco_detection",
    "save_coco_panoptic",
    "segment_colours",
    "segment_info",
    "segment_png",
]


def categories(space: LabelSpace) -> list[dict[str, Any]]:
    """COCO's list of categories of a space."""
    return [
        {"id": i + 1, "name": c.name, "isthing": int(c.is_thing), "color": list(c.colour)}
        for i, c in enumerate(space.classes)
    ]


def segment_png(panoptic: PanopticMap) -> Picture:
    """The segment ids as colours, (H, W, 3) uint8."""
    return segment_colours(panoptic.segments()[0])


def segment_colours(ids: torch.Tensor) -> Picture:
    """Segment ids (H, W) as COCO's colours, (H, W, 3) uint8: id = R + 256 G + 65536 B."""
    return torch.stack([ids % 256, ids // 256 % 256, ids // 65536], dim=-1).to(torch.uint8).numpy()


def coco_panoptic_json(
    results: Iterable[tuple[str, PanopticMap]], space: LabelSpace, file_name: str | None = None
) -> dict[str, Any]:
    """The content of a COCO panoptic file.

    Args:
        results: (image name, result); names are unique.
        space: the space of all results.
        file_name: pattern of the PNG names, ``{}`` stands for the image name; ``{}.png`` by default.

    Raises:
        DataError: a name occurs twice or a result has another space.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, (name, result) in enumerate(_unique(results, space)):
        _, segments = result.segments()
        png = (file_name or "{}.png").replace("{}", name)
        images.append(_image(index, name, result.size))
        annotations.append(
            {"image_id": index + 1, "file_name": png, "segments_info": [segment_info(s) for s in segments]}
        )
    return {"images": images, "annotations": annotations, "categories": categories(space)}


def segment_info(segment: Segment) -> dict[str, Any]:
    """COCO's entry of one segment."""
    info: dict[str, Any] = {
        "id": segment.id,
        "category_id": segment.label + 1,
        "area": segment.area,
        "bbox": _xywh(segment.box),
        "iscrowd": int(segment.is_crowd),
    }
    return info if segment.score is None else info | {"score": round(segment.score, 6)}


def object_annotations(result: Instances, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """COCO's annotations of the objects of one image, numbered from ``first_id``; masks are compressed RLE."""
    rows = zip(
        result.masks,
        result.boxes.tolist(),
        result.scores.tolist(),
        result.classes.tolist(),
        result.areas.tolist(),
        strict=True,
    )
    return [
        {
            "id": first_id + index,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [round(value, 3) for value in _xywh(box)],
            "area": area,
            "iscrowd": 0,
            "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
            "score": round(score, 6),
        }
        for index, (mask, box, score, label, area) in enumerate(rows)
    ]


def coco_detection_json(results: Iterable[tuple[str, Instances]], space: LabelSpace) -> dict[str, Any]:
    """The content of a COCO detection file; masks are compressed RLE, ``score`` stands in every annotation.

    The list ``annotations`` alone is what ``pycocotools.COCO.loadRes`` reads as results.

    Raises:
        DataError: a name occurs twice or a result has another space.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, (name, result) in enumerate(_unique(results, space)):
        images.append(_image(index, name, result.size))
        annotations += object_annotations(result, index + 1, first_id=len(annotations) + 1)
    return {"images": images, "annotations": annotations, "categories": categories(space)}


def save_coco_panoptic(
    results: Iterable[tuple[str, PanopticMap]], space: LabelSpace, folder: str | Path
) -> list[Path]:
    """Write ``panoptic.json`` and one PNG per image under ``panoptic/``, the layout of COCO's own files."""
    folder, results = Path(folder), list(results)
    content = coco_panoptic_json(results, space)
    pngs = [write_png(folder / "panoptic" / f"{name}.png", segment_png(result)) for name, result in results]
    return [write_json(folder / "panoptic.json", content), *pngs]


def save_coco_detection(
    results: Iterable[tuple[str, Instances]], space: LabelSpace, folder: str | Path
) -> list[Path]:
    """Write ``detection.json``."""
    return [write_json(Path(folder) / "detection.json", coco_detection_json(results, space))]


def load_coco_panoptic(
    path: str | Path, space: LabelSpace, pngs: str | Path | None = None
) -> Iterable[tuple[str, PanopticMap]]:
    """Read a COCO panoptic file, one result at a time; categories are matched by name.

    Args:
        path: the JSON.
        space: the space of the results; categories that it has not become void.
        pngs: the folder of the PNGs; by default the folder beside the JSON with its name (COCO's layout), else
            the folder of the JSON.

    Raises:
        DataError: a file is missing or broken.
    """
    path = Path(path)
    content = _read_json(path)
    labels = _labels(content, space)
    beside = path.with_suffix("")
    folder = Path(pngs) if pngs is not None else (beside if beside.is_dir() else path.parent)
    names = {image["id"]: image_name(image["file_name"]) for image in content["images"]}
    for annotation in content["annotations"]:
        png = folder / annotation["file_name"]
        try:
            with Image.open(png) as image:
                rgb = np.asarray(image.convert("RGB")).astype(np.int64)
        except OSError as error:
            raise DataError(f"cannot read the panoptic PNG {png}", hint=f"it is named in {path}") from error
        segments = [
            Segment(
                id=info["id"],
                label=labels[info["category_id"]],
                # Any numbering will do, as long as it is unique over the image; groups and stuff have none.
                instance=number
                if space.classes[labels[info["category_id"]]].is_thing and not info["iscrowd"]
                else 0,
                area=info["area"],
                box=_xyxy(info["bbox"]),
                is_thing=space.classes[labels[info["category_id"]]].is_thing,
                score=info.get("score"),
            )
            for number, info in enumerate(annotation["segments_info"], start=1)
            if info["category_id"] in labels
        ]
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        yield names[annotation["image_id"]], PanopticMap.from_segments(ids, segments, space)


def load_coco_detection(path: str | Path, space: LabelSpace) -> list[tuple[str, Instances]]:
    """Read a COCO detection file whose masks are RLE; categories are matched by name, others left out.

    Raises:
        DataError: the file is missing or broken, or holds polygons.
    """
    content = _read_json(Path(path))
    labels = _labels(content, space)
    found: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        if not isinstance(annotation["segmentation"], Mapping):
            raise DataError(f"{path}: annotation {annotation['id']} is a polygon; expected RLE masks")
        if annotation["category_id"] in labels:
            found[annotation["image_id"]].append(annotation)
    results = []
    for image in content["images"]:
        size, rows = (image["height"], image["width"]), found[image["id"]]
        masks = [
            {"size": list(size), "counts": row["segmentation"]["counts"].encode("ascii")} for row in rows
        ]
        boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        scores = [row.get("score", 1.0) for row in rows]
        classes = [labels[row["category_id"]] for row in rows]
        results.append(
            (image_name(image["file_name"]), Instances(masks, boxes, scores, classes, size, space))
        )
    return results


def image_name(file_name: str) -> str:
    """The name of a picture: its path without suffix, folders joined by ``_``, so that it can name files."""
    return "_".join(Path(file_name).with_suffix("").parts)


def _unique(results: Iterable[tuple[str, Any]], space: LabelSpace) -> Iterable[tuple[str, Any]]:
    seen: set[str] = set()
    for name, result in results:
        if name in seen:
            raise DataError(
                f"two results are called {name!r}", hint="names become file names: make them unique"
            )
        if result.space != space:
            raise DataError(f"{name}: expected label space {space.name!r}, got {result.space.name!r}")
        seen.add(name)
        yield name, result


def _image(index: int, name: str, size: tuple[int, int]) -> dict[str, Any]:
    return {"id": index + 1, "file_name": f"{name}.png", "height": size[0], "width": size[1]}


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def _xyxy(box: Sequence[float]) -> tuple[int, int, int, int]:
    x, y, width, height = (int(value) for value in box)
    return x, y, x + width, y + height


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the COCO file {path}: {error}") from error
    missing = {"images", "annotations", "categories"} - set(content if isinstance(content, dict) else ())
    if missing:
        raise DataError(f"{path} is not a COCO file: it lacks {', '.join(sorted(missing))}")
    return content


def _labels(content: Mapping[str, Any], space: LabelSpace) -> dict[int, int]:
    """COCO category id -> label, by name."""
    return {
        category["id"]: space.index(category["name"])
        for category in content["categories"]
        if category["name"] in space.names
    }
