"""Opening labelled images without naming their layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from nolabel.data.files import examples
from nolabel.data.label_layouts import LAYOUTS, open_labelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.opening import CAMVID_SEQUENCES
from nolabel.data.own_labels import CocoPanoptic, FolderLabelled, find_coco
from nolabel.data.semantic_layouts import ListedLabelled
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace

__all__ = ["LABELLED", "find_labelled", "open_labels"]

# What only this layout has, below the root. GTA5 looks like an own folder, and BDD's semantic labels lie beside its
# panoptic ones: these two have to be named.
_SIGNS = {
    "cityscapes": ("gtFine",),
    "kitti_panoptic": ("validation/cityscapes_instance_format",),
    "bdd": ("labels/pan_seg/bitmasks",),
    "muses": ("gt_panoptic",),
    "waymo": ("validation/*/*_semantic.png",),
    "mots": ("train/instances",),
    "kitti_instance": ("data_object_instance_2",),
    "camvid": ("*annot", f"labels/{CAMVID_SEQUENCES}"),
    "bdd_semantic": ("seg/labels",),
    "synthia": ("GT/LABELS",),
    "synscapes": ("img/class",),
    "mapillary": ("training/images",),
    "acdc": ("gt/night",),
    "dark_zurich": ("gt/val/night",),
}
LABELLED = (*LAYOUTS, "folder", "coco")
"""Names of all labelled layouts."""


def find_labelled(root: str | Path) -> str:
    """Tell a labelled folder's layout by the names in it: one of ``LABELLED``.

    Raises:
        DataError: nothing is there, nothing that is known, or several data sets at once.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", hint="check the path of the labelled data set")
    found = [
        name for name, signs in _SIGNS.items() if any(next(root.glob(s), None) is not None for s in signs)
    ]
    if len(found) > 1:
        raise DataError(
            f"{root} holds several data sets: {', '.join(found)}", hint="name one of them (--dataset)"
        )
    if found:
        return found[0]
    if (root / "labels/sem_seg/masks").is_dir():
        return "bdd_semantic"
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return "folder"
    if find_coco(root) is not None:
        return "coco"
    there = sorted(path.name for path in root.iterdir())
    raise DataError(
        f"{root} holds no labelled images in any known layout (it "
        + (f"holds {examples(there, 6)})" if there else "is empty)"),
        hint="`nolabel datasets` lists the layouts; own images: images/ and labels/ with equal names",
    )


def open_labels(
    root: str | Path,
    dataset: str | None = None,
    split: str | None = None,
    *,
    space: LabelSpace | str | None = None,
    labels: str | Path | None = None,
    raw_ids_of: str | None = None,
    mapping: str | Path | None = None,
    crop: tuple[int, int] | Literal["published"] | None = None,
    **options: Any,
) -> LabelledDataset:
    """Open labelled images in whichever layout they have.

    Args:
        root: the folder; or, with ``labels``, a text file of images, one path a line.
        dataset: one of ``LABELLED``; found by looking by default.
        split: as the data set calls it; by default ``val``, and for own folders without ``val`` everything.
        space: the label space or its name; the layout's by default.
        labels: text file of the label maps of a list of images, line by line; 19 or 255 is void.
        raw_ids_of: own folders: data set whose raw ids the maps hold.
        mapping: own folders: file that says what ids or colours mean (:mod:`nolabel.data.class_mapping`); the
            ``classes.yaml`` in the folder by default.
        crop: height and width to cut or pad to, ``"published"`` for the layout's; whole images by default.
        options: see :class:`~nolabel.data.labelled.LabelledDataset`.

    Raises:
        ConfigError: an unknown name, or an option that the layout has no use for.
        DataError: files are missing.
    """
    root = Path(root)
    if labels is not None or root.is_file():
        return _listed(
            root, labels, dataset, {"raw_ids_of": raw_ids_of, "mapping": mapping}, space, crop, options
        )
    name = dataset if dataset is not None else find_labelled(root)
    if name not in LABELLED:
        raise ConfigError(f"no labelled data set is called {name!r}", hint=f"known: {', '.join(LABELLED)}")
    for option, value in (("raw_ids_of", raw_ids_of), ("mapping", mapping)):
        if value is not None and name != "folder":
            raise ConfigError(
                f"{option}={value} is for own folders, not for {name}", hint=f"leave {option} out"
            )
    if name == "folder":
        has_parts = (root / "labels" / "val").is_dir()
        part = split if split is not None else ("val" if has_parts else "")
        return FolderLabelled(root, space, part, table=raw_ids_of, mapping=mapping, crop=crop, **options)
    if name == "coco":
        found = find_coco(root)
        if found is None:
            raise DataError(
                f"{root} holds no COCO panoptic set", hint="a JSON, its PNG folder and the images"
            )
        if space is not None:
            raise ConfigError(
                f"space={space}: a COCO panoptic file brings its own classes", hint="leave space out"
            )
        return CocoPanoptic(*found, crop=crop, **options)
    return open_labelled(name, root, split or "val", space=space, crop=crop, **options)


def _listed(
    images: Path,
    labels: str | Path | None,
    dataset: str | None,
    refused: dict[str, Any],
    space: LabelSpace | str | None,
    crop: Any,
    options: dict[str, Any],
) -> ListedLabelled:
    wrong = next((name for name, value in {"dataset": dataset, **refused}.items() if value is not None), None)
    if wrong is not None:
        raise ConfigError(f"{wrong} says nothing about lists of files", hint=f"leave {wrong} out")
    if labels is None or not images.is_file():
        raise DataError(
            f"{images} is no list of images with one of labels",
            hint="two text files, one path a line in each",
        )
    return ListedLabelled(images, labels, space or "cityscapes_19", crop=crop, **options)
