"""Predictions and pseudo-labels on disk, as a source for validation.

Three kinds of folders: pseudo-labels (``<name>_semantic.png``, ``<name>_instance.png`` and the statistics of their
classes), label maps of ``nolabel cups predict`` (the same files, and ``predictions.json``) or of ``result.save`` (with
``<name>_panoptic.json``), and a COCO panoptic JSON with its PNGs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nolabel.data.files import read_json, read_map
from nolabel.data.label_layouts import decode_segments
from nolabel.data.labelled import LabelledRecord
from nolabel.data.named_files import NameIndex
from nolabel.data.predicted_labels import PREDICTIONS_FILE
from nolabel.errors import DataError
from nolabel.labels import LabelSpace
from nolabel.methods.cups.cluster_sources import ClusterMap
from nolabel.methods.cups.statistics import (
    INSTANCE_SUFFIX,
    SEMANTIC_SUFFIX,
    STATISTICS_FILE,
    ThingStuffSplit,
    label_stems,
    load_statistics,
    read_labels,
    split_things_and_stuff,
)
from nolabel.structures import LabelledSample
from nolabel.structures.coco import image_name

__all__ = [
    "FolderClusters",
    "cluster_ranks",
    "label_clusters",
    "label_split",
    "open_predictions",
    "read_pair",
]

VOID = 255
_PANOPTIC_SUFFIX = "_panoptic.json"
_HELP = (
    "give a folder of <name>_semantic.png and <name>_instance.png (pseudo-labels, or `nolabel cups predict`), or one "
    "with a COCO panoptic JSON and its PNGs"
)
Reader = Callable[[], Tensor]


def cluster_ranks(split: ThingStuffSplit) -> Tensor:
    """Return the (256,) int64 table pseudo-class -> cluster as networks number them: stuff first, then things."""
    return _ranks([*split.stuff, *split.things])


def label_clusters(folder: Path, name: str, split: ThingStuffSplit) -> Tensor:
    """Return the (H, W, 2) pseudo-label of a frame, numbered like a network's clusters."""
    ids = read_pair(folder, name)
    return torch.stack([cluster_ranks(split)[ids[..., 0]], ids[..., 1]], dim=-1)


def label_split(folder: Path, threshold: float | None = None) -> ThingStuffSplit:
    """Return which pseudo-classes of a label folder are things.

    Args:
        folder: with ``pseudo_classes.json`` or official ``.pt`` files.
        threshold: of the share of moving pixels; the one the labels were made with (0.08 for official ones) by default.
    """
    own = folder / STATISTICS_FILE
    if threshold is None:
        threshold = float(read_json(own).get("threshold", 0.08)) if own.is_file() else 0.08
    return split_things_and_stuff(load_statistics(folder), threshold)


class FolderClusters:
    """Predictions read from files, found by the names of the images.

    Args:
        readers: name -> function that reads the (H, W, 2) ids of a prediction, in clusters already.
        num_stuff, num_clusters: of the clusters.
        classes: class of every cluster, where clusters are classes.
        facts: for the results.
    """

    def __init__(
        self,
        readers: Mapping[str, Reader],
        num_stuff: int,
        num_clusters: int,
        classes: Tensor | None,
        facts: dict[str, Any],
    ) -> None:
        self._readers = readers
        self._names = NameIndex(readers)
        self.num_stuff, self.num_clusters, self.classes = num_stuff, num_clusters, classes
        self.facts = facts | {
            "predictions": len(readers),
            "clusters": num_clusters,
            "thing_clusters": num_clusters - num_stuff,
        }

    def predict(self, samples: Sequence[LabelledSample]) -> list[ClusterMap]:
        """Read the predictions of some images; maps of another size are brought to the labels' (nearest)."""
        return [ClusterMap(self._fitted(sample)) for sample in samples]

    def _fitted(self, sample: LabelledSample) -> Tensor:
        name = self._names.find(sample["name"])
        ids = self._readers[name]()
        height, width = sample["semantic"].shape[-2:]
        if ids.shape[:2] == (height, width):
            return ids
        if abs(ids.shape[0] * width - ids.shape[1] * height) > max(ids.shape[1], width):
            raise DataError(
                f"the prediction {name} has {ids.shape[0]}x{ids.shape[1]} pixels, its label {height}x{width}",
                hint="set scale and crop as the predicted images had them",
            )
        rows = torch.arange(height) * ids.shape[0] // height
        columns = torch.arange(width) * ids.shape[1] // width
        return ids[rows[:, None], columns]


