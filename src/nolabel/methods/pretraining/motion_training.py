"""Self-supervised training of flow and stereo: one RAFT learns both from footage without labels.

Stages follow each other (:class:`~nolabel.methods.pretraining.motion_settings.MotionStageConfig`): pictures set in motion
teach matching, real pairs bring real motion by the census of their images, with occlusions left out as soon as they can be
told, and at last the network's own view of whole images teaches what is hidden in a crop (SMURF, CVPR 2021). Left and
right views are pairs like any other, whose motion must be along the rows.

The run folder holds ``model.safetensors``, pictures and the log. A run that was stopped goes on exactly.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.engine.fit import TrainingTask, fit
from nolabel.engine.fit_config import TrainedStage
from nolabel.engine.run_folder import RunFolder, StageRecord, surroundings
from nolabel.engine.schedules import polynomial_decay
from nolabel.engine.segmentor_file import MODEL_FILE, model_path
from nolabel.methods.pretraining.motion_data import Footage, MotionBatch, MotionSample, collate_motion
from nolabel.methods.pretraining.motion_files import save_motion, start_motion
from nolabel.methods.pretraining.motion_guide import classical_flow
from nolabel.methods.pretraining.motion_looks import look_at_motion
from nolabel.methods.pretraining.motion_losses import (
    PairViews,
    known_flow_loss,
    partnered,
    photometric_sequence_loss,
    sequence_loss,
    smoothness_loss,
    teacher_loss,
    upright_loss,
)
from nolabel.methods.pretraining.motion_settings import MotionStageConfig, MotionTrainingConfig
from nolabel.methods.pretraining.motion_synthesis import MovedPictures, move_pictures
from nolabel.methods.pretraining.motion_views import (
    change_colours,
    cut,
    draw_corners,
    mirror_scenes,
    pair_views,
    scale_images,
)
from nolabel.models.motion import MotionLearner, RaftMotion
from nolabel.weights import file_hash

__all__ = ["MotionTraining", "motion_outlook", "train_motion"]

FEW_SAMPLES = 200


class MotionTraining(TrainingTask):
    """A training as the loop sees it.

    Args:
        config: settings.
        footage: what is learnt from.
        looked_at: stereo video that is scored, by path; nothing is scored without.
        split: of that data.
        out: run folder.
    """

    def __init__(
        self, config: MotionTrainingConfig, footage: Footage, looked_at: Sequence[Path], split: str, out: Path
    ) -> None:
        self.config, self.footage, self.out = config, footage, Path(out)
        self.looked_at, self.split, self.done = list(looked_at), split, 0
        ends = torch.tensor([stage.share for stage in config.stages]).cumsum(0)
        self.ends = (ends / ends[-1] * config.fit.steps).round().tolist()
        rate = config.rate
        self.factor: Callable[[int], float] = polynomial_decay(
            config.fit.steps,
            power=1.0,
            warmup_steps=round(rate.warmup * config.fit.steps),
            warmup_factor=0.04,
            decay_in_warmup=False,
        )

    # --- what is trained --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Build the one network."""
        settings = self.config.network
        self.learner = MotionLearner(start_motion(settings.architecture, settings.initial)).train()
        if settings.compile:
            self.learner.compile()
        return {"network": self.learner}

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        rate = self.config.rate
        parameters = networks["network"].parameters()
        return {
            "network": torch.optim.AdamW(parameters, lr=rate.learning_rate, weight_decay=rate.weight_decay)
        }

    def train_dataset(self) -> Dataset[MotionSample]:
        """Return the footage."""
        return self.footage

    def collate(self, samples: list[Any]) -> MotionBatch:
        """Join samples and list their pairs."""
        return collate_motion(samples)

    def sample_summary(self) -> str:
        """Count pairs of frames."""
        size = self.config.fit.batch_size * self.config.fit.accumulate
        count, stereo = len(self.footage), self.footage.stereo
        return f"{size} of {count} pairs of frames ({stereo} of a stereo camera)"

    def stage(self, step: int) -> MotionStageConfig:
        """Return the stage that a step (from 0) belongs to."""
        place = next((i for i, end in enumerate(self.ends) if step < end), len(self.ends) - 1)
        return self.config.stages[place]

    # --- a step -----------------------------------------------------------------------------------------------

    def before_step(self, step: int) -> None:
        """Set the learning rate."""
        for group in self.optimizer["network"].param_groups:
            group["lr"] = self.config.rate.learning_rate * self.factor(step)

    def training_step(self, batch: MotionBatch, step: int) -> dict[str, Tensor]:
        """Match pictures set in motion and real pairs in one pass, and add up what is wrong with the flow."""
        # The loop has seeded torch's own generator as a function of the step.
        draws, stage = torch.default_generator, self.stage(step)
        if self.config.augmentation.mirror:
            batch = mirror_scenes(batch, draws)
        batch = replace(batch, images=scale_images(batch.images, stage, draws))
        moved = self._set_in_motion(batch, stage, draws) if stage.pictures else None
        real = pair_views(batch, stage.crop, draws) if stage.real else None
        images, first, second = self._inputs(batch, moved, real, draws)
        flows: list[Tensor] = self.modules["network"](images, first, second, stage.updates)
        known = 0 if moved is None else len(moved.flow)
        losses: dict[str, Tensor] = {}
        if moved is not None:
            losses["synthesis"] = stage.synthesis * sequence_loss(
                [flow[:known] for flow in flows],
                lambda flow, last: known_flow_loss(flow, moved.flow),
                self.config.loss.gamma,
            )
            with torch.no_grad():
                losses["synthesis_epe"] = (flows[-1][:known] - moved.flow).norm(dim=1).mean()
        if real is not None:
            losses |= self._real_losses(batch, real[1], [flow[known:] for flow in flows], stage)
        terms = ("synthesis", "photometric", "smoothness", "upright", "guide", "self_supervision")
        return {"loss": torch.stack([losses[name] for name in terms if name in losses]).sum(), **losses}

    def _set_in_motion(
        self, batch: MotionBatch, stage: MotionStageConfig, draws: torch.Generator
    ) -> MovedPictures:
        settings = self.config.synthesis
        chosen = torch.randperm(len(batch.images), generator=draws)[: stage.pictures]
        pictures = batch.images[chosen.to(batch.images.device)]
        whole = (pictures.shape[-2], pictures.shape[-1])
        return move_pictures(
            pictures,
            draw_corners(len(pictures), whole, stage.crop, draws),
            stage.crop,
            pieces=settings.pieces,
            largest=stage.largest * stage.crop[1],
            sideways=settings.sideways,
            generator=draws,
        )

    def _inputs(
        self,
        batch: MotionBatch,
        moved: MovedPictures | None,
        real: tuple[Tensor, PairViews] | None,
        draws: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return all images with changed colours, and first and second image of all pairs, the known ones first."""
        images, owner, first, second = [], [], [], []
        device = batch.images.device
        if moved is not None:
            count = len(moved.images)
            place = torch.arange(count, device=device)
            images, owner = [moved.images], [place % (count // 2)]
            first, second = [place], [place.roll(count // 2)]
        if real is not None:
            before = len(images[0]) if images else 0
            owner.append(batch.sample + before)
            images.append(real[0])
            first.append(batch.first + before)
            second.append(batch.second + before)
        seen = change_colours(torch.cat(images), torch.cat(owner), self.config.augmentation, draws)
        return seen, torch.cat(first), torch.cat(second)

    def _real_losses(
        self, batch: MotionBatch, views: PairViews, flows: list[Tensor], stage: MotionStageConfig
    ) -> dict[str, Tensor]:
        """Return the weighted terms of the flows (P, 2, h, w) of real pairs after each update, and the occluded share."""
        config = self.config.loss
        visible = partnered(views, flows[-1].detach(), config.occlusion) if stage.occlusions else None
        losses = {
            "smoothness": stage.smoothness
            * sequence_loss(
                flows, lambda flow, last: smoothness_loss(views.crops, flow, config), config.gamma
            ),
            "upright": config.upright
            * sequence_loss(flows, lambda flow, last: upright_loss(flow, views.sideways), config.gamma),
        }
        if stage.photometric:
            losses["photometric"] = stage.photometric * photometric_sequence_loss(
                views, flows, visible, config
            )
        if visible is not None:
            losses["occluded"] = 1 - visible.float().mean()
        if stage.guide:
            losses["guide"] = stage.guide * self._distance(flows, classical_flow(batch), batch, views)
        if stage.self_supervision:
            seen = self._whole_view(batch, stage)
            losses["self_supervision"] = stage.self_supervision * self._distance(flows, seen, batch, views)
        return losses

    @torch.no_grad()
    def _whole_view(self, batch: MotionBatch, stage: MotionStageConfig) -> Tensor:
        """What the network sees in whole images, without changed colours: flow (P, 2, H, W)."""
        with self.fabric.autocast():
            seen = self.learner(batch.images, batch.first, batch.second, stage.updates)[-1]
        return seen.float()

    def _distance(
        self, flows: Sequence[Tensor], taught: Tensor, batch: MotionBatch, views: PairViews
    ) -> Tensor:
        """Sum the distances of flows (P, 2, h, w) of crops to one of whole images (P, 2, H, W) where it is trusted."""
        whole = replace(views, crops=batch.images[batch.first], corner=torch.zeros_like(views.corner))
        trusted = partnered(whole, taught, "consistency")
        height, width = views.crops.shape[-2:]
        both = cut(torch.cat([taught, trusted.to(taught)], dim=1), views.corner, (height, width))
        return sequence_loss(
            flows,
            lambda flow, last: teacher_loss(flow, both[:, :2], both[:, 2:] > 0.5),
            self.config.loss.gamma,
        )

    def after_step(self, step: int) -> None:
        """Count."""
        self.done = step + 1

    # --- what comes of it -------------------------------------------------------------------------------------

    def estimator(self) -> RaftMotion:
        """Return a copy of the network as it stands, for inference."""
        network = copy.deepcopy(self.learner.network)
        return RaftMotion(network, self.config.network.updates).to(self.fabric.device)

    def validation(self) -> dict[str, float]:
        """Score flow and disparity and draw them, on the first process; at the end write the network as well."""
        if self.fabric.global_rank != 0:
            return {}
        scores: dict[str, float] = {}
        if self.looked_at:
            picture = self.out / "pictures" / f"step_{self.done:08d}.png"
            scores = look_at_motion(
                self.estimator(),
                self.looked_at,
                self.config.look,
                split=self.split,
                picture=picture,
                device=self.fabric.device,
            )
        if self.done == self.config.fit.steps:  # before the last checkpoint, so that no kill can lose it
            self._save(scores)
        return scores

    def _save(self, scores: dict[str, float]) -> None:
        settings, about = self.config.network, surroundings()
        save_motion(
            self.learner.network,
            self.out / MODEL_FILE,
            settings.architecture,
            settings.updates,
            half=settings.half,
            steps=self.done,
            seed=self.config.fit.seed,
            settings=self.config.model_dump(mode="json", exclude={"fit": {"workers", "loggers"}}),
            footage={"identity": self.footage.identity, "samples": len(self.footage)},
            scores=scores,
            **{**about, "command": ["nolabel", *about["command"][1:]]},  # no paths of this machine
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the steps done."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on."""
        self.done = state["done"]


def motion_outlook(footage: Footage, config: MotionTrainingConfig) -> list[str]:
    """Say in plain words what to expect of this much footage."""
    count, stereo = len(footage), footage.stereo
    seen = config.fit.steps * config.fit.batch_size * config.fit.accumulate * config.fit.devices / count
    lines = [f"{count} pairs of frames, each seen {seen:.3g} times on average"]
    if count < FEW_SAMPLES:
        lines.append(
            "that is little footage: the network will know these scenes; expect it to match other cameras worse, and keep "
            "a part of the footage for --validate"
        )
    if stereo == 0:
        lines.append("no stereo views: flow is learnt, disparity only as far as flow teaches it")
    elif stereo < count:
        lines.append(f"{stereo} of the pairs are stereo: disparity is learnt from those")
    if all(not stage.pictures for stage in config.stages) and config.network.initial is None:
        lines.append(
            "from random weights without pictures set in motion: expect tens of thousands of steps before flow is useful"
        )
    return lines


def train_motion(
    config: MotionTrainingConfig,
    footage: Footage,
    out: str | Path,
    *,
    looked_at: Sequence[str | Path] = (),
    split: str = "val",
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedStage:
    """Train, or go on, and leave ``model.safetensors`` in the run folder, without the larger checkpoints.

    Args:
        config: settings.
        footage: what is learnt from, of the settings' region.
        out: run folder.
        looked_at: stereo video to score during the training and at its end.
        split: of that data.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings or other footage.
        DataError: images cannot be read.
        WeightsError: the network to start from does not fit.
    """
    inputs = {"footage": footage.identity}
    if config.network.initial is not None:
        inputs["initial"] = file_hash(model_path(config.network.initial))
    task = MotionTraining(config, footage, [Path(path) for path in looked_at], split, Path(out))
    record = StageRecord(settings=config, inputs=inputs)
    result = fit(
        task, config.fit, out, settings=record, device=device, overwrite=overwrite, progress=progress
    )
    shutil.rmtree(RunFolder(out).checkpoints, ignore_errors=True)
    return TrainedStage(Path(out) / MODEL_FILE, result.metrics, already_finished=result.already_finished)
