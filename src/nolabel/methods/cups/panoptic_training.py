"""Training one panoptic network on labels: what stage 2 and fine-tuning share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pydantic
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.engine.fit import FitConfig, TrainingTask, fit
from nolabel.engine.seeding import generator_of
from nolabel.methods.cups.batch_augmentation import Labelled
from nolabel.methods.cups.model_file import MODEL_FILE, CupsModel, load_model, save_model
from nolabel.methods.cups.optimisation import OptimisationConfig, make_optimizer, set_learning_rate
from nolabel.methods.cups.pseudo_label_dataset import TrainingSample
from nolabel.methods.cups.training_picture import draw_training_picture
from nolabel.methods.cups.validation_config import ValidationConfig
from nolabel.models.detection import RandomSampler
from nolabel.models.panoptic import PanopticCascadeMaskRCNN

__all__ = ["PanopticTraining", "PanopticTrainingConfig", "Score", "run_training"]

Score = Callable[[CupsModel], dict[str, float]]
"""Scores a network during training, by name."""


class PanopticTrainingConfig(OptimisationConfig):
    """What every training on labels can be told."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"picture_every", "validation"})

    fit: FitConfig
    """Steps, batch size, seed, precision, devices."""
    picture_every: int | None = pydantic.Field(None, ge=1)
    """Steps between two pictures of image, label and prediction (published: 100); null draws none."""
    validation: ValidationConfig = ValidationConfig()
    """How the network is scored during training, where labelled images are given for that."""


class PanopticTraining(TrainingTask):
    """A training of one network as the loop sees it; subclasses build the network and augment.

    Args:
        dataset: images with targets.
        config: the stage's settings.
        out: run folder; the finished network and the pictures are written there.
        score: scores the network during training.
        facts: what the card of the finished network says about its training.
    """

    network: PanopticCascadeMaskRCNN

    def __init__(
        self,
        dataset: Dataset[TrainingSample],
        config: PanopticTrainingConfig,
        out: Path,
        *,
        score: Score | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings, self.out, self._dataset = config, out, dataset
        self._score, self._facts = score, facts or {}

    def build(self) -> PanopticCascadeMaskRCNN:
        """Return the network to train."""
        raise NotImplementedError

    def augment(self, batch: list[Labelled], step: int, generator: torch.Generator) -> list[Labelled]:
        """Change images and labels of a batch; ``generator`` is the only source of chance."""
        raise NotImplementedError

    def model(self) -> CupsModel:
        """Return the network as it is now with the meaning of its clusters."""
        return CupsModel(self.network)

    def networks(self) -> dict[str, nn.Module]:
        """Build the one network."""
        self.network = self.build()
        return {"network": self.network}

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizer of what the network trains."""
        return {"network": make_optimizer(networks["network"], self.settings)}

    def before_step(self, step: int) -> None:
        """Set the learning rate."""
        set_learning_rate(self.optimizer["network"], self.settings, step, self.settings.fit.steps)

    def after_step(self, step: int) -> None:
        """Write the network once it is finished: before the last checkpoint, so that no kill can lose it."""
        if step + 1 == self.settings.fit.steps and self.fabric.global_rank == 0:
            save_model(self.model(), self.out / MODEL_FILE, steps=step + 1, **self._facts)

    def validation(self) -> dict[str, float]:
        """Score the network where labelled images were given."""
        return {} if self._score is None else self._score(self.model())

    def train_dataset(self) -> Dataset[TrainingSample]:
        """Return the labelled images."""
        return self._dataset

    def collate(self, samples: list[TrainingSample]) -> list[TrainingSample]:
        """Keep a batch as a list: its images may differ in size."""
        return samples

    def training_step(self, batch: list[TrainingSample], step: int) -> dict[str, Tensor]:
        """Augment the batch and return the losses by their official names."""
        device = self.network.pixel_mean.device
        given = [sample.to(device) for sample in batch]
        # The loop seeds every micro-batch of every process anew.
        generator = generator_of(torch.initial_seed(), "augment")
        changed = self.augment([(s.image, s.target) for s in given], step, generator)
        self._draw(step, changed)
        sampler = RandomSampler(generator_of(torch.initial_seed(), "boxes", device=device))
        images, targets = [image for image, _ in changed], [target for _, target in changed]
        losses = self.modules["network"](images, targets, sampler=sampler)
        self.look_back(given, step)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def look_back(self, batch: list[TrainingSample], step: int) -> None:
        """Do what the next step needs from this step's samples, as they were before augmentation."""

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[Any]:
        """Return the present network's predictions; it is back in training mode afterwards."""
        self.network.eval()
        with self.fabric.autocast():
            predictions = self.network.predict(images)
        self.network.train()
        return predictions

    def _draw(self, step: int, batch: list[Labelled]) -> None:
        every = self.settings.picture_every
        if every is None or (step + 1) % every or self.fabric.global_rank != 0:
            return
        image, target = batch[0]
        path = self.out / "pictures" / f"step_{step + 1:06d}.png"
        draw_training_picture(path, self.model(), image, target, self.predict([image])[0])


def run_training(task: PanopticTraining, *, overwrite: bool = False, progress: bool = True) -> CupsModel:
    """Run a training task to its end and return its network, which then lies in the run folder."""
    fit(task, task.settings.fit, task.out, settings=task.settings, overwrite=overwrite, progress=progress)
    return load_model(task.out / MODEL_FILE)
