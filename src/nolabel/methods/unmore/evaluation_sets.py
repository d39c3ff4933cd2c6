"""The data sets that class-agnostic detectors are scored on, in their official layouts (spec unmore 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nolabel.data.files import examples
from nolabel.errors import DataError

__all__ = ["EVALUATION_SETS", "EvaluationSet", "LocatedSet", "locate_set"]

AGNOSTIC = "annotations/*cls_agnostic*.json"


@dataclass(frozen=True)
class EvaluationSet:
    """One data set.

    Attributes:
        name: how it is called here; the original's ``cls_agnostic_...`` names are accepted too.
        title: how papers call it.
        folders: where it lies in a folder of data sets, the first that exists counts.
        files: label files relative to it, the first that exists counts; those with classes are scored without them.
        images: folders of the pictures relative to it. File names with folders (LVIS, VOC) are kept.
        masks: whether there are true masks; else boxes alone are scored.
        other_names: the original's.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    files: tuple[str, ...]
    images: tuple[str, ...]
    masks: bool = False
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LocatedSet:
    """A data set that was found.

    Attributes:
        name: of the set, or of the file for a label file of one's own.
        annotations: its label file.
        images: folders of its pictures.
        masks: whether masks are scored unless told otherwise.
    """

    name: str
    annotations: Path
    images: tuple[Path, ...]
    masks: bool


_SETS = (
    EvaluationSet(
        "coco_val2017",
        "COCO val2017",
        ("coco", "COCO"),
        ("annotations/coco_cls_agnostic_instances_val2017.json", "annotations/instances_val2017.json"),
        ("val2017", "images/val2017"),
        True,
        ("cls_agnostic_coco", "cls_agnostic_coco_val_17"),
    ),
    EvaluationSet(
        "coco_star",
        "COCO* val2017",
        ("coco", "COCO"),
        ("annotations/COCO_star_val2017_cls_agnostic.json", "annotations/COCO_star_val2017.json"),
        ("val2017", "images/val2017"),
        True,
        ("cls_agnostic_coco*_val_17",),
    ),
    EvaluationSet(
        "coco20k",
        "COCO20K",
        ("coco", "COCO"),
        ("annotations/coco20k_trainval_gt.json",),
        ("train2014", "images/train2014"),
        True,
        ("cls_agnostic_coco20k",),
    ),
    EvaluationSet(
        "lvis",
        "LVIS val",
        ("coco", "COCO", "lvis"),
        (
            "annotations/lvis1.0_cocofied_val_cls_agnostic.json",
            "annotations/lvis_v1_val.json",
            "../lvis/lvis_v1_val.json",
        ),
        (".", "val2017", "train2017"),
        True,
        ("cls_agnostic_lvis",),
    ),
    EvaluationSet(
        "kitti",
        "KITTI",
        ("kitti", "KITTI"),
        ("annotations/trainval_cls_agnostic.json",),
        ("JPEGImages",),
        False,
        ("cls_agnostic_kitti",),
    ),
    EvaluationSet(
        "voc",
        "VOC2007 trainval and test",
        ("voc", "VOC", "VOCdevkit"),
        (
            "annotations/trainvaltest_2007_cls_agnostic.json",
            "annotations/trainvaltest_voc_2007_cls_agnostic.json",
        ),
        ("VOC2007/JPEGImages", "JPEGImages", "."),
        False,
        ("cls_agnostic_voc",),
    ),
    EvaluationSet(
        "objects365",
        "Objects365-V2 val",
        ("objects365", "Objects365"),
        ("annotations/zhiyuan_objv2_val_cls_agnostic.json", "annotations/zhiyuan_objv2_val.json"),
        ("val", "."),
        False,
        ("cls_agnostic_objects365",),
    ),
    EvaluationSet(
        "openimages",
        "OpenImages-V6 val",
        ("openImages", "openimages", "OpenImages"),
        ("annotations/openimages_val_cls_agnostic.json",),
        ("validation", "."),
        False,
        ("cls_agnostic_openimages",),
    ),
    # Of CutLER; their files are found by their common suffix, because no source here names them.
    EvaluationSet(
        "uvo",
        "UVO val",
        ("uvo", "UVO"),
        (AGNOSTIC, "annotations/*.json"),
        (".", "*frames*"),
        True,
        ("cls_agnostic_uvo",),
    ),
    *(
        EvaluationSet(
            name,
            name.capitalize(),
            (name,),
            (AGNOSTIC,),
            ("JPEGImages", "."),
            False,
            (f"cls_agnostic_{name}",),
        )
        for name in ("clipart", "comic", "watercolor")
    ),
)
EVALUATION_SETS: dict[str, EvaluationSet] = {one.name: one for one in _SETS}


