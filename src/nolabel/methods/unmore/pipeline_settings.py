"""Settings of everything from photographs to a detector: a section for each stage, the stages' own settings in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from nolabel.config import Config, load_config
from nolabel.methods.unmore.detector_settings import DetectorConfig
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.selection import SelectionSettings
from nolabel.methods.unmore.training_settings import ExistenceTrainingConfig, ObjectnessTrainingConfig
from nolabel.methods.unmore.votecut_settings import PseudoMaskConfig, named_features

__all__ = ["PipelineConfig", "load_pipeline"]

SEEDED = ("objectness", "existence", "detector")


class PipelineConfig(Config):
    """All stages in their order."""

    votecut: PseudoMaskConfig = PseudoMaskConfig()
    """Masks from self-supervised features."""
    objectness: ObjectnessTrainingConfig = ObjectnessTrainingConfig()
    """Boundary and centre field, learnt from these masks."""
    existence: ExistenceTrainingConfig = ExistenceTrainingConfig()
    """Is there an object, learnt from these masks."""
    discovery: ReasoningSettings = ReasoningSettings()
    """Reasoning with the two networks."""
    selection: SelectionSettings = SelectionSettings()
    """Which discovered objects are sure enough to learn from."""
    least_score: float = Field(0.5, ge=0)
    """Score from which masks of the first stage are learned from beside the discovered ones; with scenes of their own
    only, as published: where photographs and scenes are the same, discovery replaces these masks."""
    detector: DetectorConfig = DetectorConfig()
    """The class-agnostic detector."""


def load_pipeline(
    recipe: str | None,
    overrides: Sequence[str] | None = None,
    *,
    features: Sequence[str] | None = None,
    feature_weights: Sequence[Path] | None = None,
    seed: int | None = None,
) -> PipelineConfig:
    """Build the settings of all stages.

    Args:
        recipe: packaged recipe or YAML file; published settings of every stage by default.
        overrides: ``STAGE.KEY=VALUE``.
        features: networks of the first stage, see :class:`~nolabel.methods.unmore.votecut_settings.FeatureSettings`.
        feature_weights: checkpoint of each that needs one.
        seed: of all trainings.

    Raises:
        ConfigError: a setting is wrong.
    """
    values: dict[str, Any] = {}
    if features or feature_weights:
        values["votecut"] = {"features": named_features(features or [], feature_weights or [])}
    given = list(overrides or ())
    if seed is not None:
        given += [f"{stage}.fit.seed={seed}" for stage in SEEDED]
    return load_config(PipelineConfig, recipe, given, **values)
