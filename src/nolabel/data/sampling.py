"""Drawing images so that rare classes are seen: statistics of labels, and a sampler on them.

Source: Co-Training specification 2.5, UDASS specification 2.11 (rare class sampling, DAFormer).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.utils.data import Sampler

from nolabel.config import Config
from nolabel.errors import DataError
from nolabel.structures.files import write_json

__all__ = ["ClassStatistics", "RareClassConfig", "RareClassSampler", "count_classes", "is_varied"]

_KIND = re.compile(r"(_gtFine|_gt|_leftImg8bit|_rgb_anon|_label(TrainI|I)ds|_train_id)+$")


def count_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Return (num_classes,) int64: pixels of every class in a map (H, W); larger ids (255) are not counted."""
    ids = labels.flatten().long().clamp(max=num_classes)
    return torch.bincount(ids, minlength=num_classes + 1)[:num_classes]


def is_varied(labels: Tensor, num_classes: int, largest_share: float) -> bool:
    """Tell whether a map (H, W) shows several classes, none of which covers ``largest_share`` of its labelled pixels."""
    counts = count_classes(labels, num_classes)
    return int((counts > 0).sum()) > 1 and int(counts.max()) < largest_share * int(counts.sum())


class RareClassConfig(Config):
    """Drawing source images so that rare classes are seen (class balancing, "+CB")."""

    temperature: float = Field(0.01, gt=0)
    """The lower, the more the rare classes prevail."""
    min_pixels: int = Field(3000, ge=0)
    """An image counts for a class if it has more pixels of it than these."""


@dataclass(frozen=True)
class ClassStatistics:
    """Pixels of every class in every image of a data set.

    Attributes:
        names: of the N images.
        pixels: (N, C) int64.
    """

    names: tuple[str, ...]
    pixels: Tensor

    @classmethod
    def of(cls, maps: Iterable[tuple[str, Tensor]], num_classes: int) -> ClassStatistics:
        """Count the label maps (H, W) of named images, one by one."""
        names, counts = [], []
        for name, labels in maps:
            names.append(name)
            counts.append(count_classes(labels, num_classes))
        if not names:
            raise DataError("class statistics need at least one label map")
        return cls(tuple(names), torch.stack(counts))

    def order(self) -> Tensor:
        """Return the classes that occur, rarest first (int64).

        Of equal counts the class that occurs first comes first: image by image, ascending within an image.
        """
        total, present = self.pixels.sum(0), self.pixels > 0
        classes = torch.arange(self.pixels.shape[1])
        first_image = present.int().argmax(0)
        appearance = first_image * len(classes) + classes
        order = appearance.argsort(stable=True)
        order = order[total[order].argsort(stable=True)]
        return order[total[order] > 0]

    def probabilities(self, temperature: float = 0.01) -> Tensor:
        """Return the probability of each class of :meth:`order`, float32: softmax of (1 - frequency) / temperature."""
        counts = self.pixels.sum(0)[self.order()].float()
        return ((1 - counts / counts.sum()) / temperature).softmax(0)

    def candidates(self, min_pixels: int) -> list[Tensor]:
        """Return, for each class of :meth:`order`, the images with more than ``min_pixels`` pixels of it, ascending."""
        return [images.nonzero()[:, 0] for images in (self.pixels[:, self.order()] > min_pixels).T]

    def write(self, folder: Path, *, indexed: bool = False) -> None:
        """Write ``sample_class_stats.json``, ``sample_class_stats_dict.json`` and ``samples_with_class.json``.

        The domain-adaptation tools read them.

        Args:
            folder: where the files go.
            indexed: in the last file, put the position of an image before its name, as Co-Training wants it; DAFormer
                and UDASS want it without.
        """
        rows: list[dict[str, Any]] = []
        by_class: dict[str, Any] = {}
        for name, counts in zip(self.names, self.pixels.tolist(), strict=True):
            rows.append({str(c): n for c, n in enumerate(counts) if n} | {"file": name})
        for index in range(self.pixels.shape[1]):
            images = self.pixels[:, index].nonzero()[:, 0].tolist()
            if images:
                entries = [[self.names[i], int(self.pixels[i, index])] for i in images]
                by_class[str(index)] = [
                    [i, *e] if indexed else e for i, e in zip(images, entries, strict=True)
                ]
        write_json(Path(folder) / "sample_class_stats.json", rows)
        by_file = {row["file"]: {key: n for key, n in row.items() if key != "file"} for row in rows}
        write_json(Path(folder) / "sample_class_stats_dict.json", by_file)
        write_json(Path(folder) / "samples_with_class.json", by_class)

    @classmethod
    def read(cls, path: Path, num_classes: int) -> ClassStatistics:
        """Read ``sample_class_stats.json`` (or the folder it is in), whoever wrote it.

        Raises:
            DataError: it is missing, or no such file.
        """
        path = Path(path) / "sample_class_stats.json" if Path(path).is_dir() else Path(path)
        try:
            rows = json.loads(path.read_text())
            names = tuple(str(row["file"]) for row in rows)
            pixels = torch.zeros(len(rows), num_classes, dtype=torch.int64)
            for index, row in enumerate(rows):
                for key, count in row.items():
                    if key != "file" and int(key) < num_classes:
                        pixels[index, int(key)] = int(count)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} holds no class statistics: {error}", hint="make them again") from error
        return cls(names, pixels)

    def for_images(self, names: Sequence[str]) -> ClassStatistics:
        """Return the statistics of given images, in their order, whatever the files were called that were counted.

        Args:
            names: of the images. ``aachen_1_leftImg8bit`` and ``00001`` find ``.../aachen_1_gtFine_labelTrainIds.png``
                and ``labels/00001_labelTrainIds.png``.

        Raises:
            DataError: an image has no statistics, or two of them have the same name.
        """
        positions = {_bare(name): index for index, name in enumerate(self.names)}
        missing = [name for name in names if _bare(name) not in positions]
        if missing or len(positions) < len(self.names):
            what = f"{missing[0]} is not in them" if missing else "two of their files have one name"
            raise DataError(f"the class statistics do not fit the images: {what}", hint="make them again")
        rows = torch.tensor([positions[_bare(name)] for name in names])
        return ClassStatistics(tuple(names), self.pixels[rows])