def locate_set(
    data: Path, name: str | None = None, images: Sequence[Path] = (), *, pictures: bool = True
) -> LocatedSet:
    """Find a data set.

    Args:
        data: a COCO label file of one's own; or the folder of a data set, or a folder of data sets.
        name: which one, of :data:`EVALUATION_SETS`; by default the only one that is there, and ``annotations.json`` of a
            folder that ``nolabel world --layout coco`` wrote.
        images: folders of the pictures, where they lie elsewhere.
        pictures: whether they are needed.

    Raises:
        DataError: nothing of that name is there, or several are and none was chosen.
    """
    if not data.exists():
        raise DataError(f"there is no file or folder {data}", hint="check the path given as --data")
    if data.is_file():
        found = LocatedSet(data.stem, data, tuple(images) or _beside(data), True)
    elif name is None and (data / "annotations.json").is_file():
        found = LocatedSet(
            data.name, data / "annotations.json", tuple(images) or (data / "images", data), True
        )
    else:
        found = _official(data, name, images)
    folders = tuple(folder for folder in found.images if folder.is_dir())
    if pictures and not folders:
        raise DataError(
            f"the pictures of {found.name} are in none of {', '.join(map(str, found.images))}",
            hint="give their folder with --images",
        )
    return LocatedSet(found.name, found.annotations, folders, found.masks)


def _official(data: Path, name: str | None, images: Sequence[Path]) -> LocatedSet:
    chosen = [one for one in _SETS if name is None or name == one.name or name in one.other_names]
    if not chosen:
        raise DataError(
            f"there is no data set {name!r} for detectors", hint=f"choose of {', '.join(EVALUATION_SETS)}"
        )
    found = {}
    for one in chosen:
        place = _place(data, one)
        if place is not None:
            folder, file = place
            pictures = tuple(images) or tuple(
                path for pattern in one.images for path in _matching(folder, pattern)
            )
            found[one.name] = LocatedSet(one.name, file, pictures or (folder,), one.masks)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise DataError(
            f"{data} holds several data sets: {', '.join(found)}", hint="choose one with --dataset NAME"
        )
    wanted = examples(f"{one.folders[0]}/{one.files[0]}" for one in chosen)
    raise DataError(
        f"{data} holds no labels of {', '.join(one.title for one in chosen)}: looked for {wanted}",
        hint="lay the files there, or give a COCO file as --data and the pictures as --images",
    )


def _place(data: Path, one: EvaluationSet) -> tuple[Path, Path] | None:
    """The folder and the label file of a data set; its own folder may be given as well as the one around it."""
    for folder in [data / name for name in one.folders] + [data]:
        if folder == data and one.files[0] == AGNOSTIC and not data.name.casefold().startswith(one.name):
            continue  # any data set has such a file
        for pattern in one.files:
            files = _matching(folder, pattern)
            if files and files[0].is_file():
                return folder, files[0]
    return None


def _matching(folder: Path, pattern: str) -> list[Path]:
    if "*" in pattern:
        return sorted(folder.glob(pattern))
    path = folder / pattern
    return [path] if path.exists() else []


def _beside(file: Path) -> tuple[Path, ...]:
    """Where the pictures of a label file usually are."""
    return (file.parent / "images", file.parent, file.parent.parent, file.parent.parent / "images")
