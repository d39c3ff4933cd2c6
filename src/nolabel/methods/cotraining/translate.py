"""Source images in the colours of the target (LAB), once and for all.

::

    OUT/images/NAME.png, OUT/labels/NAME.png    an own data set (layout ``folder``) in the stage's label space
    OUT/statistics.json                         mean and deviation of L, a, b of every target image

Source: Co-Training specification, 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nolabel.data import FolderLabelled
from nolabel.data.colour_transfer import LabStatistics, lab_statistics, transfer
from nolabel.data.domain_images import SourceImages, TargetImages
from nolabel.data.files import read_image_bytes, read_json
from nolabel.engine.labelling import ItemResult, LabellingTask, label_items
from nolabel.engine.seeding import generator_of
from nolabel.errors import DataError
from nolabel.structures.files import encode_png, write_json

__all__ = ["open_translated", "target_colours", "translate_source"]

STATISTICS = "statistics.json"


@dataclass(frozen=True)
class ColourTask:
    """Six numbers of every target image."""

    names: tuple[str, ...]
    paths: tuple[Path, ...]

    @property
    def fingerprint(self) -> str:
        """What they depend on."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def items(self) -> Sequence[str]:
        """The images."""
        return self.names

    def setup(self) -> None:
        """Nothing is shared."""

    def process(self, state: None, index: int) -> ItemResult:
        """Measure one image."""
        found = lab_statistics(read_image_bytes(self.paths[index]))
        return ItemResult({}, {"mean": found.mean.tolist(), "deviation": found.deviation.tolist()})


@dataclass(frozen=True)
class TranslationTask:
    """Source images with new colours, and their labels."""

    source: SourceImages
    colours: LabStatistics
    seed: int

    @property
    def fingerprint(self) -> str:
        """What the pictures depend on."""
        numbers = torch.stack([self.colours.mean, self.colours.deviation]).numpy().tobytes()
        head = f"{self.source.identity}\n{self.seed}\n".encode()
        return hashlib.sha256(head + numbers).hexdigest()

    def items(self) -> Sequence[str]:
        """The images."""
        return self.source.names

    def setup(self) -> None:
        """Nothing is shared."""

    def process(self, state: None, index: int) -> ItemResult:
        """Translate one image; which target image it follows depends on the seed and its name alone."""
        image, labels = self.source[index]
        name = self.source.names[index]
        chosen = torch.randint(
            len(self.colours.mean), (), generator=generator_of(self.seed, "translation", name)
        )
        pixels = (
            transfer(image, LabStatistics(self.colours.mean[chosen], self.colours.deviation[chosen]))
            .permute(1, 2, 0)
            .contiguous()
            .numpy()
        )
        files = {f"images/{name}.png": encode_png(pixels), f"labels/{name}.png": encode_png(labels.numpy())}
        return ItemResult(files, {"target": int(chosen)})


def target_colours(
    target: TargetImages, out: Path, *, progress: bool = True, executor: Any = "inline", workers: int = 1
) -> LabStatistics:
    """Measure the colours of all target images, or read them where they were measured.

    Args:
        target: the images.
        out: folder of ``statistics.json``.
        progress: show progress on standard error.
        executor, workers: see :func:`nolabel.engine.labelling.label_items`.
    """
    path = Path(out) / STATISTICS
    if path.is_file():
        stored = read_json(path)
        if stored["target"] == target.identity:
            return LabStatistics(
                torch.tensor(stored["mean"], dtype=torch.float64),
                torch.tensor(stored["deviation"], dtype=torch.float64),
            )
    task = ColourTask(tuple(target.names), tuple(target.paths))
    records = _run(task, Path(out) / "colours", progress, executor, workers, "measuring target colours")
    values = {key: [records[name][key] for name in target.names] for key in ("mean", "deviation")}
    write_json(path, {"target": target.identity, "names": target.names, **values})
    return target_colours(target, out, progress=progress)


def translate_source(
    source: SourceImages,
    target: TargetImages,
    out: Path,
    *,
    seed: int,
    progress: bool = True,
    executor: Any = "inline",
    workers: int = 1,
) -> SourceImages:
    """Write the source in the target's colours, or what is left of it, and open it.

    Args:
        source: labelled images.
        target: images whose colours they take, each those of one drawn at random.
        out: the new data set.
        seed: of the draws.
        progress: show progress on standard error.
        executor, workers: see :func:`nolabel.engine.labelling.label_items`.
    """
    colours = target_colours(target, out, progress=progress, executor=executor, workers=workers)
    task = TranslationTask(source, colours, seed)
    _run(task, Path(out), progress, executor, workers, "translating the source")
    return open_translated(out, source)


def open_translated(out: Path, source: SourceImages) -> SourceImages:
    """Open translated images in the order of their originals; several sources stay apart."""
    translated = FolderLabelled(out, source.space)
    place = {record.image.stem: record for record in translated.records}
    missing = [name for name in source.names if name not in place]
    if missing:
        raise DataError(f"{out} lacks {len(missing)} translated images", hint="translate again")
    parts = []
    ends = [*source.starts[1:], len(source)]
    for start, end in zip(source.starts, ends, strict=True):
        part = FolderLabelled(out, source.space)
        part.records = [place[name] for name in source.names[start:end]]
        parts.append(part)
    return SourceImages(parts)


def _run(
    task: LabellingTask, out: Path, progress: bool, executor: Any, workers: int, what: str
) -> dict[str, dict[str, Any]]:
    summary = label_items(task, out, executor=executor, workers=workers, progress=progress, what=what)
    summary.require_all("images")
    return summary.records
