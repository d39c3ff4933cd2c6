"""Stage 3: the network learns from its own averaged self on plain images (CUPS, section 3.4; spec cups_model 5).

A teacher looks at every image in several sizes and mirrored and labels it; a student learns these labels on changed
images; the teacher follows the student as a moving average. Backbone and pyramid stay as stage 2 left them, so
student and teacher are one backbone with two sets of heads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pydantic
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.engine.ema import update_average
from nolabel.engine.fit import FitConfig, TrainingTask, fit
from nolabel.engine.seeding import generator_of
from nolabel.methods.cups import augment
from nolabel.methods.cups.batch_augmentation import (
    BatchAugmentationConfig,
    Labelled,
    change_colours,
    change_size,
    paste_objects,
)
from nolabel.methods.cups.checkpoint import panoptic_from_checkpoint
from nolabel.methods.cups.model_file import MODEL_FILE, CupsModel, load_model, save_model
from nolabel.methods.cups.optimisation import OptimisationConfig, make_optimizer, set_learning_rate
from nolabel.methods.cups.self_labels import self_label
from nolabel.methods.cups.self_train_images import ImagesConfig
from nolabel.methods.cups.training_picture import draw_training_picture
from nolabel.methods.cups.validation_config import ValidationConfig
from nolabel.models.detection import RandomSampler
from nolabel.models.panoptic import MultiViewPredictor, PanopticCascadeMaskRCNN, PanopticTarget, ViewConfig
from nolabel.structures import ImageSample

__all__ = ["SelfAugmentationConfig", "SelfTrainConfig", "SelfTraining", "self_train"]

HEADS = ("proposal_generator", "roi_heads", "sem_seg_head")
"""The parts that are trained; the rest is shared by student and teacher."""


class SelfAugmentationConfig(BatchAugmentationConfig):
    """How images and the teacher's labels are changed before each step; the defaults are the published ones."""

    crop: tuple[float, float] = (0.5, 1.0)
    """Range of the height (and width) of a random window, as a share of the image's; one draw for each batch."""
    resolutions: tuple[float, ...] = tuple((384 + 32 * i) / 1024 for i in range(11))
    """Factors of the uncropped image's size of which one is drawn for each batch: the size of the window after
    resizing, rounded to multiples of 32."""


class SelfTrainConfig(OptimisationConfig):
    """Stage-3 training; the defaults are the published recipe."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"picture_every", "validation"})

    fit: FitConfig = FitConfig(steps=1500, batch_size=16, seed=1996, clip_norm=1.0, checkpoint_every=50)
    """Steps, batch size, seed, precision, devices."""
    images: ImagesConfig = ImagesConfig()
    """How the images are read."""
    learning_rate: float = pydantic.Field(1e-5, gt=0)
    """Of AdamW, constant after the warm-up."""
    teacher_rate: float = pydantic.Field(0.999, ge=0, le=1)
    """How much of the teacher stays after each step; the rest comes from the student."""
    view_scales: tuple[pydantic.PositiveFloat, ...] = pydantic.Field((0.5, 0.75, 1.0), min_length=1)
    """Sizes at which the teacher looks at an image, as factors of its size."""
    mirror_views: bool = True
    """Let the teacher look at every size mirrored too."""
    object_threshold: float = pydantic.Field(0.7, ge=0, le=1)
    """Objects that the teacher's views agree on with a higher score become labels."""
    semantic_threshold: float = pydantic.Field(0.5, ge=0, le=1)
    """Pixels become labels where a channel reaches this share of its highest probability in the image."""
    confidence_threshold: float | None = pydantic.Field(None, ge=0, le=1)
    """Score from which an object counts in one view and in predictions; null keeps the stage-2 network's."""
    augmentation: SelfAugmentationConfig = SelfAugmentationConfig()
    """Changes to images and labels."""
    picture_every: int | None = pydantic.Field(None, ge=1)
    """Steps between two pictures of image, teacher's label and student's prediction; null draws none."""
    validation: ValidationConfig = ValidationConfig()
    """How the networks are scored during training, where labelled images are given for that."""


