"""The files between all stages of unMORE: COCO JSON with run-length encoded masks, and any columns of numbers.

One module reads and writes them, so a file of any stage serves any other, and other tools read them as COCO. The
published VoteCut file, which calls the score ``weight``, is read as well (spec unmore 2.1 and 8).
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_utils
import torch

from nolabel.errors import DataError
from nolabel.structures import Instances
from nolabel.structures.files import atomic_path
from nolabel.structures.rle import RLE

__all__ = [
    "FOREGROUND",
    "LABEL_FILE",
    "LabelledImage",
    "encode_labels",
    "labelled_images",
    "read_label_file",
    "write_label_file",
]

LABEL_FILE = "labels.json"
"""What a stage calls its file in its folder."""

FOREGROUND = {"id": 1, "name": "fg", "supercategory": "fg"}
"""The only category: all objects are alike."""
_OF_COCO = {"id", "image_id", "category_id", "segmentation", "area", "bbox", "score", "height", "width"}


@dataclass(frozen=True)
class LabelledImage:
    """One image and its objects.

    Attributes:
        file_name: of the picture, relative to the pictures' folder, with ``/``.
        size: (height, width), pixels.
        id: unique in a file.
        instances: the objects; none is fine.
        extra: further columns by name, one number (or bool) for each object, in their order: ``crf_success``,
            ``cluster_size``, ``existence_score``, ...

    Raises:
        DataError: masks of another size, or a column of another length.
    """

    file_name: str
    size: tuple[int, int]
    id: int | str
    instances: Instances
    extra: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.instances.size != tuple(self.size):
            raise DataError(
                f"{self.file_name}: the image is {_by(self.size)} and its masks are {_by(self.instances.size)}"
            )
        wrong = [name for name, column in self.extra.items() if len(column) != len(self.instances)]
        if wrong:
            raise DataError(
                f"{self.file_name}: {len(self.instances)} objects, but {len(self.extra[wrong[0]])} values of {wrong[0]!r}"
            )
        own = _OF_COCO & self.extra.keys()
        if own:
            raise DataError(
                f"{self.file_name}: COCO itself has a field {min(own)!r}; call the column otherwise"
            )

    def chosen(self, keep: Any) -> LabelledImage:
        """Return the image with some of its objects, and their values of every column.

        Args:
            keep: positions, or one bool for each object.
        """
        chosen = torch.as_tensor(keep)
        indices = chosen.nonzero()[:, 0] if chosen.dtype == torch.bool else chosen.long()
        extra = {name: [column[i] for i in indices.tolist()] for name, column in self.extra.items()}
        return LabelledImage(self.file_name, self.size, self.id, self.instances[indices], extra)


def write_label_file(path: str | Path, images: Iterable[LabelledImage]) -> Path:
    """Write images and objects as one COCO file, image by image: memory does not grow with their number of masks.

    Annotations are numbered from 1 in the order given; ``bbox`` is [x, y, width, height]. The file is whole or absent.

    Raises:
        DataError: two images have one id, or a value is not finite.
    """
    path = Path(path)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(_pieces(images))
    return path


def encode_labels(images: Iterable[LabelledImage]) -> bytes:
    """The bytes that :func:`write_label_file` writes."""
    return "".join(_pieces(images)).encode()


def read_label_file(path: str | Path) -> list[LabelledImage]:
    """Read a COCO file of objects, of this package or of any other; categories are not distinguished.

    Masks may be compressed or plain RLE or polygons. ``weight`` counts as the score where there is none, and a score
    is 1 where there is neither. Numbers that COCO does not know, and that all objects of an image have, become columns
    of ``extra`` (``iscrowd`` where it is not 0).

    Args:
        path: the file, or the folder of a stage with its ``labels.json``.

    Returns:
        All images in the file's order, those without objects too.

    Raises:
        DataError: the file is missing, is no COCO file of objects, or contradicts itself.
    """
    path = Path(path)
    path = path / LABEL_FILE if path.is_dir() else path
    return labelled_images(_read(path), path)


def labelled_images(content: Any, path: str | Path) -> list[LabelledImage]:
    """Turn what a COCO file holds into images and objects, as :func:`read_label_file` does.

    Args:
        content: the decoded JSON.
        path: where it is from, for messages.
    """
    _check(content, path)
    images = {record["id"]: record for record in content["images"]}
    if len(images) != len(content["images"]):
        raise DataError(f"{path}: several images have one id")
    rows: dict[int | str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in content["annotations"]:
        if row.get("image_id") not in images:
            raise DataError(
                f"{path}: an annotation names the image {row.get('image_id')!r}, which is not listed"
            )
        rows[row["image_id"]].append(row)
    return [_labelled(path, record, rows[key]) for key, record in images.items()]


def _pieces(images: Iterable[LabelledImage]) -> Iterator[str]:
    """The text of a label file, piece by piece; annotations first, because images are not known before the end."""
    records: list[str] = []
    ids: set[int | str] = set()
    number = 0
    yield '{"annotations": ['
    for image in images:
        if image.id in ids:
            raise DataError(f"two images have the id {image.id!r}, one of them is {image.file_name}")
        ids.add(image.id)
        height, width = image.size
        records.append(
            _json({"id": image.id, "file_name": image.file_name, "height": height, "width": width}, image)
        )
        for annotation in _annotations(image):
            number += 1
            yield (",\n" if number > 1 else "\n") + _json({"id": number, **annotation}, image)
    yield '\n],\n"images": [\n' + ",\n".join(records) + "\n],\n"
    yield f'"categories": [{json.dumps(FOREGROUND)}]}}\n'


def _annotations(image: LabelledImage) -> Iterable[dict[str, Any]]:
    objects = image.instances
    boxes, areas = objects.boxes.tolist(), objects.areas.tolist()
    for index, mask in enumerate(objects.masks):
        x, y, right, bottom = boxes[index]
        yield {
            "image_id": image.id,
            "category_id": FOREGROUND["id"],
            "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
            "area": areas[index],
            "bbox": [_short(v) for v in (x, y, right - x, bottom - y)],
            "iscrowd": 0,
            "score": _short(float(objects.scores[index])),
            **{name: column[index] for name, column in image.extra.items()},
        }


def _short(value: float) -> float:
    """The shortest decimal that is the same float32."""
    return float(str(np.float32(value)))


def _json(value: dict[str, Any], image: LabelledImage) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise DataError(f"{image.file_name}: a value of an object is not finite") from None


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no file {path}", hint="check the path") from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the labels {path}: {error}") from None


def _check(content: Any, path: str | Path) -> None:
    parts = ("images", "annotations")
    if not isinstance(content, dict) or any(not isinstance(content.get(part), list) for part in parts):
        raise DataError(
            f"{path} is not a COCO file: it needs the lists images and annotations",
            hint="a bare list of results needs the images of its data set beside it",
        )
    needed = ("id", "file_name", "height", "width")
    lacking = [key for record in content["images"] for key in needed if key not in record]
    if lacking:
        raise DataError(f"{path}: an image has no {lacking[0]!r}")


def _labelled(path: str | Path, record: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> LabelledImage:
    size = (int(record["height"]), int(record["width"]))
    where = f"{path}, image {record['file_name']}"
    masks = [_mask(row.get("segmentation"), size, where) for row in rows]
    boxes = None
    if rows and all("bbox" in row for row in rows):
        if any(len(row["bbox"]) != 4 for row in rows):
            raise DataError(f"{where}: a bbox is not [x, y, width, height]")
        boxes = torch.tensor([row["bbox"] for row in rows], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
    named = ["score" if "score" in row else "weight" for row in rows]
    scores = [float(row.get(name, 1.0)) for name, row in zip(named, rows, strict=True)]
    if not all(math.isfinite(score) for score in scores):
        raise DataError(f"{where}: a score is not finite")
    instances = Instances(masks, boxes, torch.tensor(scores), size=size)
    return LabelledImage(record["file_name"], size, record["id"], instances, _columns(rows, named))


def _columns(rows: list[Mapping[str, Any]], named: list[str]) -> dict[str, list[float]]:
    if not rows:
        return {}
    names = [
        name
        for name, value in rows[0].items()
        if name not in _OF_COCO and all(isinstance(row.get(name), int | float) for row in rows)
    ]
    columns = {name: [row[name] for row in rows] for name in names}
    if "weight" in columns and "weight" in named:
        del columns["weight"]  # it is the score
    if not any(columns.get("iscrowd", ())):
        columns.pop("iscrowd", None)
    return columns


def _mask(segmentation: Any, size: tuple[int, int], where: str) -> RLE:
    """Bring COCO's three forms of a mask to compressed RLE."""
    height, width = size
    try:
        if isinstance(segmentation, list):  # polygons, whose union counts
            coded = mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            coded = mask_utils.frPyObjects(segmentation, height, width)
        else:
            counts = segmentation["counts"]
            coded = {**segmentation, "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
        found = (int(coded["size"][0]), int(coded["size"][1]))
    except Exception as error:  # pycocotools raises bare Exceptions
        raise DataError(
            f"{where}: an object has no mask that can be read ({type(error).__name__}: {error})",
            hint="expected RLE or polygons under segmentation",
        ) from None
    if found != size:
        raise DataError(f"{where}: the image is {_by(size)} and a mask is {_by(found)}")
    return {"size": [height, width], "counts": coded["counts"]}


def _by(size: tuple[int, int] | None) -> str:
    return "of unknown size" if size is None else f"{size[0]} x {size[1]}"
