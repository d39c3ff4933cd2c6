"""What both trainings share: optimizer, rates, scored samples, the finished network (unMORE specification, 5)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nolabel.config import Config
from nolabel.engine.fit import FitConfig, TrainingTask, fit
from nolabel.engine.run_folder import RunFolder, StageRecord
from nolabel.engine.segmentor_file import MODEL_FILE
from nolabel.methods.unmore.object_source import ObjectSource
from nolabel.methods.unmore.training_settings import RateConfig

__all__ = ["NetworkTraining", "TrainedNetwork", "build_optimizer", "run_training", "stepped_factor"]


@dataclass(frozen=True)
class TrainedNetwork:
    """What a training gave.

    Attributes:
        model: file of the network.
        metrics: of the last look.
        picture: the last picture of fields; None for the existence network.
        already_finished: the training was finished before.
    """

    model: Path
    metrics: dict[str, float]
    picture: Path | None = None
    already_finished: bool = False


def stepped_factor(step: int, milestones: Sequence[int], gamma: float) -> float:
    """Return the factor of the rate at a step (from 0): gamma to the number of milestones reached."""
    return gamma ** sum(milestone <= step for milestone in milestones)


def build_optimizer(network: nn.Module, config: RateConfig) -> torch.optim.Optimizer:
    """Build the optimizer of a network."""
    if config.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    return torch.optim.SGD(network.parameters(), lr=config.learning_rate, momentum=0.9, weight_decay=5e-5)


class NetworkTraining(TrainingTask):
    """A training of one network.

    Args:
        rate: how fast.
        loop: settings of the loop.
        source: images and objects.
        held_out: part of the images that is not learned from.
        out: run folder.
    """

    def __init__(
        self, rate: RateConfig, loop: FitConfig, source: ObjectSource, held_out: float, out: Path
    ) -> None:
        self.rate_config, self.loop, self.source, self.out = rate, loop, source, Path(out)
        self.learned, self.looked_at = source.split(held_out)
        # Under reference_compat, where this call began and the factor of the rate it began with.
        self.begun, self.first_factor, self.done = 0, 1.0, 0

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return the network's optimizer."""
        return {"network": build_optimizer(networks["network"], self.rate_config)}

    def sample_summary(self) -> str:
        """Count objects and images."""
        size = self.loop.batch_size * self.loop.accumulate
        images = len(set(self.source.images))
        return f"{size} of {len(self.learned)} objects ({images} images)"

    def factor(self, step: int) -> float:
        """Return the factor of the learning rate at a step."""
        since = step - self.begun
        return self.first_factor * stepped_factor(since, self.rate_config.milestones, self.rate_config.gamma)

    def before_step(self, step: int) -> None:
        """Set the learning rate."""
        for group in self.optimizer["network"].param_groups:
            group["lr"] = self.rate_config.learning_rate * self.factor(step)

    def after_step(self, step: int) -> None:
        """Write the network once it is finished: before the last checkpoint, so that no kill can lose it."""
        self.done = step + 1
        if self.done == self.loop.steps and self.fabric.global_rank == 0:
            self.save(self.out / MODEL_FILE)

    def save(self, path: Path) -> None:
        """Write the network."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the steps done and the factor of the rate there."""
        return {"done": self.done, "factor": self.factor(self.done)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on; the schedule is a function of the step, except as the original executes it."""
        self.done = state["done"]
        if self.rate_config.reference_compat:
            # The original restores the optimizer's rate but not the schedule, which counts from 0 again.
            self.begun, self.first_factor = state["done"], state["factor"]


def run_training(
    task: NetworkTraining, config: Config, *, device: str, overwrite: bool, progress: bool
) -> TrainedNetwork:
    """Train, or go on, and leave ``model.safetensors`` in the run folder, without the larger checkpoints."""
    record = StageRecord(settings=config, inputs={"objects": task.source.identity})
    result = fit(
        task, task.loop, task.out, settings=record, device=device, overwrite=overwrite, progress=progress
    )
    shutil.rmtree(RunFolder(task.out).checkpoints, ignore_errors=True)
    return TrainedNetwork(task.out / MODEL_FILE, result.metrics, already_finished=result.already_finished)
