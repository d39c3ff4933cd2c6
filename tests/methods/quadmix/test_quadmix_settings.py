"""Every recipe loads, and says what it is said to say."""

import re
from pathlib import Path
from typing import get_args

import pytest

import nolabel
from nolabel.config import Config, dump_config, load_config, read_recipe
from nolabel.labels import LABEL_SPACES
from nolabel.methods.quadmix.mixing_config import QuadMixConfig
from nolabel.methods.quadmix.optimizers import REFERENCE_VIDEO_RULES
from nolabel.methods.quadmix.settings import ImageConfig, ResolutionShares, as_executed
from nolabel.methods.quadmix.video_settings import VideoConfig
from nolabel.recipes import recipe_names

RECIPES = [name for name in recipe_names() if name.startswith("quadmix/")]
CASES = [(name, VideoConfig if "video" in name else ImageConfig) for name in RECIPES]
PUBLISHED = {
    f"quadmix/image_{s}{n}" for s in ("gta5", "synthia") for n in ("", "_cnn", "_mic", "_daformer", "_hrda")
}
PUBLISHED |= {f"quadmix/image_{t}{n}" for t in ("acdc", "dark_zurich") for n in ("", "_mic")}
PUBLISHED |= {
    f"quadmix/video_{s}{n}" for s in ("viper", "synthia_seq") for n in ("", "_vit", "_tps", "_source")
}


def load(name):
    return load_config(dict(CASES)[name], name)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_recipes_load_and_come_back(name, kind, tmp_path):
    config = load_config(kind, name)
    assert config.space in LABEL_SPACES
    path = tmp_path / "again.yaml"
    path.write_text(dump_config(config))
    assert load_config(kind, path) == config
    if config.mixing is not None:
        assert load_config(QuadMixConfig, name, section="mixing") == config.mixing
        assert set(config.mixing.rare.classes) <= set(range(LABEL_SPACES[config.space].num_classes))


def test_everything_published_has_a_recipe():
    assert PUBLISHED | {"quadmix/tiny_image", "quadmix/tiny_video"} <= set(RECIPES)
    for name in RECIPES:
        assert read_recipe(name), name


def test_recipes_differ_where_the_systems_do():
    vit, mic = load("quadmix/image_gta5"), load("quadmix/image_gta5_mic")
    assert vit.adaptation == mic.adaptation and mic.mixing is None and vit.mixing.start == 6000
    assert load("quadmix/image_gta5_hrda").adaptation.masked is None
    assert load("quadmix/image_gta5_source").adaptation is None
    tps = load("quadmix/video_viper_tps")
    assert tps.mixing is None and tps.temporal.teacher is None and tps.temporal.weight == 0.1
    assert load("quadmix/video_synthia_seq").mixing.rare.number == 2
    assert load("quadmix/video_viper_vit").temporal.frozen_steps == 4000


def test_as_executed_sets_every_switch():
    image = as_executed(load("quadmix/image_gta5"))
    parts = [image, image.mixing, image.adaptation.strong_view, image.adaptation.pseudo_labels]
    assert all(part.reference_compat for part in parts)
    video = as_executed(load("quadmix/video_viper"))
    assert video.temporal.reference_compat and video.parameter_rules == REFERENCE_VIDEO_RULES
    transformer = as_executed(load("quadmix/video_viper_vit"))
    assert transformer.parameter_rules == transformer.optimizer.rules


def sections(kind):
    """All classes of settings within one."""
    found, queue = set(), [kind]
    while queue:
        one = queue.pop()
        if one in found:
            continue
        found.add(one)
        for field in one.model_fields.values():
            parts = [field.annotation, *get_args(field.annotation)]
            parts += [inner for part in parts for inner in get_args(part)]
            queue += [part for part in parts if isinstance(part, type) and issubclass(part, Config)]
    return found


def test_something_reads_every_setting():
    code = "\n".join(path.read_text() for path in Path(nolabel.__file__).parent.rglob("*.py"))
    # The shares of the resolutions are read by name, as the network calls them.
    kinds = (sections(ImageConfig) | sections(VideoConfig)) - {ResolutionShares}
    assert len(kinds) > 15
    names = {(kind.__name__, name) for kind in kinds for name in kind.model_fields}
    assert {(kind, name) for kind, name in names if not re.search(rf"\.{name}\b", code)} == set()
