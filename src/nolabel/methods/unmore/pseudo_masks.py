"""The first stage over a folder of photographs: masks from self-supervised features, in one label file.

Resumable; one file for each photograph under ``items/``, joined into ``labels.json`` at the end. Unreadable
photographs are named and left out.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel.config import dump_config
from nolabel.data.files import read_image
from nolabel.data.folder import FolderImages
from nolabel.engine.devices import pick_device
from nolabel.engine.executors import worker_device
from nolabel.engine.labelling import Executor, ItemResult, LabellingSummary, label_items
from nolabel.methods.unmore.grid_features import GridFeatures, load_grid_features, weights_hashes
from nolabel.methods.unmore.label_files import (
    LABEL_FILE,
    LabelledImage,
    encode_labels,
    read_label_file,
    write_label_file,
)
from nolabel.methods.unmore.label_pictures import SHEET, draw_labels, write_sheet
from nolabel.methods.unmore.votecut import find_masks
from nolabel.methods.unmore.votecut_settings import PseudoMaskConfig
from nolabel.structures.files import write_bytes

__all__ = ["PseudoMaskSummary", "make_pseudo_masks"]


@dataclass(frozen=True)
class PseudoMaskSummary:
    """What the label folder holds after a run.

    Attributes:
        labels: the label file: all photographs that are done, those without objects too.
        labelling: what this run did; ``failed`` names the photographs that could not be read.
        images: photographs in the file.
        objects: masks in the file.
        empty: photographs without any.
        sheet: the contact sheet, if pictures were asked for.
    """

    labels: Path
    labelling: LabellingSummary
    images: int
    objects: int
    empty: int
    sheet: Path | None

    def __str__(self) -> str:
        text = (
            f"{self.objects} masks in {self.images} photographs ({self.empty} without any) -> {self.labels}"
        )
        return text if self.sheet is None else f"{text}\n  pictures: {self.sheet}"


@dataclass(frozen=True)
class _Task:
    """One item is one photograph."""

    photos: FolderImages
    root: Path
    config: PseudoMaskConfig
    device: str
    drawn: frozenset[int]
    hashes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        parts = (self.config.without_paths().fingerprint(), *self.hashes)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def items(self) -> Sequence[str]:
        return self.photos.names

    def setup(self) -> list[GridFeatures]:
        device = worker_device(self.device)
        return [load_grid_features(entry, self.config.side, device) for entry in self.config.features]

    def process(self, networks: list[GridFeatures], index: int) -> ItemResult:
        name, path = self.photos.names[index], self.photos.paths[index]
        image = _eight_bit(read_image(path).as_subclass(Tensor))
        with torch.inference_mode():
            found = find_masks(networks, image, self.config)
        label = found.labelled(_relative(path, self.root), index + 1)
        files = {_item_file(name): encode_labels([label])}
        if index in self.drawn:
            files[f"pictures/{name}.jpg"] = draw_labels(image, label)
        return ItemResult(files, {"masks": len(label.instances)})


def make_pseudo_masks(
    photos: str | Path,
    out: str | Path,
    config: PseudoMaskConfig | None = None,
    *,
    executor: Executor = "inline",
    workers: int = 1,
    shard: str | None = None,
    threads: int = 1,
    device: str | None = None,
    pictures: int = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> PseudoMaskSummary:
    """Find masks in all photographs of a folder, or in what is left of them.

    Args:
        photos: a folder with any subfolders, or one file.
        out: the label folder; made if absent.
        config: settings; the defaults need no weights.
        executor: ``inline``, ``processes`` or ``ray``; the labels do not depend on it.
        workers: processes or Ray actors.
        shard: ``"2/8"`` does the second of eight parts.
        threads: torch threads of each worker.
        device: ``cpu``, ``cuda``, ...; an accelerator where there is one by default.
        pictures: draw so many of the photographs, evenly spread, and a contact sheet of them.
        overwrite: replace labels made with other settings.
        progress: show progress on standard error.

    Raises:
        ConfigError: ``out`` holds labels of other settings.
        DataError, WeightsError: the photographs, or the weights, cannot be used at all.
    """
    config, out, root = config or PseudoMaskConfig(), Path(out), Path(photos)
    found = FolderImages(root)
    count = len(found)
    drawn = frozenset(np.linspace(0, count - 1, min(pictures, count)).round().astype(int).tolist())
    root = root if root.is_dir() else root.parent
    hashes = weights_hashes(config.features)
    task = _Task(found, root, config, pick_device(device), drawn, hashes)
    labelling = label_items(
        task,
        out,
        executor=executor,
        workers=workers,
        shard=shard,
        threads=threads,
        overwrite=overwrite,
        progress=progress,
        what=config.method,
    )
    write_bytes(out / "config.yaml", dump_config(config).encode())
    counts: list[int] = []
    labels = write_label_file(out / LABEL_FILE, _joined(found, out, counts))
    sheet = write_sheet(out / SHEET, [out / "pictures" / f"{found.names[i]}.jpg" for i in sorted(drawn)])
    summary = PseudoMaskSummary(labels, labelling, len(counts), sum(counts), counts.count(0), sheet)
    if progress:
        print(summary, file=sys.stderr)
    return summary


def _joined(photos: FolderImages, out: Path, counts: list[int]) -> Iterator[LabelledImage]:
    """All photographs done so far, by any shard, numbered as they lie in the folder; ``counts`` gets their masks."""
    for index, name in enumerate(photos.names):
        path = out / _item_file(name)
        if path.is_file():
            (label,) = read_label_file(path)
            counts.append(len(label.instances))
            yield replace(label, id=index + 1)


def _item_file(name: str) -> str:
    return f"items/{name}.json"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _eight_bit(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)
