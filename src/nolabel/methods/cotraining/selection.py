"""Which images a cycle looks at, which pseudo-labels it keeps, and how they add up over the cycles.

Source: Co-Training specification, 2.9 and 2.10.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from nolabel.errors import ConfigError, DataError
from nolabel.methods.cotraining.pseudo_labels import ImageScores
from nolabel.structures.files import write_bytes

__all__ = [
    "Accumulation",
    "SelectedLabel",
    "Sorting",
    "accumulate",
    "cycle_seed",
    "draw_subset",
    "rank_images",
    "read_selection",
    "selected_label",
    "write_selection",
]

Sorting = Literal["confidence", "per_class", "per_void_pixels", "none"]
Accumulation = Literal["none", "all", "update_best_score"]


def cycle_seed(seed: int, cycle: int, stage: Literal["self_training", "co_training"]) -> int:
    """Return the seed of a cycle's subset: a running sum in self-training (100, 101, 103, 106), else ``seed + cycle``."""
    return seed + (cycle * (cycle + 1) // 2 if stage == "self_training" else cycle)


def draw_subset(names: Sequence[str], count: int, seed: int, *, step: int = 1) -> list[str]:
    """Draw the images of a cycle, with Python's own generator, as the original does.

    Args:
        names: images in any order; they are sorted first.
        count: how many; all in random order if there are fewer, or for -1.
        seed: of this cycle.
        step: only every so many-th image, from a start that is drawn too (for videos).
    """
    listed = sorted(names)
    if step > 1:
        # A generator of its own: the start must not shift the draws that follow.
        listed = listed[random.Random(f"start {seed}").randrange(step) :: step]
    size = len(listed) if count < 0 else min(len(listed), count)
    return random.Random(seed).sample(listed, size)


def rank_images(scores: ImageScores, sorting: Sorting) -> list[int]:
    """Return the images from the best to the worst; equal ones in their given order.

    Args:
        scores: of N images.
        sorting: ``confidence`` (largest score), ``per_class`` (most classes, then largest score),
            ``per_void_pixels`` (fewest void pixels) or ``none`` (as given).
    """
    if sorting == "none":
        return list(range(len(scores)))
    if sorting not in get_args(Sorting):
        raise ConfigError(f"there is no sorting {sorting!r}", hint=", ".join(get_args(Sorting)))
    if sorting == "per_void_pixels":
        return _integers(scores.void_pixels.argsort(stable=True))
    order = scores.score.argsort(descending=True, stable=True)
    if sorting == "per_class":
        order = order[scores.num_classes[order].argsort(descending=True, stable=True)]
    return _integers(order)


def _integers(values: torch.Tensor) -> list[int]:
    return [int(value) for value in values.tolist()]


@dataclass(frozen=True)
class SelectedLabel:
    """An image with the pseudo-label it has been given.

    Attributes:
        image, label: paths.
        score: of the image; the shortest decimal number that stands for the float32.
        void_pixels: of the label map.
        num_classes: in the label map, void not counted.
    """

    image: str
    label: str
    score: float
    void_pixels: float
    num_classes: int

    @property
    def name(self) -> str:
        """The label's file name, by which images are matched."""
        return Path(self.label).name

    def row(self) -> str:
        """Return the line of ``filenames_and_scores.txt``."""
        return f"{self.name} {self.score} {self.void_pixels} {self.num_classes}"


def selected_label(image: str, label: str, scores: ImageScores, index: int) -> SelectedLabel:
    """Describe the pseudo-label of one image of ``scores``."""
    score = float(str(np.float32(scores.score[index].item())))
    return SelectedLabel(
        image, label, score, float(scores.void_pixels[index]), int(scores.num_classes[index])
    )


def accumulate(
    old: Sequence[SelectedLabel],
    new: Sequence[SelectedLabel],
    mode: Accumulation,
    sorting: str,
    *,
    reference_compat: bool = False,
) -> list[SelectedLabel]:
    """Add the pseudo-labels of a cycle to those of the cycles before.

    Args:
        old: accumulated so far.
        new: of this cycle.
        mode: ``none``: only the new ones; ``all``: all, an image as often as it came; ``update_best_score``: an image
            that is there already keeps its place, and changes its label if the new one is better.
        sorting: ``per_class`` and ``per_void_pixels``: better means fewer void pixels; others: a larger score.
        reference_compat: numbers are compared as text, as executed ("999.0" is more than "1000.0", and "nan" more
            than every number).
    """
    if mode == "none":
        return list(new)
    if mode == "all":
        return [*old, *new]
    if mode != "update_best_score":
        raise ConfigError(f"there is no accumulation {mode!r}", hint=", ".join(get_args(Accumulation)))
    fewest_void = sorting in ("per_class", "per_void_pixels")

    def better(candidate: SelectedLabel, present: SelectedLabel) -> bool:
        if fewest_void:
            first, second = present.void_pixels, candidate.void_pixels
        else:
            first, second = candidate.score, present.score
        return str(first) > str(second) if reference_compat else first > second

    result = list(old)
    place = {entry.name: index for index, entry in enumerate(result)}
    for entry in new:
        at = place.get(entry.name)
        if at is None:
            place[entry.name] = len(result)
            result.append(entry)
        elif better(entry, result[at]):
            result[at] = entry
    return result


IMAGES, LABELS, SCORES = "dataset_img.txt", "dataset_pseudolabels.txt", "filenames_and_scores.txt"


def write_selection(folder: Path, entries: Sequence[SelectedLabel]) -> None:
    """Write the original's three list files, one line for each entry."""
    for name, lines in (
        (SCORES, [entry.row() for entry in entries]),
        (LABELS, [entry.label for entry in entries]),
        (IMAGES, [entry.image for entry in entries]),
    ):
        write_bytes(Path(folder) / name, "".join(f"{line}\n" for line in lines).encode())


def read_selection(folder: Path) -> list[SelectedLabel]:
    """Read what :func:`write_selection` or the original wrote.

    Raises:
        DataError: a file is missing, or they do not fit together.
    """
    lists: list[list[str]] = []
    for name in (IMAGES, LABELS, SCORES):
        path = Path(folder) / name
        if not path.is_file():
            raise DataError(f"there is no {path}", hint="was this cycle finished?")
        lists.append([line for line in path.read_text().splitlines() if line])
    images, labels, rows = lists
    if not len(images) == len(labels) == len(rows):
        raise DataError(
            f"the lists in {folder} have {len(images)}, {len(labels)} and {len(rows)} lines",
            hint="make the cycle again",
        )
    entries = []
    for image, label, row in zip(images, labels, rows, strict=True):
        try:
            _, score, void_pixels, num_classes = row.rsplit(" ", 3)
            entries.append(
                SelectedLabel(image, label, float(score), float(void_pixels), int(float(num_classes)))
            )
        except ValueError:
            raise DataError(f"{Path(folder) / SCORES} has a line that is no score: {row!r}") from None
    return entries
