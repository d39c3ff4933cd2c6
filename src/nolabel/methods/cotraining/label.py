"""One set of pseudo-labels: a network looks at images, thresholds are found, sure pixels become labels.

::

    OUT/labels/NAME.png      classes, 255 for void
    OUT/manifest.json        how the set was made: network, thresholds, images, scores
    OUT/predictions/         between the passes only

Source: Co-Training specification, 2.6 to 2.8.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nolabel.data.domain_images import TargetImages
from nolabel.data.files import read_image_bytes
from nolabel.data.resizing import resize_image
from nolabel.data.void_labels import void_as_255
from nolabel.engine.devices import pick_device
from nolabel.engine.executors import worker_device
from nolabel.engine.labelling import ItemResult, label_items
from nolabel.engine.segmentation_inference import InferenceSize, Prediction, predict
from nolabel.engine.segmentor_file import SegmentorModel, load_model
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace
from nolabel.labels.cards import space_from_card, space_to_card
from nolabel.methods.cotraining.ego_mask import read_mask
from nolabel.methods.cotraining.prediction_files import PredictionFiles, encode_prediction
from nolabel.methods.cotraining.priors import least_prior, prior_factor
from nolabel.methods.cotraining.pseudo_labels import ImageScores, label_images
from nolabel.methods.cotraining.settings import PseudoLabelConfig
from nolabel.methods.cotraining.thresholds import class_thresholds
from nolabel.structures.files import write_json, write_png
from nolabel.weights import file_hash

__all__ = ["LabelSet", "make_label_set", "network_batch", "read_label_set"]

MANIFEST, LABELS = "manifest.json", "labels"


@dataclass(frozen=True)
class LabelSet:
    """A finished set of pseudo-labels.

    Attributes:
        folder: where it is.
        names: of its images.
        thresholds: (classes + 1,) float64.
        scores: of its images, before any fusion.
        space: the classes.
    """

    folder: Path
    names: list[str]
    thresholds: Tensor
    scores: ImageScores
    space: LabelSpace

    def label(self, name: str) -> Path:
        """Return the label map of an image."""
        return self.folder / LABELS / f"{name}.png"


@dataclass(frozen=True)
class PredictionTask:
    """Labels and confidences of images by one network, as items of work."""

    model: Path
    digest: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    size: InferenceSize
    device: str

    @property
    def fingerprint(self) -> str:
        """What the predictions depend on."""
        parts = [self.digest, self.size.fingerprint(), *self.names]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def items(self) -> Sequence[str]:
        """The images."""
        return self.names

    def setup(self) -> SegmentorModel:
        """Load the network."""
        return load_model(self.model, device=worker_device(self.device))

    def process(self, state: SegmentorModel, index: int) -> ItemResult:
        """Look at one image."""
        batch, size = network_batch(self.paths[index], self.size)
        device = next(state.network.parameters()).device
        labels, confidence = predict(state.network, batch.to(device), size)
        content = encode_prediction(Prediction(labels[0], confidence[0]))
        return ItemResult({f"{self.names[index]}.prediction": content})


def network_batch(path: str | Path, size: InferenceSize) -> tuple[Tensor, tuple[int, int]]:
    """Read an image as the network sees it, (1, 3, H, W) in [0, 1], and say what size its labels will have."""
    pixels = read_image_bytes(path)
    native = (pixels.shape[-2], pixels.shape[-1])
    return resize_image(pixels, size.of_network(native))[None] / 255, size.of_labels(native)


def make_label_set(
    model: Path,
    target: TargetImages,
    names: Sequence[str],
    out: Path,
    config: PseudoLabelConfig,
    portion: float | Sequence[float],
    *,
    cycle: int = 0,
    facts: dict[str, Any] | None = None,
    device: str = "auto",
    progress: bool = True,
) -> LabelSet:
    """Make pseudo-labels of images, or what is left of them.

    Args:
        model: the network's file.
        target: where images are.
        names: which of them, in this order.
        out: folder of the set.
        config: sizes, thresholds, mask.
        portion: part of each class's pixels to keep.
        cycle: for the priors, which fade out.
        facts: more entries of the manifest (seeds).
        device: where the network runs.
        progress: show progress on standard error.

    Raises:
        DataError: an image cannot be read, or the mask has another size.
    """
    out = Path(out)
    if (out / MANIFEST).is_file():
        return read_label_set(out)
    digest = file_hash(model)
    paths = tuple(target.path(name) for name in names)
    task = PredictionTask(model, digest, tuple(names), paths, config.size, pick_device(device))
    predictions = out / "predictions"
    summary = label_items(task, predictions, progress=progress, what="looking at target images")
    summary.require_all("target images")
    files = PredictionFiles(predictions, names)
    space = load_model(model).space
    num_labels = space.num_classes + 1
    thresholds = class_thresholds(files, num_labels, portion, lowest=config.lowest, highest=config.highest)
    mask = None if config.mask is None else read_mask(config.mask, _size_of(files[0].labels))
    prior = _read_prior(config.prior, num_labels)
    least = least_prior(cycle)

    def keep(index: int, labels: Tensor) -> None:
        values = void_as_255(labels, space.num_classes).cpu().numpy()
        write_png(out / LABELS / f"{names[index]}.png", values)

    scores = label_images(
        files,
        len(names),
        thresholds,
        keep,
        mask=mask,
        factor=None if prior is None else lambda labels: prior_factor(labels, prior, least),
        reference_compat=config.reference_compat,
    )
    manifest = {
        **(facts or {}),
        "network": str(model),
        "network_sha256": digest,
        "settings": config.model_dump(mode="json"),
        "portion": list(portion) if isinstance(portion, Sequence) else portion,
        "thresholds": thresholds.tolist(),
        "space": space_to_card(space),
        "images": [
            {"name": name, "image": str(path), **entry}
            for name, path, entry in zip(names, paths, _entries(scores), strict=True)
        ],
    }
    write_json(out / MANIFEST, manifest)
    shutil.rmtree(predictions, ignore_errors=True)
    return LabelSet(out, list(names), thresholds, scores, space)


def read_label_set(folder: Path) -> LabelSet:
    """Read a finished set.

    Raises:
        DataError: it is not finished, or damaged.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        rows = manifest["images"]
        confidence = [[math.nan if v is None else v for v in row["class_confidence"]] for row in rows]
        scores = ImageScores(
            torch.tensor([row["pixels"] for row in rows], dtype=torch.int64),
            torch.tensor(confidence, dtype=torch.float32),
            torch.tensor([math.nan if row["score"] is None else row["score"] for row in rows]),
        )
        thresholds = torch.tensor(manifest["thresholds"], dtype=torch.float64)
        names = [row["name"] for row in rows]
        return LabelSet(Path(folder), names, thresholds, scores, space_from_card(manifest["space"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read {path}: {error}", hint="make these pseudo-labels again") from error


def _entries(scores: ImageScores) -> list[dict[str, Any]]:
    """One JSON object for each image; NaN as null."""
    rows = zip(scores.score.tolist(), scores.pixels.tolist(), scores.class_confidence.tolist(), strict=True)
    return [
        {
            "score": None if math.isnan(score) else score,
            "pixels": pixels,
            "class_confidence": [None if math.isnan(value) else value for value in confidence],
        }
        for score, pixels, confidence in rows
    ]


def _size_of(labels: Tensor) -> tuple[int, int]:
    return labels.shape[-2], labels.shape[-1]


def _read_prior(path: Path | None, num_labels: int) -> Tensor | None:
    if path is None:
        return None
    try:
        prior = torch.from_numpy(np.load(path, allow_pickle=False)).float()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the priors {path}: {error}") from error
    if prior.ndim != 3 or len(prior) != num_labels:
        raise ConfigError(f"{path} holds priors of shape {tuple(prior.shape)}, not ({num_labels}, H, W)")
    return prior
