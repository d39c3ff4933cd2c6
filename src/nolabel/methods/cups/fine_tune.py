"""Label-efficient fine-tuning: a network that learnt without labels gets a few labelled images (spec cups_model 7.4).

The published code names this stage (training subsets, 19 classes, random crop, flip and size, heads only or all) but
does not release it; steps and learning rate here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pydantic
import torch

from nolabel.config import Config
from nolabel.engine.fit import FitConfig
from nolabel.engine.progress import Progress
from nolabel.methods.cups import augment
from nolabel.methods.cups.batch_augmentation import Labelled
from nolabel.methods.cups.class_layers import clusters_of_classes, for_classes
from nolabel.methods.cups.labelled_images import LabelledImages
from nolabel.methods.cups.model_file import CupsModel, load_model
from nolabel.methods.cups.panoptic_training import (
    PanopticTraining,
    PanopticTrainingConfig,
    Score,
    run_training,
)
from nolabel.methods.cups.predict import predict_clusters
from nolabel.methods.cups.validate import target_of
from nolabel.metrics import PanopticQuality
from nolabel.models.panoptic import PanopticCascadeMaskRCNN
from nolabel.structures.files import write_json

__all__ = ["FineTuneAugmentationConfig", "FineTuneConfig", "FineTuning", "fine_tune"]

MATCHED_IMAGES = 50
"""So many images are enough to see which class a cluster stands for."""


class FineTuneAugmentationConfig(Config):
    """How labelled images are changed before each step."""

    scales: tuple[pydantic.PositiveFloat, pydantic.PositiveFloat] = (0.5, 2.0)
    """Range of the size factor."""
    crop: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    """(height, width) in pixels of the random window cut out afterwards; null: the size of the image."""
    photometric: bool = True
    """Blur, colour jitter and grey images."""


class FineTuneConfig(PanopticTrainingConfig):
    """Fine-tuning on labelled images."""

    fit: FitConfig = FitConfig(steps=2000, batch_size=8, seed=1996, clip_norm=1.0)
    """Steps, batch size, seed, precision, devices."""
    images: int | None = pydantic.Field(None, ge=1)
    """How many labelled images to use, drawn at random; null: all."""
    images_seed: int = pydantic.Field(0, ge=0)
    """Of that draw: other seeds give other subsets, and more images contain those of fewer."""
    images_list: Path | None = None
    """Text file that names the images to use instead, one a line."""
    class_layers: Literal["matched", "new"] = "matched"
    """Begin every class as the clusters that stand for it, or as random numbers."""
    only_train_heads: bool = False
    """Keep ResNet, pyramid and the statistics of batch normalisations as they are."""
    confidence_threshold: float | None = pydantic.Field(None, ge=0, le=1)
    """Score from which instances are kept in predictions; null keeps the network's."""
    augmentation: FineTuneAugmentationConfig = FineTuneAugmentationConfig()
    """Changes to images and labels."""


class FineTuning(PanopticTraining):
    """Fine-tuning as the training loop sees it.

    Args:
        dataset: labelled images.
        start: the network that learnt without labels.
        config: the stage's settings.
        out: run folder.
        score: scores the network during training, by name.
    """

    def __init__(
        self,
        dataset: LabelledImages,
        start: CupsModel,
        config: FineTuneConfig,
        out: Path,
        *,
        score: Score | None = None,
    ) -> None:
        facts = {"fine_tuned_on": dataset.names, "space_of_labels": dataset.space.name}
        super().__init__(dataset, config, out, score=score, facts=facts)
        self.config, self._start, self._images = config, start, dataset

    def build(self) -> PanopticCascadeMaskRCNN:
        """Return the starting network with layers for the classes instead of its clusters."""
        config, network = self.config, self._start.network
        settings = replace(
            network.config,
            cascade=replace(network.config.cascade, drop_loss_threshold=None),
            semantic_class_weights=None,
        )
        if config.confidence_threshold is not None:
            settings = replace(settings, confidence_threshold=config.confidence_threshold)
        alignment = None
        if config.class_layers == "matched":
            known = self._start.space == self._images.space
            alignment = self._start.alignment if known else match_clusters(self._start, self._images)
        groups = clusters_of_classes(alignment, network.config.num_stuff, self._images.space)
        made = for_classes(network, settings, *groups, seed=config.fit.seed)
        made.train()
        if config.only_train_heads:
            made.freeze_backbone()
        return made

    def model(self) -> CupsModel:
        """Return the network as it is now; its clusters are the classes."""
        space = self._images.space
        return CupsModel(self.network).aligned((*space.stuff, *space.things), space)

    def augment(self, batch: list[Labelled], step: int, generator: torch.Generator) -> list[Labelled]:
        """Flip, change the size, cut a random window, change the colours."""
        settings = self.config.augmentation
        changed = [
            augment.flip_scale_and_crop(image, target, generator, settings.scales, settings.crop)
            for image, target in batch
        ]
        if not settings.photometric:
            return changed
        return [(augment.photometric(image, generator), target) for image, target in changed]


def match_clusters(model: CupsModel, dataset: LabelledImages) -> Sequence[int]:
    """Return the class of each cluster of a network, found on labelled images (255 = none)."""
    space = dataset.space
    metric = PanopticQuality(model.num_clusters, model.network.config.num_stuff, space)
    count = min(len(dataset), MATCHED_IMAGES)
    with Progress("match clusters with classes", count, unit="images") as progress:
        for index in range(count):
            sample = dataset.images[dataset.positions[index]]
            found = predict_clusters(model, [torch.as_tensor(sample["image"])])
            metric.update(found, target_of(sample)[None])
            progress.advance()
    return [int(label) for label in metric.compute().assignment]


def fine_tune(
    start: Path,
    dataset: LabelledImages,
    out: Path,
    config: FineTuneConfig,
    *,
    overwrite: bool = False,
    score: Score | None = None,
    progress: bool = True,
) -> CupsModel:
    """Fine-tune a network on labelled images and leave ``model.safetensors`` in the run folder.

    The result predicts the classes of the labels by name; ``images.json`` in the run folder lists what it has seen.

    Args:
        start: run folder or checkpoint of a network that learnt without labels.
        dataset: the labelled images.
        out: run folder; an unfinished run in it is continued exactly.
        config: the stage's settings.
        overwrite: start anew where a run with other settings was.
        score: scores the network during training, by name.
        progress: show progress on standard error.

    Raises:
        WeightsError: ``start`` is no CUPS network.
        ConfigError, TrainingError: see :func:`nolabel.engine.fit.fit`.
    """
    task = FineTuning(dataset, load_model(start), config, out, score=score)
    model = run_training(task, overwrite=overwrite, progress=progress)
    write_json(out / "images.json", dataset.names)
    return model
