"""Which pseudo classes are things: counting the classes of moving objects (CUPS section 3.1; spec 10.1-10.2).

A pseudo class is a thing when its pixels lie inside moving objects far more often than those of other classes.
The counts are taken from the label files themselves, so they are right after any number of interruptions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nolabel.errors import DataError
from nolabel.structures.files import write_json
from nolabel.weights import load_checkpoint

SEMANTIC_SUFFIX, INSTANCE_SUFFIX = "_semantic.png", "_instance.png"
STATISTICS_FILE = "pseudo_classes.json"
FORMAT = "nolabel-pseudo-classes/1"
_OFFICIAL_KEYS = {
    "all_pixels": "distribution all pixels",
    "inside_proposals": "distribution inside object proposals",
    "per_proposal": "distribution per object proposal",
}


@dataclass
class PseudoClassStatistics:
    """Counts of each pseudo class over a set of label files.

    Attributes:
        all_pixels: (C,) int64, pixels of each class.
        inside_proposals: (C,) int64, pixels of each class that lie inside an object.
        per_proposal: (C,) int64, objects of each class.
        images: how many images were counted (0 where an official file does not say).
    """

    all_pixels: Tensor
    inside_proposals: Tensor
    per_proposal: Tensor
    images: int = 0

    @classmethod
    def zeros(cls, num_classes: int) -> PseudoClassStatistics:
        """Nothing counted yet."""
        counts = torch.zeros(3, num_classes, dtype=torch.int64)
        return cls(counts[0], counts[1], counts[2])

    @property
    def num_classes(self) -> int:
        """C, the number of pseudo classes."""
        return len(self.all_pixels)

    def update(self, semantic: Tensor, instances: Tensor) -> None:
        """Count one image: (H, W) fused pseudo classes and (H, W) object ids, both integer tensors."""
        semantic, instances = semantic.flatten().long(), instances.flatten().long()
        if semantic.numel() and int(semantic.max()) >= self.num_classes:
            raise DataError(
                f"pseudo class {int(semantic.max())} in a label map of {self.num_classes} pseudo classes",
                hint="count with the number of clusters the labels were made with",
            )
        inside = instances > 0
        self.all_pixels += torch.bincount(semantic, minlength=self.num_classes)
        self.inside_proposals += torch.bincount(semantic[inside], minlength=self.num_classes)
        # All pixels of an object have one class after fusion; the smallest one stands for it otherwise.
        pairs = torch.unique(instances[inside] * self.num_classes + semantic[inside])
        first = torch.ones(len(pairs), dtype=torch.bool)
        first[1:] = pairs[1:] // self.num_classes != pairs[:-1] // self.num_classes
        self.per_proposal += torch.bincount(pairs[first] % self.num_classes, minlength=self.num_classes)
        self.images += 1

    def __add__(self, other: PseudoClassStatistics) -> PseudoClassStatistics:
        return PseudoClassStatistics(
            self.all_pixels + other.all_pixels,
            self.inside_proposals + other.inside_proposals,
            self.per_proposal + other.per_proposal,
            self.images + other.images,
        )


@dataclass(frozen=True)
class ThingStuffSplit:
    """Pseudo classes by kind, each list in descending share of moving pixels.

    Attributes:
        things: pseudo classes that count as things.
        stuff: the others.
        ratios: for each pseudo class its part of the moving-pixel ratios (they sum to 1).
        class_weights: loss weights of the stuff classes in order, then one for all things together (spec 10.2).
    """

    things: tuple[int, ...]
    stuff: tuple[int, ...]
    ratios: tuple[float, ...] = field(repr=False)
    class_weights: tuple[float, ...] = field(repr=False)


def split_things_and_stuff(
    statistics: PseudoClassStatistics, threshold: float = 0.08, *, reference_compat: bool = False
) -> ThingStuffSplit:
    """Call the classes whose share of moving pixels is above ``threshold`` things (spec 10.2).

    Args:
        statistics: counts of the whole data set.
        threshold: a part of 1; the published value is 0.08.
        reference_compat: keep the original's count, which is 0 when every class is above the threshold.
    """
    all_pixels = statistics.all_pixels.float()
    ratio = statistics.inside_proposals.float() / (all_pixels + 1e-6)
    ordered, order = torch.sort(ratio, descending=True, stable=True)
    total = ordered.sum()
    share = ordered / total if total > 0 else ordered
    above = share > threshold
    count = int(above.sum())
    if reference_compat and bool(above.all()):
        count = 0
    things, stuff = order[:count], order[count:]
    weights = all_pixels / (all_pixels.sum().clamp(min=1) * statistics.num_classes)
    combined = torch.cat([weights[stuff], weights[things].sum()[None]])
    shares = torch.zeros_like(share).scatter(0, order, share)
    return ThingStuffSplit(
        tuple(things.tolist()), tuple(stuff.tolist()), tuple(shares.tolist()), tuple(combined.tolist())
    )


def label_stems(folder: Path) -> list[str]:
    """List the images with both label files in ``folder``: their names without suffix, sorted."""
    names = {path.name for path in Path(folder).iterdir()}
    stems = (name.removesuffix(INSTANCE_SUFFIX) for name in names if name.endswith(INSTANCE_SUFFIX))
    return sorted(stem for stem in stems if stem + SEMANTIC_SUFFIX in names)


def statistics_from_files(
    folder: Path, num_classes: int, stems: Iterable[str] | None = None, *, readers: int = 4
) -> PseudoClassStatistics:
    """Count the label files of a folder (all of them, or those of ``stems``).

    Raises:
        DataError: a file cannot be read, or holds a class beyond ``num_classes``.
    """
    folder = Path(folder)
    statistics = PseudoClassStatistics.zeros(num_classes)
    wanted = label_stems(folder) if stems is None else sorted(stems)

    def read(stem: str) -> tuple[np.ndarray, np.ndarray]:
        return read_labels(folder / (stem + SEMANTIC_SUFFIX)), read_labels(folder / (stem + INSTANCE_SUFFIX))

    with ThreadPoolExecutor(readers) as pool:
        # Bounded look-ahead: maps of a few dozen images at a time, whatever the size of the data set.
        for start in range(0, len(wanted), 8 * readers):
            for semantic, instances in pool.map(read, wanted[start : start + 8 * readers]):
                statistics.update(torch.from_numpy(semantic), torch.from_numpy(instances))
    return statistics


def read_labels(path: Path) -> np.ndarray:
    """Read an 8-bit label PNG as (H, W) uint8; palette images give their indices."""
    try:
        with Image.open(path) as image:
            labels = np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"label file {path} cannot be read: {error}",
            hint="delete it and run the same pseudo-label command again",
        ) from error
    return labels[..., 0] if labels.ndim == 3 else labels


def save_statistics(
    path: Path, statistics: PseudoClassStatistics, threshold: float, *, reference_compat: bool = False
) -> ThingStuffSplit:
    """Write counts, split and class weights as JSON (``pseudo_classes.json``) and return the split."""
    split = split_things_and_stuff(statistics, threshold, reference_compat=reference_compat)
    write_json(
        path,
        {
            "format": FORMAT,
            "num_classes": statistics.num_classes,
            "images": statistics.images,
            **{name: getattr(statistics, name).tolist() for name in _OFFICIAL_KEYS},
            "threshold": threshold,
            "things": list(split.things),
            "stuff": list(split.stuff),
            "ratios": list(split.ratios),
            "class_weights": list(split.class_weights),
        },
    )
    return split


def load_statistics(folder: Path) -> PseudoClassStatistics:
    """Read the counts of a label folder: ``pseudo_classes.json``, or the sum of official ``.pt`` files.

    Raises:
        DataError: neither is there, or a file is not what it should be.
    """
    folder = Path(folder)
    own = folder / STATISTICS_FILE
    if own.is_file():
        return _from_json(own)
    official = sorted(folder.glob("pseudo_classes_split_*.pt"))
    if not official:
        raise DataError(
            f"{folder} holds neither {STATISTICS_FILE} nor pseudo_classes_split_*.pt",
            hint="finish `nolabel cups pseudo-label`, which writes it, or give the folder with the labels",
        )
    parts = [_from_official(path) for path in official]
    if len({part.num_classes for part in parts}) > 1:
        raise DataError(
            f"the class counts in {folder} differ in their number of classes", hint="keep one run's files"
        )
    return sum(parts[1:], parts[0])


def _from_json(path: Path) -> PseudoClassStatistics:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r} is not {FORMAT!r}")
        images = int(content["images"])
        counts = [torch.tensor(content[name], dtype=torch.int64) for name in _OFFICIAL_KEYS]
        return PseudoClassStatistics(counts[0], counts[1], counts[2], images)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a file of pseudo-class counts: {error}",
            hint="run `nolabel cups pseudo-label` on the folder again; it is made anew from the labels",
        ) from error


def _from_official(path: Path) -> PseudoClassStatistics:
    state = load_checkpoint(path).state_dict
    missing = [key for key in _OFFICIAL_KEYS.values() if key not in state]
    if missing:
        raise DataError(
            f"{path} lacks {missing[0]!r}", hint="give the folder that the CUPS label generator wrote"
        )
    counts = [state[key].long() for key in _OFFICIAL_KEYS.values()]
    return PseudoClassStatistics(counts[0], counts[1], counts[2])
