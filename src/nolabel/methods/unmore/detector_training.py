"""Training of the class-agnostic detector on the objects that the stages before it found (unMORE, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nolabel.engine.batches import StepSampler, make_loader, to_device
from nolabel.engine.fit import TrainingTask, fit
from nolabel.engine.gradient_clipping import clip_each_tensor
from nolabel.engine.precise_norm import measure_norms
from nolabel.engine.seeding import generator_of, preserved_random_state
from nolabel.methods.unmore.detector_copy_paste import copy_and_paste
from nolabel.methods.unmore.detector_data import DetectorData
from nolabel.methods.unmore.detector_model import (
    MODEL_FILE,
    DetectorModel,
    load_detector,
    load_initial_weights,
    save_detector,
)
from nolabel.methods.unmore.detector_picture import draw_training_picture
from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.methods.unmore.detector_settings import DetectorConfig
from nolabel.models.detection import ClassAgnosticConfig, ClassAgnosticMaskRCNN, RandomSampler

__all__ = ["DetectorTraining", "build_detector", "learning_rate_factor", "train_detector"]

Score = Callable[[DetectorModel], dict[str, float]]
"""Scores a network during training, by name."""
NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def train_detector(
    data: DetectorData,
    out: Path,
    config: DetectorConfig,
    *,
    device: str = "auto",
    overwrite: bool = False,
    score: Score | None = None,
    progress: bool = True,
) -> DetectorModel:
    """Train a detector and leave ``model.safetensors`` in the run folder.

    Args:
        data: images with objects.
        out: run folder; an unfinished run in it is continued exactly.
        config: the stage's settings.
        device: where to train.
        overwrite: start anew where a run with other settings was.
        score: scores the network during training, by name.
        progress: show progress on standard error.
    """
    task = DetectorTraining(data, out, config, score)
    fit(task, config.fit, out, settings=config, device=device, overwrite=overwrite, progress=progress)
    return load_detector(out)


class DetectorTraining(TrainingTask):
    """The training as the loop sees it.

    Args:
        data: images with objects.
        out: run folder; the finished network and the pictures are written there.
        config: the stage's settings.
        score: scores the network during training, by name.
    """

    network: ClassAgnosticMaskRCNN

    def __init__(
        self, data: DetectorData, out: Path, config: DetectorConfig, score: Score | None = None
    ) -> None:
        self.data, self.out, self.config, self._score = data, out, config, score

    def networks(self) -> dict[str, nn.Module]:
        """Build the one network."""
        self.network = build_detector(self.config)
        if self.config.normalisation == "frozen":
            self.network.freeze_norms()
        elif self.config.normalisation == "sync" and self._has_accelerators():
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        return {"network": self.network}

    def model(self) -> DetectorModel:
        """Return the network as it is now."""
        return DetectorModel(self.network, self.config.input_sides)

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return gradient descent with momentum, without weight decay for normalisations."""
        config = self.config
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in networks["network"].modules():
            own = [p for p in module.parameters(recurse=False) if p.requires_grad]
            (plain if isinstance(module, NORMALISATIONS) else decayed).extend(own)
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
        if config.tensor_clip_norm is not None:
            clip_each_tensor(optimizer, config.tensor_clip_norm)
        return {"network": optimizer}

    def before_step(self, step: int) -> None:
        """Set the learning rate."""
        for group in self.optimizer["network"].param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_factor(step, self.config)

    def after_step(self, step: int) -> None:
        """Measure normalisations and write the network once it is finished: before the last checkpoint."""
        if step + 1 < self.config.fit.steps:
            return
        if self.config.precise_norm_batches and self.config.normalisation != "frozen":
            self._measure_norms()
        if self.fabric.global_rank == 0:
            facts = {"steps": step + 1, "images": len(self.data.images)}
            save_detector(self.model(), self.out / MODEL_FILE, **facts)

    def validation(self) -> dict[str, float]:
        """Score the network where labelled images were given."""
        return {} if self._score is None else self._score(self.model())

    def train_dataset(self) -> DetectorData:
        """Return the images with objects."""
        return self.data

    def sample_summary(self) -> str:
        """Say how many images there are, and of how many a step is made."""
        fit_config = self.config.fit
        step = fit_config.batch_size * fit_config.accumulate * fit_config.devices * fit_config.nodes
        objects = sum(len(image.instances) for image in self.data.images)
        return f"{step} of {len(self.data.images)} images with {objects} objects a step"

    def collate(self, samples: list[DetectorSample]) -> list[DetectorSample]:
        """Keep a batch as a list: its images differ in size."""
        return samples

    def training_step(self, batch: list[DetectorSample], step: int) -> dict[str, Tensor]:
        """Paste objects from image to image and return the losses by their official names."""
        device = self.network.pixel_mean.device
        # The loop seeds every micro-batch of every process anew.
        changed = self._pasted(batch, generator_of(torch.initial_seed(), "copy-paste"))
        self._draw(step, changed[0])
        sampler = RandomSampler(generator_of(torch.initial_seed(), "boxes", device=device))
        images = [sample.picture() for sample in changed]
        targets = [self._target(sample) for sample in changed]
        losses = self.modules["network"](images, targets, sampler=sampler)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _has_accelerators(self) -> bool:
        """Whether there are several: processors have no normalisation over all processes."""
        return self.fabric.world_size > 1 and self.fabric.device.type == "cuda"

    def _target(self, sample: DetectorSample) -> Any:
        target = sample.target(soft=self.config.soft_targets)
        return replace(target, trusted_background=target.complete and self.config.trust_single_objects)

    def _pasted(self, batch: list[DetectorSample], generator: torch.Generator) -> list[DetectorSample]:
        config = self.config
        return copy_and_paste(batch, config.copy_paste, generator, reference_compat=config.reference_compat)

    def _measure_norms(self) -> None:
        """Pass batches through the network as training does, without learning from them."""
        config, fabric, device = self.config, self.fabric, self.network.pixel_mean.device
        first, count = config.fit.steps * config.fit.accumulate, config.precise_norm_batches
        sampler = StepSampler(
            config.fit.batch_size,
            first,
            first + count,
            rank=fabric.global_rank,
            processes=fabric.world_size,
        )

        loader = make_loader(
            self.data, self.collate, sampler, seed=config.fit.seed, workers=config.fit.workers
        )

        def run(numbered: tuple[int, list[DetectorSample]]) -> None:
            number, batch = numbered
            generator = generator_of(config.fit.seed, "norms", number, fabric.global_rank)
            changed = self._pasted(to_device(batch, device), generator)
            with fabric.autocast():
                self.network.extract([sample.picture() for sample in changed])

        def mean(value: Tensor) -> Tensor:
            reduced: Any = fabric.all_reduce(value, reduce_op="mean")
            return reduced

        self.network.train()
        with preserved_random_state():
            measure_norms(self.network, enumerate(loader), run, reduce=mean)

    @torch.no_grad()
    def _draw(self, step: int, sample: DetectorSample) -> None:
        every = self.config.picture_every
        if every is None or (step + 1) % every or self.fabric.global_rank != 0:
            return
        modes = [(module, module.training) for module in self.network.modules()]
        self.network.eval()
        with self.fabric.autocast():
            (found,) = self.network.predict([sample.picture()])
        for module, mode in modes:
            module.training = mode
        draw_training_picture(self.out / "pictures" / f"step_{step + 1:06d}.png", sample, found)


def build_detector(config: DetectorConfig) -> ClassAgnosticMaskRCNN:
    """Return a new network, filled with the initial weights of the settings."""
    settings = ClassAgnosticConfig() if config.network == "resnet50" else ClassAgnosticConfig.tiny()
    cascade = replace(
        settings.cascade,
        drop_loss_threshold=config.drop_loss_threshold,
        reference_compat=config.reference_compat,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.fit.seed)
        network = ClassAgnosticMaskRCNN(replace(settings, cascade=cascade))
    if config.initial_weights is not None:
        load_initial_weights(network, config.initial_weights)
    return network


def learning_rate_factor(step: int, config: DetectorConfig) -> float:
    """Return the factor of the learning rate at a step: linear warm-up, then a drop at every given step."""
    drops = config.drop_factor ** sum(step >= drop for drop in config.drop_steps)
    if step >= config.warmup_steps:
        return drops
    along = step / config.warmup_steps
    return drops * (config.warmup_factor * (1 - along) + along)
