"""Training a segmentation network on the source, or on source and pseudo-labelled target: every stage's training.

Source: Co-Training specification, 2.3, 2.11, 2.14 and section 3 (loss).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.data.colour_transfer import LabStatistics
from nolabel.data.domain_images import SourceImages
from nolabel.data.mixing import NUM_IDS, listed_classes
from nolabel.data.sampling import ClassStatistics
from nolabel.engine.fit import TrainingTask, fit
from nolabel.engine.run_folder import RunFolder, StageRecord
from nolabel.engine.schedules import polynomial_decay
from nolabel.engine.seeding import generator_of
from nolabel.engine.segmentor_file import MODEL_FILE, SegmentorModel, save_model
from nolabel.methods.cotraining.batches import mixed_batch
from nolabel.methods.cotraining.class_mix import classes_on_demand, random_classes
from nolabel.methods.cotraining.losses import hard_pixel_cross_entropy
from nolabel.methods.cotraining.optimiser import sgd_with_decay
from nolabel.methods.cotraining.selection import SelectedLabel
from nolabel.methods.cotraining.settings import MixedTrainingConfig, TrainingConfig
from nolabel.methods.cotraining.training_data import StepBatch, StepBatches
from nolabel.models.segmentation import enlarge

__all__ = ["Score", "SourceData", "train_network"]

Score = Callable[[SegmentorModel], dict[str, float]]
"""Scores a network on labelled target images, by name; ``miou`` in [0, 1] is among them."""


class SourceData:
    """The source as trainings take it.

    Args:
        images: labelled images.
        colours: statistics of target images for translation at every look; None for images that are translated.
        statistics: of its classes, where rare ones are drawn.
    """

    def __init__(
        self,
        images: SourceImages,
        *,
        colours: LabStatistics | None = None,
        statistics: ClassStatistics | None = None,
    ) -> None:
        self.images, self.colours, self.statistics = images, colours, statistics


class SegmentationTraining(TrainingTask):
    """One training as the loop sees it.

    Args:
        build: returns the network to start from.
        batches: the data.
        config: settings.
        out: run folder; the finished network is written there.
        thresholds: (classes + 1,) of this cycle, for pasting classes on demand; a random half is pasted without them.
        score: scores the network during training.
    """

    def __init__(
        self,
        build: Callable[[], SegmentorModel],
        batches: StepBatches,
        config: TrainingConfig,
        out: Path,
        *,
        thresholds: Tensor | None = None,
        score: Score | None = None,
    ) -> None:
        self.build, self.batches, self.config, self.out = build, batches, config, out
        self.thresholds, self.score = thresholds, score
        self.num_classes = batches.num_classes
        self.rate = polynomial_decay(config.fit.steps, warmup_steps=config.warmup_steps)

    def networks(self) -> dict[str, nn.Module]:
        """Build the one network."""
        self.model = self.build()
        return {"network": self.model.network.train()}

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD without decay on normalisations."""
        config = self.config
        optimiser, _ = sgd_with_decay(
            networks["network"], config.learning_rate, config.fit.steps, weight_decay=config.weight_decay
        )
        return {"network": optimiser}

    def train_dataset(self) -> Dataset[Any]:
        """Return the batches."""
        return self.batches

    def sample_summary(self) -> str:
        """Count images, for a sample is a whole batch."""
        return self.batches.summary()

    def collate(self, samples: list[StepBatch]) -> StepBatch:
        """A sample is a whole batch already."""
        return samples[0]

    def before_step(self, step: int) -> None:
        """Set the learning rate."""
        for group in self.optimizer["network"].param_groups:
            group["lr"] = self.config.learning_rate * self.rate(step)

    def training_step(self, batch: StepBatch, step: int) -> dict[str, Tensor]:
        """Mix, predict, and return the loss of the hardest pixels."""
        images, labels = batch.source
        if batch.target is not None:
            ratio = self.config.mix_ratio if isinstance(self.config, MixedTrainingConfig) else None
            images, labels = mixed_batch(batch.source, batch.target, self._choice(batch.number), ratio=ratio)
        size = (images.shape[-2], images.shape[-1])
        logits = enlarge(self.modules["network"](images), self.model.network.stride, size)
        loss = hard_pixel_cross_entropy(
            logits, labels, fraction=self.config.hard_fraction, ignore_index=self.num_classes
        )
        return {"loss": loss}

    def after_step(self, step: int) -> None:
        """Write the network once it is finished: before the last checkpoint, so that no kill can lose it."""
        if step + 1 == self.config.fit.steps and self.fabric.global_rank == 0:
            save_model(self.model, self.out / MODEL_FILE, steps=step + 1)

    def validation(self) -> dict[str, float]:
        """Score the network where labelled target images were given."""
        return {} if self.score is None else self.score(self.model)

    def _choice(self, index: int) -> Callable[[Tensor], Tensor] | None:
        """Return the rule by which classes are pasted."""
        config = self.config
        if not isinstance(config, MixedTrainingConfig) or config.mix == "none":
            return None
        if config.mix == "listed":
            return lambda labels: listed_classes(config.mix_classes, len(labels)).to(labels.device)
        if config.mix == "random" or self.thresholds is None:
            generator = generator_of(config.fit.seed, "pasted classes", index)
            return lambda labels: random_classes(
                labels, torch.rand(len(labels), NUM_IDS, generator=generator)
            )
        thresholds = self.thresholds
        return lambda labels: classes_on_demand(labels, thresholds)


def train_network(
    build: Callable[[], SegmentorModel],
    source: SourceData,
    out: Path,
    config: TrainingConfig,
    inputs: Mapping[str, str],
    *,
    pseudo_labels: Sequence[SelectedLabel] = (),
    thresholds: Tensor | None = None,
    score: Score | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train, or go on, and leave ``model.safetensors`` in the run folder.

    Args:
        build: returns the network to start from, in any state of the random generators the same.
        source: labelled images.
        out: run folder.
        config: settings.
        inputs: hashes of what the training starts from, by name.
        pseudo_labels: of the target, for a :class:`MixedTrainingConfig`.
        thresholds: (classes + 1,) for pasting classes on demand.
        score: scores the network (``fit.validate_every`` and at the end).
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Returns:
        The network's file.

    Raises:
        ConfigError: the folder holds a run with other settings or inputs.
    """
    out = Path(out)
    settings = config.fit
    count = settings.steps * settings.accumulate * settings.devices * settings.nodes
    batches = StepBatches(
        source.images, pseudo_labels, config, count, colours=source.colours, statistics=source.statistics
    )
    task = SegmentationTraining(build, batches, config, out, thresholds=thresholds, score=score)
    record = StageRecord(settings=config, inputs={**inputs, "source": source.images.identity})
    # A sample is a whole batch.
    loop = settings.model_copy(update={"batch_size": 1})
    fit(task, loop, out, settings=record, device=device, overwrite=overwrite, progress=progress)
    shutil.rmtree(
        RunFolder(out).checkpoints, ignore_errors=True
    )  # the network is there; this is ten times larger
    return out / MODEL_FILE
