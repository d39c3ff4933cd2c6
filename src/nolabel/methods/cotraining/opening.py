"""Settings and data as commands name them: a recipe, overrides, and folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nolabel.config import load_config
from nolabel.data.domain_images import (
    SourceImages,
    TargetImages,
    open_source,
    open_target,
    open_validation,
    place_parts,
)
from nolabel.data.labelled import LabelledDataset
from nolabel.methods.cotraining.settings import PipelineConfig

__all__ = ["load_settings", "source_of", "target_of", "validation_of"]


def load_settings(
    recipe: str | None,
    overrides: Sequence[str] | None = None,
    *,
    source: Sequence[Path] | None = None,
    target: Sequence[Path] | None = None,
    validation: Path | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> PipelineConfig:
    """Build the settings of a run.

    Args:
        recipe: packaged recipe or YAML file.
        overrides: ``KEY=VALUE``.
        source, target: folders: one for each part that the recipe lists, or one for all of them.
        validation: folder of labelled target images.
        seed: of all stages.
        device: where images are labelled.

    Raises:
        ConfigError: a setting is wrong, or the number of folders.
    """
    config = load_config(PipelineConfig, recipe, list(overrides or ()))
    if seed is not None:
        config = config.with_seed(seed)
    changes = {
        "source": place_parts(config.source, source, "source"),
        "target": place_parts(config.target, target, "target"),
    }
    config = config.model_copy(update=changes)
    if validation is not None:
        placed = config.validation.model_copy(update={"root": validation})
        config = config.model_copy(update={"validation": placed})
    return config if device is None else config.model_copy(update={"device": device})


def source_of(config: PipelineConfig) -> SourceImages:
    """Open the labelled source."""
    return open_source(config.source, config.space)


def target_of(config: PipelineConfig) -> TargetImages:
    """Open the target images."""
    return open_target(config.target)


def validation_of(config: PipelineConfig) -> LabelledDataset | None:
    """Open the labelled target images, if a folder was given."""
    return None if config.validation.root is None else open_validation(config.validation, config.space)
