"""Training on video: on the source alone, TPS, or QuadMix, as the settings say.

Source: UDASS specification (video) 5.
"""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.data.sampling import ClassStatistics
from nolabel.engine.devices import pick_device
from nolabel.engine.fit import TrainingTask, fit
from nolabel.engine.parameter_groups import scale_rates
from nolabel.engine.run_folder import RunFolder, StageRecord
from nolabel.engine.seeding import generator_of, seed_of
from nolabel.engine.segmentor_file import MODEL_FILE
from nolabel.labels import LABEL_SPACES
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.draws import Draws, Plan, draw_windows
from nolabel.methods.quadmix.mixing import QuadMix
from nolabel.methods.quadmix.optimizers import build_optimizer, rate_schedule
from nolabel.methods.quadmix.patches import (
    PatchBank,
    Patches,
    PatchReader,
    frames_with_class,
    visible_statistics,
)
from nolabel.methods.quadmix.video_data import (
    JoinedClips,
    VideoPair,
    VideoPairs,
    collate_pairs,
    open_evaluation,
    open_source,
    open_target,
)
from nolabel.methods.quadmix.video_evaluate import VideoScorer
from nolabel.methods.quadmix.video_flow import attach_flow
from nolabel.methods.quadmix.video_iteration import VideoIteration
from nolabel.methods.quadmix.video_model import VideoModel, build_video_network, save_video_model
from nolabel.methods.quadmix.video_settings import VideoConfig
from nolabel.methods.quadmix.video_views import draw_video

__all__ = ["VideoTraining", "prepare_video", "train_video"]


class VideoTraining(TrainingTask):
    """One training as the loop sees it.

    Args:
        config: settings.
        source: labelled clips with flow.
        target: clips to adapt to with flow; None: none are used.
        out: run folder; the finished network is written there.
        scorer: scores the network in between and at the end.
    """

    def __init__(
        self,
        config: VideoConfig,
        source: JoinedClips,
        target: JoinedClips | None,
        out: Path,
        *,
        scorer: VideoScorer | None = None,
    ) -> None:
        self.config, self.source, self.target, self.out, self.scorer = config, source, target, out, scorer
        self.num_classes = LABEL_SPACES[config.space].num_classes
        self.rate = rate_schedule(config.optimizer, config.fit.steps)
        self.mixer = None if config.mixing is None or config.temporal is None else QuadMix(config.mixing)
        self.templates: Templates | None = None
        self.reader: PatchReader | None = None
        self.micro = 0

    def networks(self) -> dict[str, nn.Module]:
        """Build the student, and the frozen teacher of the first steps."""
        config, compat = self.config, self.config.reference_compat
        student = build_video_network(config.network, self.num_classes, reference_compat=compat)
        self.model = VideoModel(
            student,
            config.network.name,
            LABEL_SPACES[config.space],
            config.network.options,
            self._network_size(),
        )
        networks: dict[str, nn.Module] = {"student": student.train()}
        if config.temporal is not None and config.temporal.teacher is not None:
            teacher = build_video_network(config.temporal.teacher, self.num_classes, reference_compat=compat)
            networks["teacher"] = teacher.requires_grad_(False).eval()
        return networks

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizer of the student."""
        config = self.config
        parameters = networks["student"].named_parameters()
        return {"student": build_optimizer(parameters, config.optimizer, config.parameter_rules)}

    def train_dataset(self) -> Dataset[Any]:
        """Return pairs of clips."""
        fit_config = self.config.fit
        batches = fit_config.steps * fit_config.accumulate * fit_config.devices * fit_config.nodes
        return VideoPairs(self.source, self.target, self.config, batches * fit_config.batch_size)

    def sample_summary(self) -> str:
        """Count clips of both domains."""
        size = self.config.fit.batch_size
        target = "" if self.target is None else f" and {size} of {len(self.target)} target clips"
        return f"{size} of {len(self.source)} source clips{target}"

    def collate(self, samples: list[VideoPair]) -> VideoPair:
        """Make a batch."""
        return collate_pairs(samples)

    def before_step(self, step: int) -> None:
        """Set the learning rates."""
        self.micro = 0
        scale_rates(self.optimizer["student"], self.rate(step))

    def training_step(self, batch: VideoPair, step: int) -> dict[str, Tensor]:
        """Run an iteration with draws that depend on the seed and on its number."""
        config, source, target = self.config, batch.source(), batch.target_clips()
        number = step * config.fit.accumulate + self.micro
        self.micro += 1
        iteration = VideoIteration(config, self.modules["student"], self.mixer)
        if config.temporal is None or target is None or step < config.temporal.start:
            result = iteration.run(step, source)
            return {"loss": result.loss, **result.losses}
        generator = generator_of(config.fit.seed, "video", number, self.fabric.global_rank)
        draws = draw_video(generator, len(batch.frames), config.temporal)
        templates = self.templates if config.mixing is not None and step >= config.mixing.start else None
        plan, patches = Plan(), None
        if templates is not None:
            plan, patches = self._patches(number, source, generator)

        def choose(labelled: Clip, kept: Templates | None) -> Draws:
            assert self.mixer is not None
            return self.mixer.draw(generator, labelled, kept, plan)

        # The last iteration before the first mixed one leaves its templates.
        mixes = config.mixing is not None and step + 1 >= config.mixing.start
        result = iteration.run(
            step,
            source,
            target,
            draws,
            teacher=self._teacher(step),
            choose=choose if mixes else None,
            templates=templates,
            patches=None if patches is None else patches.to(source.frames.device),
            backward=self.backward,
            unsynchronised=self._unsynchronised,
        )
        self.templates = result.templates
        return {"loss": self._finished(result.loss), **result.losses}

    def after_step(self, step: int) -> None:
        """Write the network once it is finished: before the last checkpoint, so that no kill can lose it."""
        if step + 1 == self.config.fit.steps and self.fabric.global_rank == 0:
            save_video_model(self.model, self.out / MODEL_FILE, steps=step + 1)

    def validation(self) -> dict[str, float]:
        """Score the student where labelled target frames were given."""
        return {} if self.scorer is None else self.scorer(self.model.network)

    def state_dict(self) -> dict[str, Any]:
        """Return the templates."""
        return {} if self.templates is None else {"templates": self.templates.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the templates back."""
        if "templates" in state:
            self.templates = Templates.from_state_dict(state["templates"], self.fabric.device)

    def close(self) -> None:
        """End the thread that reads patches."""
        if self.reader is not None:
            self.reader.close()

    def _teacher(self, step: int) -> nn.Module | None:
        """Return the frozen teacher while it teaches."""
        temporal = self.config.temporal
        assert temporal is not None
        last = temporal.frozen_steps
        return self.modules.get("teacher") if last is None or step < last else None

    def _finished(self, loss: Tensor) -> Tensor:
        """Do the last backward pass, and give the number alone back."""
        if not loss.requires_grad:
            return loss
        self.backward(loss)
        return loss.detach()

    def _network_size(self) -> tuple[int, int] | None:
        """Return the size of target frames, also where none are learned from: the network will look at such."""
        frames = self.config.target_frames
        if isinstance(frames.size, tuple):
            return frames.size[0] - (frames.bottom or 0), frames.size[1]
        if self.target is not None:
            part = self.target.parts[0]
        else:
            part = self.source.parts[0] if self.scorer is None else self.scorer.clips
        return None if part.size is None else (part.size[0] - part.bottom, part.size[1])

    def _unsynchronised(self) -> AbstractContextManager[Any]:
        if self.fabric.world_size == 1:
            return nullcontext()
        context: AbstractContextManager[Any] = self.fabric.no_backward_sync(self.modules["student"])  # type: ignore[arg-type]
        return context

    def _patches(self, number: int, source: Clip, generator: torch.Generator) -> tuple[Plan, Patches | None]:
        """Return window and rare classes of an iteration."""
        mixing = self.config.mixing
        assert mixing is not None
        batch = len(source.labels)
        if mixing.rare is None:
            if mixing.window is None:
                return Plan(), None
            return Plan(draw_windows(generator, batch, source.size, mixing.window)), None
        if self.reader is None:
            size = source.size if mixing.window is None else mixing.window.size
            counted = _counts(self.source, self.config, self.num_classes, self.out / "rare_classes")
            index = frames_with_class(counted, mixing.rare)
            bank = PatchBank(self.source, index, mixing.rare, size, mixing.window)
            self.reader = PatchReader(bank, batch, seed_of(self.config.fit.seed, self.fabric.global_rank))
        return self.reader(number)