def open_predictions(
    folder: Path, space: LabelSpace, *, thing_threshold: float | None = None
) -> FolderClusters:
    """Open a folder of predictions or pseudo-labels.

    Classes that share their names with ``space`` are taken by name and need no matching; everything else is
    clusters.

    Args:
        folder: see the module's description.
        space: the classes to score.
        thing_threshold: for pseudo-labels, see :func:`label_split`.

    Raises:
        DataError: the folder holds no predictions.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", hint=_HELP)
    stems = label_stems(folder)
    if not stems:
        return _open_coco(folder, space)
    if (folder / STATISTICS_FILE).is_file() or any(folder.glob("pseudo_classes_split_*.pt")):
        split = label_split(folder, thing_threshold)
        readers = {stem: partial(label_clusters, folder, stem, split) for stem in stems}
        count = len(split.stuff) + len(split.things)
        return FolderClusters(readers, len(split.stuff), count, None, {"source": "pseudo-labels"})
    raw: dict[str, Reader] = {stem: partial(read_pair, folder, stem) for stem in stems}
    if (folder / PREDICTIONS_FILE).is_file():
        written = read_json(folder / PREDICTIONS_FILE)["categories"]
        categories = [(entry["name"], bool(entry["isthing"])) for entry in written]
        return _named(raw, categories, space, {"source": "predictions"})
    described = next((p for s in stems if (p := folder / f"{s}{_PANOPTIC_SUFFIX}").is_file()), None)
    if described is None:
        facts = {"source": f"label maps, taken as classes of {space.name}"}
        return _named(raw, [(name, i in space.things) for i, name in enumerate(space.names)], space, facts)
    content = _coco_content(described)
    categories = [(entry["name"], bool(entry["isthing"])) for entry in content["categories"]]
    return _named(raw, categories, space, {"source": "label maps"})


def _open_coco(folder: Path, space: LabelSpace) -> FolderClusters:
    paths = [path for path in sorted(folder.glob("*.json")) if _is_coco(read_json(path))]
    if not paths:
        raise DataError(f"{folder} holds no predictions", hint=_HELP)
    readers: dict[str, Reader] = {}
    categories: list[tuple[str, bool]] = []
    for path in paths:
        content = _coco_content(path)
        categories = [(entry["name"], bool(entry["isthing"])) for entry in content["categories"]]
        readers |= _coco_readers(content, path)
    return _named(readers, categories, space, {"source": "COCO panoptic"})


def _coco_readers(content: dict[str, Any], path: Path) -> dict[str, Reader]:
    label_of = {entry["id"]: label for label, entry in enumerate(content["categories"])}
    thing = {entry["id"]: bool(entry["isthing"]) for entry in content["categories"]}
    names = {entry["id"]: image_name(entry["file_name"]) for entry in content["images"]}
    pngs = path.with_suffix("") if path.with_suffix("").is_dir() else path.parent
    readers: dict[str, Reader] = {}
    for entry in content["annotations"]:
        segments = {
            int(info["id"]): (
                label_of[info["category_id"]],
                thing[info["category_id"]] and not info.get("iscrowd"),
            )
            for info in entry["segments_info"]
        }
        png = pngs / entry["file_name"]
        record = LabelledRecord(names[entry["image_id"]], png, png, None, segments)
        readers[record.name] = partial(_read_segments, record)
    return readers


def _named(
    readers: Mapping[str, Reader],
    categories: Sequence[tuple[str, bool]],
    space: LabelSpace,
    facts: dict[str, Any],
) -> FolderClusters:
    """Number labels like a network's clusters; give them the classes of their names, where those are known."""
    order = [i for i, (_, thing) in enumerate(categories) if not thing]
    num_stuff = len(order)
    order += [i for i, (_, thing) in enumerate(categories) if thing]
    ranks = _ranks(order)

    def ranked(read: Reader) -> Tensor:
        ids = read()
        return torch.stack([ranks[ids[..., 0].clamp(0, VOID)], ids[..., 1]], dim=-1)

    classes = None
    if any(name in space.names for name, _ in categories):
        classes = torch.full((256,), VOID, dtype=torch.long)
        for rank, label in enumerate(order):
            name = categories[label][0]
            classes[rank] = space.index(name) if name in space.names else VOID
    ranked_readers = {name: partial(ranked, read) for name, read in readers.items()}
    return FolderClusters(ranked_readers, num_stuff, len(order), classes, facts)


def _ranks(order: Sequence[int]) -> Tensor:
    table = torch.full((256,), VOID, dtype=torch.long)
    table[torch.as_tensor(order, dtype=torch.long)] = torch.arange(len(order))
    return table


def read_pair(folder: Path, stem: str) -> Tensor:
    """Read (class, instance) of a label, (H, W, 2) int64.

    Raises:
        DataError: a file is missing or damaged, or their sizes differ.
    """
    semantic = torch.from_numpy(read_labels(folder / f"{stem}{SEMANTIC_SUFFIX}").astype(np.int64))
    instance = torch.from_numpy(read_map(folder / f"{stem}{INSTANCE_SUFFIX}"))
    instance = instance[..., 0] if instance.ndim == 3 else instance
    if instance.shape != semantic.shape:
        raise DataError(
            f"{folder / stem}: classes {tuple(semantic.shape)} and instances {tuple(instance.shape)} differ in size"
        )
    return torch.stack([semantic, instance], dim=-1)


def _read_segments(record: LabelledRecord) -> Tensor:
    label, instance = decode_segments(record)
    return torch.stack([torch.from_numpy(label), torch.from_numpy(instance)], dim=-1)


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= set(content)


def _coco_content(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not _is_coco(content) or not all("isthing" in entry for entry in content["categories"]):
        raise DataError(f"{path} is no COCO panoptic file", hint=_HELP)
    return dict(content)
