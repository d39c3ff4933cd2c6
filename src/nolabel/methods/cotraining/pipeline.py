"""Everything from labelled synthetic images to a network for the real domain: one folder, one resumable function.

::

    RUN/translated/       source images in the target's colours
    RUN/baseline/         the network trained on them
    RUN/self_training/    cycle_00, cycle_01, ...
    RUN/co_training/      cycle_00/a, cycle_00/b, ...
    RUN/final_labels/     labels of all target images
    RUN/final/            the last network
    RUN/report.html       what came of it

Source: Co-Training specification, section 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nolabel.data.class_statistics import class_statistics
from nolabel.data.domain_images import SourceImages, TargetImages
from nolabel.data.labelled import LabelledDataset
from nolabel.engine.devices import pick_device
from nolabel.engine.network_scoring import NetworkScorer
from nolabel.engine.progress import Progress
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.engine.segmentor_file import load_model
from nolabel.engine.side_by_side import side_by_side
from nolabel.engine.stage_folder import stage_folder
from nolabel.methods.cotraining.co_training import BRANCHES, co_train
from nolabel.methods.cotraining.final_stage import make_final_labels
from nolabel.methods.cotraining.label import read_label_set
from nolabel.methods.cotraining.new_model import new_model
from nolabel.methods.cotraining.report import write_report
from nolabel.methods.cotraining.selection import SelectedLabel
from nolabel.methods.cotraining.self_training import Branch, cycle_folder, self_train
from nolabel.methods.cotraining.settings import (
    MixedTrainingConfig,
    NetworkConfig,
    PipelineConfig,
    TrainingConfig,
    TranslationConfig,
)
from nolabel.methods.cotraining.training import Score, SourceData, train_network
from nolabel.methods.cotraining.translate import target_colours, translate_source
from nolabel.weights import file_hash

__all__ = ["PipelineResult", "prepare_source", "run_pipeline", "train_baseline", "train_final"]


@dataclass(frozen=True)
class PipelineResult:
    """What a run left.

    Attributes:
        out: the run's folder.
        model: file of the final network.
        report: the page with scores and pictures.
        scores: mIoU in [0, 1] by stage, where target labels were given.
    """

    out: Path
    model: Path
    report: Path
    scores: dict[str, float]


def run_pipeline(
    source: SourceImages,
    target: TargetImages,
    out: Path,
    config: PipelineConfig,
    *,
    validation: LabelledDataset | None = None,
    progress: bool = True,
) -> PipelineResult:
    """Run every stage, or what is left of them.

    Args:
        source: labelled images in ``config.space``.
        target: images without labels.
        out: the run's folder; the same call goes on in it.
        config: settings of all stages.
        validation: labelled target images, for scores only: nothing is chosen by them.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings or data; the message names what differs.
    """
    out = Path(out)
    inputs = {"source": source.identity, "target": target.identity}
    with stage_folder(out, config, inputs, config.baseline.fit.seed) as stage:
        score = None
        if validation is not None:
            score = NetworkScorer(validation, pick_device(config.device))
        run = _Run(config, stage.path, target, score, progress)
        data = prepare_source(
            source, target, stage.path, config.translation, _trainings(config), progress=progress
        )
        model = run.stages(data)
        scores = write_report(stage.path, config, source, target, validation)
        stage.finish(model=str(model.relative_to(stage.path)), miou=scores)
    if progress:
        print(f"network: {model}\nreport: {out / 'report.html'}", file=sys.stderr)
    return PipelineResult(out, model, out / "report.html", scores)


class _Run:
    """The stages after the data."""

    def __init__(
        self, config: PipelineConfig, out: Path, target: TargetImages, score: Score | None, progress: bool
    ) -> None:
        self.config, self.out, self.target, self.score, self.progress = config, out, target, score, progress

    def stages(self, source: SourceData) -> Path:
        config = self.config
        devices = config.branch_devices()
        first = {"A": partial(self.first_stages, source, config.network, "", devices[0])}
        if config.network_b is not None:
            first["B"] = partial(self.first_stages, source, config.network_b, "_b", devices[1])
        done = list(side_by_side(first, parallel=config.parallel).values())
        baseline, networks = done[0]
        # As published, with one architecture: branch A starts from the first cycle, branch B from the last one.
        starts = [networks[0], networks[-1]] if len(done) == 1 else [both[1][-1] for both in done]
        branches = [
            Branch(start, source, self.target, device, self.score, self.progress)
            for start, device in zip(starts, devices, strict=True)
        ]
        pairs = co_train(branches, self.out / "co_training", config.co_training, parallel=config.parallel)
        labels = self.final_labels(pairs[-1])
        return train_final(
            baseline,
            source,
            labels,
            self.out / "final",
            config.final,
            score=self.score,
            device=config.device,
            progress=self.progress,
        )

    def first_stages(
        self, source: SourceData, network: NetworkConfig, suffix: str, device: str
    ) -> tuple[Path, list[Path]]:
        """Train the baseline and run self-training; return the networks."""
        config = self.config
        baseline = train_baseline(
            source,
            self.out / f"baseline{suffix}",
            config.baseline,
            network,
            size=config.self_training.labels.size,
            score=self.score,
            device=device,
            progress=self.progress,
        )
        branch = Branch(baseline, source, self.target, device, self.score, self.progress)
        return baseline, self_train(branch, self.out / f"self_training{suffix}", config.self_training)

    def final_labels(self, networks: Sequence[Path]) -> list[SelectedLabel]:
        config = self.config
        last = cycle_folder(self.out / "co_training", config.co_training.cycles - 1)
        thresholds = [read_label_set(last / name / "pseudo_labels").thresholds.tolist() for name in BRANCHES]
        return make_final_labels(
            networks,
            thresholds,
            self.target,
            self.out / "final_labels",
            config.final_labels,
            device=config.device,
            progress=self.progress,
        )


def prepare_source(
    source: SourceImages,
    target: TargetImages | None,
    out: Path,
    translation: TranslationConfig,
    trainings: Sequence[TrainingConfig],
    *,
    progress: bool = True,
) -> SourceData:
    """Translate the source as wanted, and count its classes where a training asks for it.

    Args:
        source: labelled images.
        target: images whose colours they take; may be None where none are taken.
        out: the run's folder.
        translation: how.
        trainings: what the source is for.
        progress: show progress on standard error.
    """
    statistics = None
    if any(training.rare_classes is not None for training in trainings):
        with Progress("counting classes", len(source), unit="label maps", enabled=progress) as bar:
            statistics = class_statistics(source.joined, advance=bar.advance)
    if translation.mode == "none" or target is None:
        return SourceData(source, statistics=statistics)
    folder = Path(out) / "translated"
    if translation.mode == "online":
        colours = target_colours(target, folder, progress=progress)
        return SourceData(source, colours=colours, statistics=statistics)
    translated = translate_source(source, target, folder, seed=translation.seed, progress=progress)
    return SourceData(translated, statistics=statistics)


def train_baseline(
    source: SourceData,
    out: Path,
    config: TrainingConfig,
    network: NetworkConfig,
    *,
    size: InferenceSize | None = None,
    score: Score | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train on the source alone and return the network's file.

    Args:
        source: labelled images.
        out: run folder.
        config: settings.
        network: which network, and what it starts from.
        size: at what size the network will look at images.
        score: scores the network on labelled target images.
        device: where to train.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.
    """
    space = source.images.space
    inputs = {"network": network.fingerprint(), "space": space.name}
    return train_network(
        lambda: new_model(network, space, size or InferenceSize(), config.network_options),
        source,
        out,
        config,
        inputs,
        score=score,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )


def train_final(
    start: Path,
    source: SourceData,
    labels: Sequence[SelectedLabel],
    out: Path,
    config: MixedTrainingConfig,
    *,
    score: Score | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Train on the source and the final labels, from the baseline's weights; return the network's file.

    Args:
        start: the baseline's file.
        source: labelled images.
        labels: of the target images.
        out: run folder.
        config: settings.
        score: scores the network on labelled target images.
        device: where to train.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.
    """
    return train_network(
        lambda: load_model(start, options=config.network_options),
        source,
        out,
        config,
        {"network": file_hash(start)},
        pseudo_labels=labels,
        score=score,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )


def _trainings(config: PipelineConfig) -> list[TrainingConfig]:
    loops = [config.self_training.training, config.co_training.training, config.co_training.training_b]
    return [config.baseline, config.final, *(training for training in loops if training is not None)]
