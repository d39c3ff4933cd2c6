"""The data sets of domain adaptation: synthetic sources and real targets with semantic labels only.

Source: spec semseg_metrics_and_datasets, 3.2 to 3.9.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from nolabel.data.files import examples, image_size, natural_key
from nolabel.data.label_files import decode_classes, find_files, pair_files, read_channels
from nolabel.data.labelled import (
    IdMap,
    LabelledDataset,
    LabelledLayout,
    LabelledRecord,
    find_space,
    identity_table,
)
from nolabel.data.resizing import resize_labels
from nolabel.errors import DataError
from nolabel.labels import LabelSpace

__all__ = ["MAPILLARY_SPLITS", "SEMANTIC_LAYOUTS", "ListedLabelled", "read_list"]

MAPILLARY_SPLITS = {"train": "training", "val": "validation", "test": "testing"}

_GTA5 = "get the image and label archives from https://download.visinf.tu-darmstadt.de/data/from_games: images/, labels/"
_SYNTHIA = "get SYNTHIA-RAND-CITYSCAPES from https://synthia-dataset.net: RGB/, GT/LABELS/"
_SYNSCAPES = "get Synscapes from https://synscapes.on.liu.se (registration): img/rgb, img/class"
_BDD = (
    "get '10K images' and 'segmentation' from https://bdd-data.berkeley.edu (registration): images/10k/<split> and "
    "labels/sem_seg/masks/<split>, or seg/images/<split> and seg/labels/<split>"
)
_MAPILLARY = (
    "get Mapillary Vistas from https://www.mapillary.com/dataset/vistas (registration): <split>/images and "
    "<split>/labels or <split>/v1.2/labels"
)
_ACDC = (
    "get rgb_anon and gt from https://acdc.vision.ee.ethz.ch (registration) and unpack them into one folder"
)
_DARK_ZURICH = "get Dark Zurich from https://www.trace.ethz.ch/publications/2019/GCMA_UIoU: rgb_anon/, gt/"


def _records(pairs: list[tuple[Path, Path]]) -> list[LabelledRecord]:
    return [LabelledRecord(image.stem, image, label) for image, label in pairs]


def _given(records: list[LabelledRecord], root: Path, split: str) -> list[LabelledRecord]:
    return records


def _gta5_records(root: Path, split: str) -> list[LabelledRecord]:
    images = find_files(root, "images/*.png", _GTA5)
    return _records(pair_files(images, lambda image: root / "labels" / image.name, root, _GTA5))


def _synthia_records(root: Path, split: str) -> list[LabelledRecord]:
    images = find_files(root, "RGB/*.png", _SYNTHIA)
    return _records(pair_files(images, lambda image: root / "GT/LABELS" / image.name, root, _SYNTHIA))


def _synscapes_records(root: Path, split: str) -> list[LabelledRecord]:
    images = find_files(root, "img/rgb/*.png", _SYNSCAPES)
    return _records(pair_files(images, lambda image: root / "img/class" / image.name, root, _SYNSCAPES))


def _bdd_records(root: Path, split: str) -> list[LabelledRecord]:
    if (root / "seg").is_dir():  # the older release
        images, labels, ending = f"seg/images/{split}/*.jpg", root / "seg/labels" / split, "_train_id.png"
    else:
        images, labels, ending = f"images/10k/{split}/*.jpg", root / "labels/sem_seg/masks" / split, ".png"
    found = find_files(root, images, _BDD)
    return _records(pair_files(found, lambda image: labels / f"{image.stem}{ending}", root, _BDD))


def _mapillary_records(root: Path, split: str) -> list[LabelledRecord]:
    split = MAPILLARY_SPLITS.get(split, split)
    images = find_files(root, f"{split}/images/*.jpg", _MAPILLARY)
    labels = root / split / "v1.2/labels"
    if not labels.is_dir():
        labels = root / split / "labels"
    return _records(pair_files(images, lambda image: labels / f"{image.stem}.png", root, _MAPILLARY))


def _anonymous_records(root: Path, split: str, source: str) -> list[LabelledRecord]:
    """ACDC and Dark Zurich: labels decide; the condition's folder may lie above or below the split's."""
    ending = "_gt_labelTrainIds.png"
    labels = sorted((root / "gt").glob(f"**/*{ending}"), key=natural_key)
    labels = [label for label in labels if split in label.relative_to(root).parts]
    if not labels:
        raise DataError(f"{root} holds no gt/**/{split}/**/*{ending}", hint=source)

    def image_of(label: Path) -> Path:
        inside = label.relative_to(root / "gt")
        return root / "rgb_anon" / inside.with_name(inside.name.removesuffix(ending) + "_rgb_anon.png")

    return [LabelledRecord(i.stem, i, label) for label, i in pair_files(labels, image_of, root, source)]


def _acdc_records(root: Path, split: str) -> list[LabelledRecord]:
    return _anonymous_records(root, split, _ACDC)


def _dark_zurich_records(root: Path, split: str) -> list[LabelledRecord]:
    return _anonymous_records(root, split, _DARK_ZURICH)


def _decode_gta5(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    """Palette indices; the labels of two images (15188, 17705) have another size and are brought to the image's."""
    values = read_channels(record.label, 1)
    size = image_size(record.image)
    if values.shape != size:
        values = resize_labels(torch.from_numpy(values), size).numpy()
    return values, np.zeros_like(values)


