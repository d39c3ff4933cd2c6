"""Training on images, from source alone to QuadMix, in one resumable folder.

Source: UDASS specification, image 2.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from nolabel.config import Config
from nolabel.engine.distributed import is_first_process
from nolabel.engine.fit import TrainingTask, fit
from nolabel.engine.parameter_groups import scale_rates
from nolabel.engine.run_folder import StageRecord
from nolabel.engine.schedules import polynomial_decay
from nolabel.engine.seeding import seed_of
from nolabel.engine.segmentor_file import MODEL_FILE, TEACHER_FILE, SegmentorModel, save_model
from nolabel.errors import ConfigError
from nolabel.methods.quadmix.adversary import Adversary
from nolabel.methods.quadmix.bank import Templates
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.data import DomainPair, DomainPairs
from nolabel.methods.quadmix.image_data import ImageData
from nolabel.methods.quadmix.image_iteration import ImageIteration, IterationRecord
from nolabel.methods.quadmix.image_networks import first_optimizer_state, new_network, reference_network
from nolabel.methods.quadmix.optimizers import build_optimizer, rate_schedule
from nolabel.methods.quadmix.patches import PatchReader
from nolabel.methods.quadmix.report import REPORT, write_looks, write_report
from nolabel.methods.quadmix.settings import ImageConfig
from nolabel.methods.quadmix.teacher import AverageTeacher
from nolabel.models.segmentation import DomainDiscriminator, FeatureSegmentor, Segmentor

__all__ = ["ImageRun", "ImageTraining", "train_images"]

Score = Callable[[SegmentorModel], dict[str, float]]


@dataclass(frozen=True)
class ImageRun:
    """What a training gave.

    Attributes:
        model: file of the network.
        report: page with scores, pictures of mixed images and predictions.
        metrics: of the last validation; empty without labelled target images.
        already_finished: the training was finished before.
    """

    model: Path
    report: Path
    metrics: dict[str, float]
    already_finished: bool = False


class ImageTraining(TrainingTask):
    """A training on images as the loop sees it.

    Args:
        config: settings.
        data: both domains.
        out: run folder; the finished networks are written there.
        score: scores a network during training.
    """

    def __init__(
        self, config: ImageConfig, data: ImageData, out: Path, *, score: Score | None = None
    ) -> None:
        self.config, self.data, self.out, self.score = config, data, out, score
        self.first = config.start.step if config.start.checkpoint is not None else 0
        self.rate = rate_schedule(config.optimizer, config.fit.steps)
        self.templates: Templates | None = None
        self.record: IterationRecord | None = None
        self.reader: PatchReader | None = None
        self.iteration: ImageIteration | None = None
        self.micro = 0

    # --- what there is -------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Build the student, and teachers and discriminator if they are needed."""
        config, adaptation = self.config, self.config.adaptation
        self.model = new_network(config, self.data.source.space, self.data.inference_size)
        self.student = self.model.network.train()
        self.reference = reference_network(config, self.model)
        found: dict[str, nn.Module] = {"student": self.student}
        if adaptation is not None:
            masked = adaptation.masked
            own_teacher = masked is not None and masked.teacher_rate is not None
            of_teacher = masked is not None and masked.images != "source" and not own_teacher
            if adaptation.class_mix or config.mixing is not None or of_teacher:
                found["teacher"] = copy.deepcopy(self.student).requires_grad_(False)
            if own_teacher:
                found["mask_teacher"] = copy.deepcopy(self.student).requires_grad_(False)
            if adaptation.adversarial is not None:
                found["discriminator"] = DomainDiscriminator(self.student.num_logits)
        self.parts = found
        return found

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return that of the student, begun where an earlier training stood, and that of the discriminator."""
        config = self.config
        student = build_optimizer(networks["student"].named_parameters(), config.optimizer)
        state = first_optimizer_state(config)
        if state is not None:
            student.load_state_dict(state)
        found = {"student": student}
        adversarial = None if config.adaptation is None else config.adaptation.adversarial
        if adversarial is not None:
            found["discriminator"] = torch.optim.Adam(
                networks["discriminator"].parameters(), lr=adversarial.learning_rate, betas=(0.9, 0.99)
            )
        return found

    def train_dataset(self) -> Dataset[Any]:
        """Return pairs of source and target images."""
        settings = self.config.fit
        count = settings.steps * settings.batch_size * settings.accumulate * self.fabric.world_size
        return DomainPairs(
            self.data.source, self.data.target, self.config, count, statistics=self.data.statistics
        )

    def collate(self, samples: list[DomainPair]) -> DomainPair:
        """Return a batch."""
        return cast(DomainPair, default_collate(samples))

    def sample_summary(self) -> str:
        """Count images of both domains."""
        size = self.config.fit.batch_size * self.config.fit.accumulate * self.fabric.world_size
        source, target = len(self.data.source), len(self.data.target)
        return f"{size} of {source} source images and {size} of {target} target images"

    # --- a step ----------------------------------------------------------------------------------------------

    def before_step(self, step: int) -> None:
        """Set the learning rates; teachers learn from the student as it is before the step."""
        self.micro = 0
        now = self.first + step
        scale_rates(self.optimizer["student"], self.rate(now))
        adversarial = None if self.config.adaptation is None else self.config.adaptation.adversarial
        if adversarial is not None:
            decay = polynomial_decay(self.config.fit.steps, power=adversarial.power, warmup_steps=0)
            for group in self.optimizer["discriminator"].param_groups:
                group["lr"] = adversarial.learning_rate * decay(now)
        if self.iteration is None:
            self.iteration = self._assembled()
        for teacher in (self.iteration.teacher, self.iteration.mask_teacher):
            if teacher is not None:
                teacher.update(step)

    def training_step(self, batch: DomainPair, step: int) -> dict[str, Tensor]:
        """Label the target, draw, mix and learn."""
        iteration, config = self.iteration, self.config
        assert iteration is not None
        source = Clip.of_images(batch.source, batch.labels)
        with self.fabric.autocast():
            target = iteration.label(batch.target, batch.trusted)
        mixing = config.mixing is not None and self.first + step >= config.mixing.start
        templates = self.templates if mixing else None
        plan = patches = None
        if templates is not None and self.reader is not None:
            plan, patches = self.reader(step * config.fit.accumulate + self.micro)
            patches = patches.to(self.fabric.device)
        # The global generator is a function of the step: the loop has just seeded it.
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        draws = iteration.draw(generator, source, target, templates, plan)
        self.record = iteration.run(
            draws,
            source,
            target,
            self.backward,
            trusted=batch.trusted,
            templates=templates,
            patches=patches,
        )
        self.templates, self.micro = self.record.templates, self.micro + 1
        return self.record.losses

    def after_step(self, step: int) -> None:
        """Show what the network saw; write the networks once they are finished, before the last checkpoint."""
        config, done = self.config.fit, step + 1
        last = done == self.loop.steps
        if self.fabric.global_rank > 0 or not (last or done % (config.validate_every or config.steps) == 0):
            return
        if self.record is not None:
            write_looks(self.out, self.first + done, self.record.samples, self.data.source.space)
        if last:
            facts = {"steps": self.first + done}
            save_model(self.model, self.out / MODEL_FILE, **facts)
            if "teacher" in self.parts:
                save_model(self._as_model("teacher"), self.out / TEACHER_FILE, **facts)

    def validation(self) -> dict[str, float]:
        """Score the student, or the teacher, where labelled target images were given."""
        if self.score is None:
            return {}
        which = "teacher" if self.config.validate_teacher and "teacher" in self.parts else "student"
        return self.score(self._as_model(which))

    # --- state -----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the templates; everything else that is drawn is a function of the step."""
        return {"templates": None if self.templates is None else self.templates.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the templates back."""
        kept = state["templates"]
        self.templates = None if kept is None else Templates.from_state_dict(kept, self.fabric.device)

    @property
    def loop(self) -> Any:
        """Settings of the loop: without the steps that an earlier training did."""
        return self.config.fit.model_copy(update={"steps": self.config.fit.steps - self.first})

    def close(self) -> None:
        """End reading ahead."""
        if self.reader is not None:
            self.reader.close()

    def _as_model(self, part: str) -> SegmentorModel:
        model = self.model
        return SegmentorModel(
            cast(Segmentor, self.parts[part]), model.architecture, model.space, model.options, model.inference
        )

    def _assembled(self) -> ImageIteration:
        """Put the parts together, once they are on their devices."""
        config, adaptation = self.config, self.config.adaptation
        module: Any = self.modules["student"]
        if isinstance(self.student, FeatureSegmentor) and hasattr(module, "mark_forward_method"):
            module.mark_forward_method("training_outputs")
        if self.reference is not None:
            self.reference.to(self.fabric.device)
        teachers: dict[str, AverageTeacher] = {}
        if adaptation is not None:
            rates = {"teacher": adaptation.teacher_rate}
            if adaptation.masked is not None and adaptation.masked.teacher_rate is not None:
                rates["mask_teacher"] = adaptation.masked.teacher_rate
            teachers = {
                name: AverageTeacher(cast(Segmentor, self.parts[name]), self.student, rate)
                for name, rate in rates.items()
                if name in self.parts
            }
        adversary = None
        if "discriminator" in self.parts:
            adversary = Adversary(self.parts["discriminator"], self.modules["discriminator"])
        bank = self.data.patch_bank(config)
        if bank is not None:
            seed = seed_of(config.fit.seed, "patches of process", self.fabric.global_rank)
            self.reader = PatchReader(bank, config.fit.batch_size, seed)
        return ImageIteration(
            config,
            self.student,
            module,
            num_classes=self.data.source.space.num_classes,
            teacher=teachers.get("teacher"),
            mask_teacher=teachers.get("mask_teacher"),
            reference=self.reference,
            adversary=adversary,
            precision=self.fabric.autocast,
        )


def train_images(
    config: ImageConfig,
    out: str | Path,
    *,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> ImageRun:
    """Train, or go on, and leave ``model.safetensors``, ``teacher.safetensors`` and ``report.html`` in the folder.

    Args:
        config: settings, with the folders of the data in them.
        out: run folder.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: settings that do not fit each other, or the folder holds another run.
        DataError: data that is missing, or without the classes asked for.
    """
    out = Path(out)
    if config.start.checkpoint is not None and config.start.step >= config.fit.steps:
        raise ConfigError(
            f"start.step={config.start.step} leaves nothing of fit.steps={config.fit.steps}",
            hint="fit.steps counts from the beginning of the earlier training",
        )
    data = ImageData.open(config, progress=progress)
    task = ImageTraining(config, data, out, score=data.scorer(device))
    record: Config = StageRecord(settings=config, inputs=data.identity)
    try:
        result = fit(
            task, task.loop, out, settings=record, device=device, overwrite=overwrite, progress=progress
        )
    finally:
        task.close()
    if is_first_process():
        write_report(out, config, data)
    return ImageRun(out / MODEL_FILE, out / REPORT, result.metrics, result.already_finished)
