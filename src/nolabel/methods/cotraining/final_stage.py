"""Labels of all target images by both networks together: what the final training learns from.

Source: Co-Training specification, 2.13.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nolabel.data.domain_images import TargetImages
from nolabel.data.void_labels import void_as_255
from nolabel.engine.devices import pick_device
from nolabel.engine.executors import worker_device
from nolabel.engine.labelling import ItemResult, label_items
from nolabel.engine.segmentation_inference import InferenceSize, scores_at
from nolabel.engine.segmentor_file import SegmentorModel, load_model
from nolabel.errors import ConfigError, DataError
from nolabel.labels.cards import space_to_card
from nolabel.methods.cotraining.ego_mask import read_mask
from nolabel.methods.cotraining.final_labels import final_labels
from nolabel.methods.cotraining.label import LABELS, MANIFEST, network_batch, read_label_set
from nolabel.methods.cotraining.selection import SelectedLabel, write_selection
from nolabel.methods.cotraining.settings import FinalLabelConfig
from nolabel.structures.files import encode_png, write_json
from nolabel.weights import file_hash

__all__ = ["find_thresholds", "make_final_labels"]


@dataclass(frozen=True)
class EnsembleTask:
    """The final label map of every image, as items of work."""

    models: tuple[Path, ...]
    digests: tuple[str, ...]
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    size: InferenceSize
    thresholds: tuple[tuple[float, ...], ...] | None
    mask: Path | None
    device: str

    @property
    def fingerprint(self) -> str:
        """What the labels depend on."""
        mask = "" if self.mask is None else file_hash(self.mask)
        parts = [*self.digests, self.size.fingerprint(), str(self.thresholds), mask, *self.names]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def items(self) -> Sequence[str]:
        """The images."""
        return self.names

    def setup(self) -> list[SegmentorModel]:
        """Load the networks."""
        return [load_model(path, device=worker_device(self.device)) for path in self.models]

    @torch.no_grad()
    def process(self, state: list[SegmentorModel], index: int) -> ItemResult:
        """Look at one image with all networks."""
        batch, size = network_batch(self.paths[index], self.size)
        device = next(state[0].network.parameters()).device
        logits = [scores_at(model.network.full_size_logits(batch.to(device)), size) for model in state]
        limits = (
            None
            if self.thresholds is None
            else [torch.tensor(t, dtype=torch.float64) for t in self.thresholds]
        )
        mask = None if self.mask is None else read_mask(self.mask, size).to(device)
        classes = state[0].space.num_classes
        labels = void_as_255(final_labels(logits, limits, mask)[0], classes).cpu().numpy()
        name = self.names[index]
        counts = np.bincount(labels.ravel(), minlength=256)
        record = {"void": int(counts[classes:].sum()), "classes": int((counts[:classes] > 0).sum())}
        return ItemResult({f"{LABELS}/{name}.png": encode_png(labels)}, record)


def make_final_labels(
    models: Sequence[Path],
    thresholds: Sequence[Sequence[float]],
    target: TargetImages,
    out: Path,
    config: FinalLabelConfig,
    *,
    device: str = "auto",
    executor: Any = "inline",
    workers: int = 1,
    progress: bool = True,
) -> list[SelectedLabel]:
    """Label all target images, or what is left of them.

    Args:
        models: files of the networks A and B (or of one).
        thresholds: (classes + 1,) of each network's last cycle; may be empty where the settings do not use them.
        target: the images.
        out: folder: labels/, manifest.json, and the list files of a selection.
        config: settings.
        device: where the networks run.
        executor, workers: see :func:`nolabel.engine.labelling.label_items`.
        progress: show progress on standard error.

    Returns:
        All images with their labels.

    Raises:
        ConfigError: thresholds are wanted and not given, or the folder holds other results.
    """
    out = Path(out)
    if config.networks != "both":
        place = min("ab".index(config.networks), len(models) - 1)
        models, thresholds = [models[place]], thresholds[place : place + 1]
    limits = _limits(thresholds, config, len(models))
    task = EnsembleTask(
        tuple(Path(model) for model in models),
        tuple(file_hash(model) for model in models),
        tuple(target.names),
        tuple(target.paths),
        config.size,
        limits,
        config.mask,
        pick_device(device),
    )
    summary = label_items(
        task, out, executor=executor, workers=workers, progress=progress, what="final labels"
    )
    summary.require_all("target images")
    entries = [
        SelectedLabel(
            str(target.path(name)),
            str((out / LABELS / f"{name}.png").absolute()),
            0.0,
            float(summary.records[name]["void"]),
            summary.records[name]["classes"],
        )
        for name in target.names
    ]
    write_selection(out, entries)
    manifest = {
        "networks": [str(model) for model in models],
        "networks_sha256": list(task.digests),
        "settings": config.model_dump(mode="json"),
        "thresholds": None if limits is None else [list(values) for values in limits],
        "space": space_to_card(load_model(models[0]).space),
        "images": [{"name": name, **summary.records[name]} for name in target.names],
    }
    write_json(out / MANIFEST, manifest)
    return entries


def _limits(
    thresholds: Sequence[Sequence[float]], config: FinalLabelConfig, networks: int
) -> tuple[tuple[float, ...], ...] | None:
    if config.thresholds == "none":
        return None
    if config.thresholds != "least":
        return (tuple(config.thresholds),)
    if len(thresholds) != networks:
        raise ConfigError(
            f"{networks} networks need as many lists of thresholds, not {len(thresholds)}",
            hint="give each network's thresholds.npy, or set thresholds=none",
        )
    return tuple(tuple(float(value) for value in values) for values in thresholds)


def find_thresholds(model: Path, given: Path | None = None) -> list[float]:
    """Return the thresholds of the cycle that trained a network, or those of a file (``thresholds.npy``).

    Raises:
        DataError: they cannot be read.
        ConfigError: the network does not lie in the folder of a cycle.
    """
    if given is not None:
        try:
            values: list[float] = np.load(given, allow_pickle=False).astype(np.float64).ravel().tolist()
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the thresholds {given}: {error}") from error
        return values
    labels = model.parent.parent / "pseudo_labels"
    if not (labels / MANIFEST).is_file():
        raise ConfigError(
            f"{model} does not lie in the folder of a cycle, so its thresholds are not known",
            hint="give --thresholds-a (and -b), or set final_labels.thresholds=none",
        )
    return read_label_set(labels).thresholds.tolist()
