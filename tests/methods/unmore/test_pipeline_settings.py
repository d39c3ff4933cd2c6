"""Settings of the whole chain."""

from pathlib import Path

import pytest

from nolabel.errors import ConfigError
from nolabel.methods.unmore.pipeline_settings import load_pipeline
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.selection import SelectionSettings


def test_published_recipe():
    published = load_pipeline("unmore/published")
    assert [entry.name for entry in published.votecut.features][:2] == ["dino_s16", "dinov2_b14"]
    assert published.discovery == ReasoningSettings(max_side=None, reference_compat=True)
    assert published.selection == SelectionSettings()
    assert published.detector.fit.steps == 30000


def test_tiny_recipe_needs_no_weights():
    tiny = load_pipeline("unmore/tiny")
    assert [entry.name for entry in tiny.votecut.features] == ["descriptors"]
    assert not tiny.discovery.reference_compat


def test_one_seed_for_all_trainings_and_other_features():
    config = load_pipeline(
        "unmore/tiny", ["detector.fit.steps=7"], seed=5, features=["vit"], feature_weights=[Path("w")]
    )
    assert {config.objectness.fit.seed, config.existence.fit.seed, config.detector.fit.seed} == {5}
    assert config.detector.fit.steps == 7 and config.detector.network == "tiny"
    assert [(entry.name, entry.weights) for entry in config.votecut.features] == [("vit", Path("w"))]


def test_a_seed_without_a_recipe_keeps_the_published_settings():
    config = load_pipeline(None, seed=5)
    assert config.objectness.fit.seed == 5 and config.objectness.fit.steps == 50000


def test_a_wrong_key_is_named_with_its_stage():
    with pytest.raises(ConfigError, match=r"detector\.fit\.step "):
        load_pipeline("unmore/tiny", ["detector.fit.step=7"])