def _counts(source: JoinedClips, config: VideoConfig, classes: int, folder: Path) -> ClassStatistics:
    """Count the classes of all source frames where windows reach, or take the counts of this run's beginning."""
    if (folder / "samples_with_class.json").is_file():
        return ClassStatistics.read(folder, classes)
    assert config.mixing is not None
    counted = visible_statistics(source, source.names, classes, config.mixing.window)
    counted.write(folder)
    return counted


def prepare_video(
    config: VideoConfig, out: Path, *, device: str = "auto", progress: bool = True
) -> tuple[JoinedClips, JoinedClips | None, VideoScorer | None]:
    """Open all data of a training and estimate the flow that it lacks.

    Args:
        config: settings with the data sets' folders.
        out: run folder, where flow is kept unless the settings name a cache.
        device: where flow is estimated.
        progress: show progress.

    Returns:
        Source, target and what scores networks, where labelled target frames were given.

    Raises:
        ConfigError: a folder is not given.
        DataError: frames, labels or flow files are missing.
    """
    place, cache = pick_device(device), config.flow.cache or out / "flow"
    source, target = open_source(config), open_target(config)
    parts = [("source", config.flow.source, clips) for clips in source.parts]
    parts += [("target", config.flow.target, clips) for clips in (target.parts if target else [])]
    scorer = None
    if config.validation.root is not None:
        scorer = VideoScorer(open_evaluation(config.validation, config.space, config.target_frames))
        parts.append(("validation", config.flow.validation, scorer.clips))
    for number, (what, folder, clips) in enumerate(parts):
        where = cache / f"{number}_{what}"
        attach_flow(clips, folder, where, config.flow, what=what, device=place, progress=progress)
    return source, target, scorer


def train_video(
    config: VideoConfig,
    out: str | Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train, or go on, and leave ``model.safetensors`` in the run folder.

    Args:
        config: settings.
        out: run folder.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Returns:
        The network's file.

    Raises:
        ConfigError: a folder is not given, or the run folder holds a run with other settings or data.
        DataError: frames, labels or flow files are missing.
    """
    out = Path(out)
    source, target, scorer = prepare_video(config, out, device=device, progress=progress)
    task = VideoTraining(config, source, target, out, scorer=scorer)
    hashes = {"source": source.identity} | ({} if target is None else {"target": target.identity})
    record = StageRecord(settings=config, inputs=hashes)
    try:
        fit(task, config.fit, out, settings=record, device=device, overwrite=overwrite, progress=progress)
    finally:
        task.close()
    # The network is there; checkpoints are many times larger.
    shutil.rmtree(RunFolder(out).checkpoints, ignore_errors=True)
    return out / MODEL_FILE
