from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

import nolabel.config as config_module
import nolabel.recipes as recipes
from nolabel.config import Config, dump_config, load_config, parse_override
from nolabel.errors import ConfigError


class Train(Config):
    steps: int = Field(100, gt=0)
    learning_rate: float = 1e-4
    crop: tuple[int, int] = (512, 1024)


class Stage(Config):
    train: Train = Train()
    teacher: Train | None = None
    name: str = "stage"
    thresholds: dict[str, float] = Field(default_factory=dict)
    root: Path | None = None


def error_of(*arguments, **values) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(Stage, *arguments, **values)
    return str(caught.value)


def test_overrides_win_over_values_over_recipe_over_defaults(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("train:\n  steps: 5\n  learning_rate: 2e-3\nname: recipe\n")
    got = load_config(Stage, recipe, ["train.steps=9", "train.crop=[3, 4]"], name="value")
    assert got == Stage(train=Train(steps=9, learning_rate=2e-3, crop=(3, 4)), name="value")


def test_settings_are_frozen():
    with pytest.raises(Exception, match="frozen"):
        Stage().name = "other"


def test_wrong_keys_name_the_nearest_right_one(tmp_path):
    assert "train.step is not a setting of Stage" in error_of(None, ["train.step=3"])
    assert "did you mean train.steps?" in error_of(None, ["train.step=3"])
    assert "did you mean train.steps?" in error_of(None, ["steps=3"])
    assert "did you mean teacher.crop?" in error_of(None, ["teacher.crops=3"])
    recipe = tmp_path / "r.yaml"
    recipe.write_text("trian:\n  steps: 5\n")
    message = error_of(recipe)
    assert str(recipe) in message and "trian" in message and "did you mean train" in message
    recipe.write_text("teacher:\n  learning_rat: 5\n")
    assert "did you mean teacher.learning_rate?" in error_of(recipe)
    assert "name has no settings below it" in error_of(None, ["name.a=1"])
    assert "its settings are" in error_of(None, ["zzzzqqqq=1"])


def test_wrong_types_and_values_are_refused_by_name():
    assert "train.steps cannot be 'many'" in error_of(None, ["train.steps=many"])
    assert "train.steps cannot be -1: input should be greater than 0" in error_of(None, ["train.steps=-1"])
    assert "train.learning_rate cannot be nan" in error_of(None, ["train.learning_rate=.nan"])
    assert "train.steps cannot be 2.5" in error_of(None, ["train.steps=2.5"])
    both = error_of(None, ["train.steps=0", "name=[1]"])
    assert "train.steps" in both and "name cannot be [1]" in both


def test_free_dictionaries_take_any_key():
    assert load_config(Stage, None, ["thresholds.car=0.5"]).thresholds == {"car": 0.5}


def test_broken_yaml_names_file_and_line(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("train:\n  steps: [1, 2\nname: a\n")
    assert f"{recipe}:3" in error_of(recipe)
    recipe.write_text("name: a\nname: b\n")
    assert f"{recipe}:2:1: the key 'name' is given twice" in error_of(recipe)
    recipe.write_text("- a\n")
    assert "a list, not settings" in error_of(recipe)
    with pytest.raises(ConfigError, match="KEY=VALUE"):
        parse_override("train.steps")
    with pytest.raises(ConfigError, match="not YAML"):
        parse_override("train.steps=[1")


def test_a_recipe_is_a_path_or_a_packaged_name_never_both(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "_folder", lambda: tmp_path)
    (tmp_path / "cups").mkdir()
    (tmp_path / "cups" / "tiny.yaml").write_text("train_stage:\n  name: packaged\nother:\n")
    assert recipes.recipe_names() == ["cups/tiny"]
    assert config_module.read_recipe("cups/tiny", "other") == {}
    assert load_config(Stage, "cups/tiny", section="train_stage").name == "packaged"
    assert "did you mean cups/tiny" in error_of("cups/tinny")
    assert "no recipe file cups/tiny.yaml" in error_of("cups/tiny.yaml")
    assert "did you mean train_stage" in error_of("cups/tiny", section="train_stag")


def test_dump_reads_back_to_equal_settings(tmp_path):
    settings = Stage(train=Train(learning_rate=3.5e-7), teacher=Train(steps=2), root=tmp_path, name="ä: b")
    (tmp_path / "r.yaml").write_text(dump_config(settings), encoding="utf-8")
    assert load_config(Stage, tmp_path / "r.yaml") == settings


@given(st.integers(1, 10**9), st.floats(allow_nan=False, allow_infinity=False))
def test_fingerprint_follows_the_values_only(steps, rate):
    one = Stage(train=Train(steps=steps, learning_rate=rate))
    two = load_config(Stage, None, [f"train.steps={steps}"], train={"learning_rate": rate})
    assert one.fingerprint() == two.fingerprint() and len(one.fingerprint()) == 64
    assert one.fingerprint() != one.replaced(train={"steps": steps + 1}).fingerprint()


def test_replaced_validates():
    with pytest.raises(ConfigError, match=r"train\.steps cannot be 0"):
        Stage().replaced(train={"steps": 0})


class Group(Config):
    """A group whose steps must be said."""

    steps: int
    rate: float = 0.1


class Published(Config):
    """A stage that fills the group with values of its own."""

    group: Group = Group(steps=7, rate=0.5)


def test_an_override_of_one_key_keeps_the_rest_of_a_default_group(tmp_path):
    assert load_config(Published, overrides=["group.rate=0.25"]).group == Group(steps=7, rate=0.25)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("group: {steps: 3}")
    assert load_config(Published, recipe, ["group.rate=0.25"]).group == Group(steps=3, rate=0.25)
    assert load_config(Published, recipe).group == Group(steps=3)  # a recipe replaces the group