class SelfTraining(TrainingTask):
    """Stage 3 as the training loop sees it.

    Args:
        images: plain images, of any sizes.
        start: the stage-2 model that student and teacher begin as.
        config: the stage's settings.
        out: run folder; the finished networks and the pictures are written there.
        score: scores a network during training, by name; student and teacher are scored.
    """

    def __init__(
        self,
        images: Dataset[ImageSample],
        start: CupsModel,
        config: SelfTrainConfig,
        out: Path,
        *,
        score: Callable[[CupsModel], dict[str, float]] | None = None,
    ) -> None:
        self.config, self.out = config, out
        self._images, self._start, self._score = images, start, score

    def networks(self) -> dict[str, nn.Module]:
        """Build student and teacher around one frozen backbone."""
        self.student, self.teacher = self._copy(), self._copy().requires_grad_(False)
        self.teacher.backbone = self.student.backbone
        self.student.freeze_backbone()
        for name, parameter in self.student.named_parameters():
            if "norm" in name:  # the group normalisations of the semantic head stay too
                parameter.requires_grad_(False)
        self.student.train()
        return {"student": self.student, "teacher": self.teacher}

    def _copy(self) -> PanopticCascadeMaskRCNN:
        network = self._start.network
        settings = replace(
            network.config,
            cascade=replace(network.config.cascade, drop_loss_threshold=None),
            semantic_class_weights=None,
        )
        return panoptic_from_checkpoint(network.state_dict(), settings)

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizer of the student's heads."""
        return {"student": make_optimizer(networks["student"], self.config)}

    def before_step(self, step: int) -> None:
        """Set the learning rate."""
        set_learning_rate(self.optimizer["student"], self.config, step, self.config.fit.steps)

    def after_step(self, step: int) -> None:
        """Move the teacher; write both networks once they are finished, before the last checkpoint."""
        for part in HEADS:
            update_average(
                self.teacher.get_submodule(part), self.student.get_submodule(part), self.config.teacher_rate
            )
        if step + 1 == self.config.fit.steps and self.fabric.global_rank == 0:
            steps = {"self_train_steps": step + 1}
            save_model(self.model_of(self.student), self.out / MODEL_FILE, teacher=self.teacher, **steps)

    def model_of(self, network: PanopticCascadeMaskRCNN) -> CupsModel:
        """Return a network with what the stage-2 model knew about its clusters."""
        return replace(self._start, network=network)

    def validation(self) -> dict[str, float]:
        """Score both networks where labelled images were given."""
        if self._score is None:
            return {}
        student = self._score(self.model_of(self.student))
        teacher = self._score(self.model_of(self.teacher))
        return student | {f"teacher_{name}": value for name, value in teacher.items()}

    def train_dataset(self) -> Dataset[ImageSample]:
        """Return the plain images."""
        return self._images

    def collate(self, samples: list[ImageSample]) -> list[ImageSample]:
        """Keep a batch as a list: its images may differ in size."""
        return samples

    def training_step(self, batch: list[ImageSample], step: int) -> dict[str, Tensor]:
        """Label the batch, augment it and return the losses by their official names."""
        # The loop seeds every micro-batch of every process anew.
        generator = generator_of(torch.initial_seed(), "augment")
        device = self.student.pixel_mean.device
        images = [torch.as_tensor(sample["image"]).as_subclass(Tensor) for sample in batch]
        targets = self.label(images)
        self._draw(step, images[0], targets[0])
        changed = self._augment(list(zip(images, targets, strict=True)), generator)
        sampler = RandomSampler(generator_of(torch.initial_seed(), "boxes", device=device))
        losses = self.modules["student"](
            [image for image, _ in changed], [target for _, target in changed], sampler=sampler
        )
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    @torch.no_grad()
    def label(self, images: Sequence[Tensor]) -> list[PanopticTarget]:
        """Return what the teacher sees in images (3, H_i, W_i)."""
        config, labels = self.config, []
        for image in images:
            short_side = min(image.shape[-2:])
            views = ViewConfig(
                short_sides=tuple(max(1, round(scale * short_side)) for scale in config.view_scales),
                mirror=config.mirror_views,
                score_threshold=config.object_threshold,
            )
            with self.fabric.autocast():
                (prediction,) = MultiViewPredictor(self.teacher, views)([image])
            labels.append(
                self_label(prediction.semantic_logits, prediction.panoptic, config.semantic_threshold)
            )
        return labels

    def _augment(self, batch: list[Labelled], generator: torch.Generator) -> list[Labelled]:
        """Copy-paste, colours, a random window, another size (spec 5.5)."""
        settings = self.config.augmentation
        sizes = [(image.shape[-2], image.shape[-1]) for image, _ in batch]
        changed = change_colours(paste_objects(batch, batch, settings, generator), settings, generator)
        share = augment.uniform(generator, *settings.crop)
        changed = [augment.random_window(image, target, share, generator) for image, target in changed]
        return change_size(changed, sizes, settings, generator)

    @torch.no_grad()
    def _draw(self, step: int, image: Tensor, target: PanopticTarget) -> None:
        every = self.config.picture_every
        if every is None or (step + 1) % every or self.fabric.global_rank != 0:
            return
        # Its batch normalisations are frozen: the student predicts the same in training mode.
        with self.fabric.autocast():
            (prediction,) = self.student.predict([image])
        path = self.out / "pictures" / f"step_{step + 1:06d}.png"
        draw_training_picture(
            path,
            self.model_of(self.student),
            image,
            target,
            prediction,
            titles=("teacher's label", "student"),
        )


def self_train(
    start: Path,
    images: Dataset[ImageSample],
    out: Path,
    config: SelfTrainConfig,
    *,
    overwrite: bool = False,
    score: Callable[[CupsModel], dict[str, float]] | None = None,
    progress: bool = True,
) -> CupsModel:
    """Train stage 3 and leave ``model.safetensors`` with student and teacher in the run folder.

    Args:
        start: stage-2 run folder or checkpoint.
        images: plain images (:func:`~nolabel.methods.cups.self_train_images.open_training_images`).
        out: run folder; an unfinished run in it is continued exactly.
        config: the stage's settings.
        overwrite: start anew where a run with other settings was.
        score: scores a network during training, by name; student and teacher (``teacher_...``) are scored.
        progress: show progress on standard error.

    Returns:
        The student, as :func:`nolabel.load` would give it; ``part="teacher"`` loads the other.

    Raises:
        WeightsError: ``start`` is no CUPS network.
        ConfigError, TrainingError: see :func:`nolabel.engine.fit.fit`.
    """
    model = load_model(start, confidence_threshold=config.confidence_threshold)
    task = SelfTraining(images, model, config, out, score=score)
    fit(task, config.fit, out, settings=config, overwrite=overwrite, progress=progress)
    return load_model(out / MODEL_FILE)
