"""Self-distillation: a student learns to say what its own running average says about another view (DINO, section 3.1).

The run folder holds ``model.safetensors``, the teacher's backbone, the log, and pictures of the features. A run that was
stopped goes on exactly.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.data.labelled import LabelledDataset
from nolabel.engine.ema import update_average
from nolabel.engine.feature_extractors import load_features, save_features
from nolabel.engine.feature_probes import ProbeSettings, probe_features
from nolabel.engine.fit import TrainingTask, fit
from nolabel.engine.run_folder import RunFolder, StageRecord
from nolabel.engine.schedules import cosine_ramp
from nolabel.engine.segmentor_file import MODEL_FILE
from nolabel.methods.pretraining.feature_heads import DistillationNetwork
from nolabel.methods.pretraining.feature_images import images_identity
from nolabel.methods.pretraining.feature_losses import (
    Balancing,
    Collapse,
    OutputStatistics,
    collapse_of,
    cross_entropy,
    statistics_of,
)
from nolabel.methods.pretraining.feature_pictures import draw_features
from nolabel.methods.pretraining.feature_settings import BackboneConfig, FeaturePretrainingConfig
from nolabel.methods.pretraining.feature_views import ViewBatch, ViewsOfImages
from nolabel.models.features import FeatureExtractor, build_backbone
from nolabel.structures import ImageSample
from nolabel.weights.strict import strict_state

__all__ = ["FeatureTraining", "PretrainedFeatures", "pretrain_features"]

PICTURES = "pictures"
COLLAPSES: dict[Collapse, str] = {
    "constant": "the teacher gives every cell the same output (collapse to a constant): raise the weight of what spreads "
    "outputs (distillation.balancing=sinkhorn, or a lower distillation.centre_momentum), or lower the learning rate",
    "uniform": "the teacher's outputs are uniform, they say nothing about any cell (collapse to the uniform distribution): "
    "lower distillation.teacher_temperature, or begin with a lower one (teacher_temperature_start)",
}


@dataclass(frozen=True)
class PretrainedFeatures:
    """What a pretraining gave.

    Attributes:
        model: file of the network.
        metrics: of the last look: ``knn_miou``, ``linear_miou`` where labels were at hand, ``entropy``, ``marginal`` and
            ``spread`` (:class:`~nolabel.methods.pretraining.feature_losses.OutputStatistics`), ``collapsed``.
        already_finished: it was finished before.
    """

    model: Path
    metrics: dict[str, float]
    already_finished: bool = False

    @property
    def warning(self) -> str | None:
        """What went wrong, in plain words; None if nothing did."""
        return warning_of(self.metrics)


def warning_of(metrics: Mapping[str, float]) -> str | None:
    """Say in plain words how outputs have collapsed; None if they have not."""
    kind = collapse_of(metrics["entropy"], metrics["marginal"], metrics["spread"]) if metrics else None
    return COLLAPSES[kind] if kind else None


class FeatureTraining(TrainingTask):
    """The training as the loop sees it.

    Args:
        config: settings.
        images: what is learned from.
        out: run folder.
        probed: labelled pictures that the probes learn from, and those that they are scored on; no scores if None.
    """

    def __init__(
        self,
        config: FeaturePretrainingConfig,
        images: Dataset[ImageSample],
        out: Path,
        probed: tuple[LabelledDataset, LabelledDataset] | None = None,
    ) -> None:
        self.config, self.images, self.out, self.probed = config, images, Path(out), probed
        self.done = 0
        self.latest: OutputStatistics | None = None

    # --- what is trained --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Build student, teacher (a copy that has no gradients) and what balances the teacher's outputs."""
        config, balance = self.config, self.config.distillation
        student = DistillationNetwork(start_backbone(config.network, student=True), config)
        self.teacher = DistillationNetwork(start_backbone(config.network), config)
        self.teacher.load_state_dict(student.state_dict())
        self.teacher.requires_grad_(False)
        self.balancing = nn.ModuleDict(
            {
                name: Balancing(
                    prototypes, balance.balancing, balance.centre_momentum, balance.sinkhorn_iterations
                )
                for name, prototypes in (
                    ("image", config.heads.prototypes),
                    ("dense", config.heads.dense_prototypes),
                )
            }
        )
        self.student = student
        if self.fabric.world_size > 1 and self.fabric.device.type == "cuda":
            student = self.student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
        if config.network.compile:
            student.compile()
            self.teacher.compile()
        return {"student": student, "teacher": self.teacher, "balancing": self.balancing}

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW; biases, norms and prototypes without weight decay."""
        groups: dict[str, list[nn.Parameter]] = {"decayed": [], "plain": [], "prototypes": []}
        for name, parameter in networks["student"].named_parameters():
            kind = (
                "prototypes" if name.endswith("prototypes") else "decayed" if parameter.ndim > 1 else "plain"
            )
            groups[kind].append(parameter)
        return {
            "student": torch.optim.AdamW(
                [{"params": params, "kind": kind} for kind, params in groups.items() if params],
                lr=self.config.rates.learning_rate,
            )
        }

    def train_dataset(self) -> ViewsOfImages:
        """Return the views."""
        return ViewsOfImages(self.images, self.config.crops)

    # --- a step -----------------------------------------------------------------------------------------------

    def before_step(self, step: int) -> None:
        """Set learning rate and weight decay; the prototypes keep still at first."""
        rates, fit, heads = self.config.rates, self.config.fit, self.config.heads
        batch = fit.batch_size * fit.accumulate * fit.devices * fit.nodes
        highest = rates.learning_rate * batch / rates.reference_batch
        warmup = round(rates.warmup * fit.steps)
        rate = cosine_ramp(step, fit.steps, highest, rates.final_rate, warmup=warmup)
        decay = cosine_ramp(step, fit.steps, *rates.weight_decay)
        for group in self.optimizer["student"].param_groups:
            group["lr"] = 0.0 if group["kind"] == "prototypes" and step < heads.frozen_steps else rate
            group["weight_decay"] = decay if group["kind"] == "decayed" else 0.0

    def teacher_temperature(self, step: int) -> float:
        """Return the temperature of the teacher's outputs at a step."""
        settings = self.config.distillation
        along = step / max(1.0, settings.temperature_warmup * self.config.fit.steps)
        start, end = settings.teacher_temperature_start, settings.teacher_temperature
        return start + (end - start) * min(1.0, along)

    def training_step(self, batch: ViewBatch, step: int) -> dict[str, Tensor]:
        """Compare the student's outputs with the teacher's about the other views."""
        batch = ViewBatch(*batch)
        temperature, objective = self.teacher_temperature(step), self.config.objective
        with torch.no_grad(), self.fabric.autocast():
            image, dense, maps = self.modules["teacher"](batch.teacher, batch.local[:, :0], batch.points)
        seen_image, seen_dense, _ = self.modules["student"](batch.student, batch.local, batch.points)
        losses: dict[str, Tensor] = {}
        shown: Tensor | None = None
        if image is not None:
            shown = self.balancing["image"](image, temperature)
            losses["image"] = self._image_loss(shown, seen_image)
        if dense is not None:
            shown = self.balancing["dense"](dense, temperature)
            # Each place as the other view's teacher sees it.
            losses["dense"] = cross_entropy(
                shown.flip(0), seen_dense, self.config.distillation.student_temperature
            )
        loss = sum(getattr(objective, name) * value for name, value in losses.items())
        assert shown is not None
        self.latest = statistics_of(shown, maps)
        return {"loss": cast(Tensor, loss), **losses, **self.latest._asdict()}

    def _image_loss(self, targets: Tensor, outputs: Tensor) -> Tensor:
        """Mean over all pairs of a teacher's view (2, B, K) and another view of the student (2 + L, B, K)."""
        temperature = self.config.distillation.student_temperature
        pairs = [
            cross_entropy(target, output, temperature)
            for place, target in enumerate(targets)
            for other, output in enumerate(outputs)
            if place != other
        ]
        return torch.stack(pairs).mean()

    def after_step(self, step: int) -> None:
        """Move the teacher."""
        momentum = cosine_ramp(step, self.config.fit.steps, *self.config.distillation.momentum)
        update_average(self.teacher, self.student, momentum)
        self.done = step + 1

    # --- what comes of it -------------------------------------------------------------------------------------

    def validation(self) -> dict[str, float]:
        """Score the teacher's features, draw them, say if they collapsed, and write the network."""
        look, backbone = self.config.look, self.teacher.backbone
        metrics = {k: float(v) for k, v in self.latest._asdict().items()} if self.latest else {}
        if self.probed is not None:
            settings = ProbeSettings(look.references, look.queries, look.cells, look.neighbours)
            metrics = probe_features(backbone, *self.probed, settings, self.fabric.device).values() | metrics
        warning = warning_of(metrics)
        if self.fabric.global_rank == 0:
            if warning:
                print(f"warning: {warning}", file=sys.stderr)
            if look.pictures:
                draw_features(
                    self.out / PICTURES / f"step_{self.done:08d}.png",
                    backbone,
                    self.probed[1] if self.probed else self.images,
                    look.pictures,
                    self.fabric.device,
                )
            self._save(metrics)
        return {**metrics, "collapsed": float(warning is not None)}

    def _save(self, metrics: Mapping[str, float]) -> None:
        network = self.config.network
        save_features(
            self.teacher.backbone,
            self.out / MODEL_FILE,
            network.architecture,
            network.options,
            described=network.described,
            store=self.config.store,
            steps=self.done,
            pictures=len(self.images),  # type: ignore[arg-type]
            seed=self.config.fit.seed,
            scores=dict(metrics),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the steps done."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on."""
        self.done = state["done"]


def start_backbone(config: BackboneConfig, *, student: bool = False) -> FeatureExtractor:
    """Build the network that a training starts from.

    Raises:
        ConfigError: no such network.
        WeightsError: the file to start from holds another one.
    """
    options = dict(config.options)
    if student and config.drop_path and config.architecture.startswith(("vit", "deit")):
        options["drop_path"] = config.drop_path
    network = build_backbone(config.architecture, options)
    if config.initial is not None:
        given = load_features(config.initial, bare=True).state_dict()
        network.load_state_dict(strict_state(network.state_dict(), given))
    return network.train()


def pretrain_features(
    config: FeaturePretrainingConfig,
    images: Dataset[ImageSample],
    out: str | Path,
    *,
    probed: tuple[LabelledDataset, LabelledDataset] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> PretrainedFeatures:
    """Train, or go on, and leave ``model.safetensors`` in the run folder.

    Args:
        config: settings.
        images: pictures, of any sizes.
        out: run folder.
        probed: labelled pictures that probes learn from, and others that they are scored on. Nothing else learns from them.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings or pictures.
        DataError: pictures cannot be read.
        WeightsError: the file to start from does not fit.
    """
    task = FeatureTraining(config, images, Path(out), probed)
    record = StageRecord(settings=config, inputs={"images": images_identity(images)})
    result = fit(
        task, config.fit, out, settings=record, device=device, overwrite=overwrite, progress=progress
    )
    shutil.rmtree(RunFolder(out).checkpoints, ignore_errors=True)
    return PretrainedFeatures(Path(out) / MODEL_FILE, result.metrics, result.already_finished)
