"""The whole loop on a micro world: it runs, goes on after any kill, and refuses changed settings."""

import pytest
import torch

from nolabel.methods.cotraining.model_file import load_model
from nolabel.methods.cotraining.pipeline import run_pipeline
from tests.methods.cotraining.micro_world import open_world, settings, write_world


def run(world, out, config=None, validation=True):
    source, target, truth = open_world(world)
    return run_pipeline(
        source, target, out, config or settings(), validation=truth if validation else None, progress=False
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    torch.set_num_threads(1)
    return run(world, tmp_path_factory.mktemp("finished"))


def test_a_run_leaves_every_stage(finished):
    out = finished.out
    assert finished.model == out / "final" / "model.safetensors"
    assert list(finished.scores) == [
        "baseline",
        "self-training 1",
        "self-training 2",
        "co-training 1 A",
        "co-training 1 B",
        "co-training 2 A",
        "co-training 2 B",
        "final",
    ]
    assert all(0 <= value <= 1 for value in finished.scores.values())
    text = (out / "report.html").read_text()
    assert "Thresholds" in text and "Predictions" in text
    assert not list(out.rglob("*.prediction")) and not list(out.rglob("*.ckpt"))
    assert load_model(out).space.name == "cityscapes_19"