def _decode_synthia(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    """16-bit colour: the class is in the red channel, an instance id in the green one."""
    values = read_channels(record.label, 3)
    return values[..., 0], values[..., 1]


_CS19 = "cityscapes_19"

SEMANTIC_LAYOUTS: dict[str, LabelledLayout] = {
    "gta5": LabelledLayout("gta5", _gta5_records, _decode_gta5, None, "centre", _CS19, _GTA5),
    "synthia": LabelledLayout("synthia", _synthia_records, _decode_synthia, None, "centre", _CS19, _SYNTHIA),
    "synscapes": LabelledLayout(
        "synscapes", _synscapes_records, decode_classes, None, "centre", _CS19, _SYNSCAPES
    ),
    "bdd_semantic": LabelledLayout(
        "cityscapes_train_ids", _bdd_records, decode_classes, None, "centre", _CS19, _BDD
    ),
    "mapillary": LabelledLayout(
        "mapillary", _mapillary_records, decode_classes, None, "centre", _CS19, _MAPILLARY
    ),
    "acdc": LabelledLayout(
        "cityscapes_train_ids", _acdc_records, decode_classes, None, "centre", _CS19, _ACDC
    ),
    "dark_zurich": LabelledLayout(
        "cityscapes_train_ids", _dark_zurich_records, decode_classes, None, "centre", _CS19, _DARK_ZURICH
    ),
}


def read_list(path: str | Path) -> list[Path]:
    """Read a text file with one path a line, as Co-Training's lists are.

    A line may hold more than the path, after a space, unless there is a file of the whole line's name; relative paths
    start at the list's folder.

    Raises:
        DataError: the list is missing or empty, or files are.
    """
    path = Path(path)
    try:
        lines = [line.rstrip() for line in path.read_text().splitlines()]
    except OSError as error:
        raise DataError(f"cannot read the list {path}: {error.strerror}") from error
    found = []
    for line in filter(None, lines):
        whole = path.parent / line
        found.append(whole if whole.is_file() else path.parent / line.split(" ")[0])
    missing = [file for file in found if not file.is_file()]
    if missing or not found:
        what = (
            f"{len(missing)} of {len(found)} files are missing: {examples(missing)}"
            if found
            else "it is empty"
        )
        raise DataError(f"{path}: {what}", hint="paths are absolute, or relative to the list's folder")
    return found


class ListedLabelled(LabelledDataset):
    """Images and label maps of two lists, paired line by line.

    Args:
        images: text file of image paths.
        labels: text file of as many label maps: one channel of class ids.
        space: what the labels mean; ids beyond its classes (19 or 255 for void) are void.
        options: see :class:`~nolabel.data.labelled.LabelledDataset`.

    Raises:
        DataError: a file is missing, or the lists differ in length.
    """

    def __init__(
        self, images: str | Path, labels: str | Path, space: LabelSpace | str = _CS19, **options: object
    ) -> None:
        pictures, maps = read_list(images), read_list(labels)
        if len(pictures) != len(maps):
            raise DataError(f"{images} has {len(pictures)} lines, {labels} has {len(maps)}")
        space = find_space(space)
        table = identity_table(space)
        records = _records(list(zip(pictures, maps, strict=True)))
        source = "give two lists with one path a line"
        layout = LabelledLayout(
            table, partial(_given, records), decode_classes, None, "centre", space, source
        )
        super().__init__(layout, Path(images).parent, "", **options)  # type: ignore[arg-type]