def _bare(name: str) -> str:
    """The part that an image and its label map have in common."""
    return _KIND.sub("", Path(name).name.split(".")[0])


class RareClassSampler(Sampler[int]):
    """Draws a class, rare ones more often, then any image that has enough of it. All draws are made at once.

    Args:
        statistics: of the data set, in the order of its images.
        number: how many images to draw in all.
        generator: source of the draws.
        temperature: the lower, the more the rare classes prevail.
        min_pixels: an image counts for a class if it has more than these.

    Attributes:
        images: the images drawn.
        classes: for which each of them was drawn.

    Raises:
        DataError: no class has an image with enough pixels.
    """

    def __init__(
        self,
        statistics: ClassStatistics,
        number: int,
        generator: torch.Generator,
        *,
        temperature: float = 0.01,
        min_pixels: int = 3000,
    ) -> None:
        candidates = statistics.candidates(min_pixels)
        sizes = torch.tensor([len(images) for images in candidates])
        # The original stumbles over a class that no image has enough of; such a class is not drawn.
        weights = statistics.probabilities(temperature).double() * (sizes > 0)
        if not bool((weights > 0).any()):
            raise DataError(
                f"no image has more than {min_pixels} pixels of any class",
                hint="lower min_pixels: it is meant for labels of 1024x2048 pixels",
            )
        drawn = torch.multinomial(weights, number, replacement=True, generator=generator)
        place = (torch.rand(number, generator=generator, dtype=torch.float64) * sizes[drawn]).long()
        starts = sizes.cumsum(0) - sizes
        images: Sequence[int] = torch.cat(candidates)[starts[drawn] + place].tolist()
        classes: Sequence[int] = statistics.order()[drawn].tolist()
        self.images, self.classes = images, classes

    def __iter__(self) -> Iterator[int]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)
