"""What a single stage's command needs around its settings: the source as it is given, and scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nolabel.data.domain_images import TargetImages
from nolabel.engine.devices import pick_device
from nolabel.engine.network_scoring import NetworkScorer
from nolabel.engine.segmentor_file import model_path
from nolabel.methods.cotraining.opening import source_of, target_of, validation_of
from nolabel.methods.cotraining.pipeline import prepare_source
from nolabel.methods.cotraining.self_training import Branch
from nolabel.methods.cotraining.settings import PipelineConfig, TrainingConfig
from nolabel.methods.cotraining.training import Score, SourceData

__all__ = ["open_branches", "open_stage_source", "stage_scorer"]


def open_stage_source(
    config: PipelineConfig,
    trainings: Sequence[TrainingConfig],
    out: Path,
    target: TargetImages | None = None,
) -> SourceData:
    """Open the source for one stage: as it is, for it was translated before, or with colours at every look.

    Args:
        config: settings of the run.
        trainings: what the source is for.
        out: the stage's folder; statistics are kept there.
        target: opened already, if it is.
    """
    source, translation = source_of(config), config.translation
    if translation.mode != "online":
        return prepare_source(source, None, out, translation, trainings)
    return prepare_source(source, target or target_of(config), out, translation, trainings)


def stage_scorer(config: PipelineConfig) -> Score | None:
    """Return the function that scores networks, if labelled target images were given."""
    validation = validation_of(config)
    return None if validation is None else NetworkScorer(validation, pick_device(config.device))


def open_branches(
    config: PipelineConfig,
    trainings: Sequence[TrainingConfig],
    out: Path,
    starts: Sequence[tuple[str, str]],
) -> list[Branch]:
    """Open source, target and scores once, and give them to every network that learns from its labels.

    Args:
        config: settings of the run.
        trainings: what the source is for.
        out: the stage's folder; statistics are kept there.
        starts: run folder or file of each network, and the device it runs on.
    """
    images = target_of(config)
    data = open_stage_source(config, trainings, out, images)
    score = stage_scorer(config)
    return [Branch(model_path(start), data, images, device, score) for start, device in starts]
