"""Weights in the official file formats, made here from a small network: loading, choosing a part, converting."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from make_official_files import small_state, write_all
from torch import Tensor
from typer.testing import CliRunner

import nolabel
from nolabel.cli import app
from nolabel.errors import WeightsError
from nolabel.methods.cups.checkpoint import panoptic_from_checkpoint
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.predict import predict_images
from nolabel.methods.cups.train import NetworkTraining, TrainConfig
from nolabel.structures import PanopticMap
from nolabel.structures.files import write_png
from nolabel.weights import load_checkpoint

SIZES = {"num_things": 2, "num_stuff": 3}
HOLDS = {  # which network each part of a file is
    ("stage2.ckpt", "student"): 0,
    ("stage3.ckpt", "student"): 0,
    ("stage3.ckpt", "teacher"): 1,
    ("stage3_teacher.ckpt", "student"): 1,
    ("stage3_teacher.ckpt", "teacher"): 0,
    ("panoptic.pth", "student"): 0,
    ("panoptic.pkl", "student"): 0,
}


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("official")
    states = [small_state(seed, **SIZES) for seed in (0, 1)]
    for channel, state in enumerate(states, start=1):
        state["sem_seg_head.predictor.bias"][channel] += (
            10  # so that each predicts a stuff cluster of its own
        )
    write_all(folder, *states)
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    return SimpleNamespace(
        folder=folder, states=states, image=write_png(folder / "picture.png", picture), picture=picture
    )


def expected(official: SimpleNamespace, network: int) -> PanopticMap:
    model = CupsModel(panoptic_from_checkpoint(official.states[network]))
    image = torch.from_numpy(official.picture).permute(2, 0, 1).float() / 255
    return predict_images(model, [image])[0]


def without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(("file", "part"), HOLDS)
def test_every_format_loads(official: SimpleNamespace, file: str, part: Any) -> None:
    network = nolabel.load("cups", official.folder / file, device="cpu", part=part).model.network
    assert {name: getattr(network.config, name) for name in SIZES} == SIZES
    wanted = without_counters(official.states[HOLDS[file, part]])
    found = without_counters(network.state_dict())
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert not network.training


def test_the_pickled_configuration_becomes_a_dictionary(official: SimpleNamespace) -> None:
    checkpoint = load_checkpoint(official.folder / "stage2.ckpt")
    settings = checkpoint.metadata["hyper_parameters"]
    assert type(settings["config"]["DATA"]) is dict and settings["config"]["DATA"]["NUM_CLASSES"] == 27
    assert settings["thing_pseudo_classes"] == (3, 4)
    assert "yacs" not in sys.modules


@pytest.mark.parametrize(("file", "part"), [("stage3.ckpt", "teacher"), ("panoptic.pkl", "student")])
def test_the_command_predicts_with_the_chosen_part(
    official: SimpleNamespace, tmp_path: Path, file: str, part: str
) -> None:
    run("cups", "predict", official.folder / file, official.image, "--out", tmp_path, "--part", part)
    wanted = expected(official, HOLDS[file, part]).save(tmp_path / "wanted", "picture")
    assert (expected(official, 0).semantic != expected(official, 1).semantic).any()
    assert (tmp_path / "picture_semantic.png").read_bytes() == wanted[0].read_bytes()


@pytest.mark.parametrize("part", ["student", "teacher"])
def test_a_converted_part_predicts_like_the_checkpoint(
    official: SimpleNamespace, tmp_path: Path, part: str
) -> None:
    run("convert", official.folder / "stage3.ckpt", tmp_path / "one.safetensors", "--part", part)
    wanted = official.states[HOLDS["stage3.ckpt", part]]
    for name in {part, "student"}:  # the file holds one network: both words mean it
        network = nolabel.load("cups", tmp_path / "one.safetensors", device="cpu", part=name).model.network  # type: ignore[arg-type]
        bias = "sem_seg_head.predictor.bias"
        assert torch.equal(network.state_dict()[bias], wanted[bias])


def test_a_part_that_is_not_there_is_explained(official: SimpleNamespace) -> None:
    with pytest.raises(WeightsError, match="no teacher"):
        nolabel.load("cups", official.folder / "stage2.ckpt", part="teacher")
    with pytest.raises(WeightsError, match="not a CUPS checkpoint"):
        nolabel.load("cups", official.folder / "dino_RN50_pretrain_d2_format.pkl")


def test_training_starts_from_the_pretrained_resnet(official: SimpleNamespace, tmp_path: Path) -> None:
    def build(weights: Path | None) -> dict[str, Tensor]:
        config = TrainConfig(network="tiny", initial_weights=weights)
        task = NetworkTraining([], config, tmp_path, **SIZES)  # type: ignore[arg-type]
        return task.networks()["network"].state_dict()

    given, before = official.states[1], build(None)
    write_all(tmp_path, given, official.states[0])
    state = build(tmp_path / "dino_RN50_pretrain_d2_format.pkl")
    for name in without_counters(before):
        resnet = name.startswith("backbone.bottom_up.")
        assert torch.equal(state[name], given[name] if resnet else before[name]), name


def run(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
