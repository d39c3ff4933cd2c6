"""A matching stored with a model names its predictions from then on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import pytest
import torch
from make_official_files import small_state, write_all
from typer.testing import CliRunner

import nolabel
from nolabel.cli import app
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import CITYSCAPES_19, LabelClass, LabelSpace
from nolabel.methods.cups.alignment import alignment_file, store_alignment
from nolabel.weights import load_checkpoint, save_safetensors
from nolabel.weights.packaged import embedded_file

from .validation_data import cityscapes, picture


def align(model: Path, data: Path, space: str) -> str:
    arguments = [
        "cups",
        "validate",
        str(model),
        "--data",
        str(data),
        "--space",
        space,
        "--align",
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_an_official_checkpoint_gets_a_file_beside_it(tmp_path: Path) -> None:
    states = [small_state(seed, num_things=2, num_stuff=3) for seed in (0, 1)]
    for state in states:
        state["sem_seg_head.predictor.bias"][2] += 10  # without training little else would be large enough
    write_all(tmp_path, *states)
    checkpoint = tmp_path / "stage3.ckpt"
    before = checkpoint.read_bytes()
    parts: tuple[Literal["student", "teacher"], ...] = ("student", "teacher")
    unnamed = {part: nolabel.load("cups", checkpoint, device="cpu", part=part) for part in parts}
    assert unnamed["student"].space.names[0] == "cluster_0"

    cityscapes(tmp_path / "data", 1, [(96, 128)])
    assert "matching stored in" in align(checkpoint, tmp_path / "data", "cityscapes_7")
    assert checkpoint.read_bytes() == before
    content = json.loads(alignment_file(checkpoint).read_text())
    assert content["space"] == "cityscapes_7" and content["aligned_on"] == "data/val"
    for part in parts:
        model = nolabel.load("cups", checkpoint, device="cpu", part=part)
        assert model.space.name == "cityscapes_7"
        clusters = unnamed[part](picture(0, (96, 128))).semantic
        assert (clusters != 255).any()
        named = model(picture(0, (96, 128))).semantic
        assert torch.equal(named, torch.tensor([*content["alignment"], *[255] * 251])[clusters])

    content["alignment"] = [0]
    alignment_file(checkpoint).write_text(json.dumps(content))
    with pytest.raises(WeightsError, match="names 1 clusters"):
        nolabel.load("cups", checkpoint, device="cpu")
    alignment_file(checkpoint).write_text("{}")
    with pytest.raises(WeightsError, match="no matching of clusters"):
        nolabel.load("cups", checkpoint, device="cpu")


def test_our_files_keep_everything_else_on_their_card(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint = load_checkpoint(embedded_file("cups"))
    save_safetensors(path, checkpoint.state_dict, {**checkpoint.metadata, "steps": 12})
    cityscapes(tmp_path / "data", 1, [(64, 96)])
    align(path, tmp_path / "data", "cityscapes_27")
    stored = load_checkpoint(path)
    assert stored.metadata["steps"] == 12 and stored.metadata["space"] == "cityscapes_27"
    assert stored.metadata["network"] == checkpoint.metadata["network"]
    assert all(torch.equal(stored.state_dict[k], v) for k, v in checkpoint.state_dict.items())
    assert nolabel.load("cups", path, device="cpu").space.name == "cityscapes_27"


def test_matchings_that_cannot_be_read_back_are_not_stored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="part of the installation"):
        store_alignment(embedded_file("cups"), [0] * 27, CITYSCAPES_19, "x")
    arguments = ["cups", "validate", "embedded", "--data", str(tmp_path), "--align"]
    refused = CliRunner().invoke(app, arguments)  # before it looks at the data
    assert isinstance(refused.exception, ConfigError) and "part of the installation" in str(refused.exception)
    own = LabelSpace("own", (LabelClass("thing", (1, 2, 3), True),))
    shutil.copy(embedded_file("cups"), tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="only registered label spaces"):
        store_alignment(tmp_path / "model.safetensors", [0] * 27, own, "x")
