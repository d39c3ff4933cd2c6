"""Trainings in processes of their own: killed at any moment and taken up again, and two processes together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nolabel.engine.run_folder import RunFolder
from nolabel.engine.segmentor_file import MODEL_FILE, TEACHER_FILE
from nolabel.weights import load_checkpoint
from tests.methods.quadmix import image_world, video_world

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    image_world.write_world(folder / "images")
    video_world.write_videos(folder / "video")
    return folder


def run(script, *arguments, cache):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    environment["XDG_CACHE_HOME"] = str(cache)
    done = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def tensors(value, path=""):
    """Everything in a checkpoint that is a tensor, by path."""
    if isinstance(value, torch.Tensor):
        return {path: value}
    items = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list | tuple) else items
    return {k: v for key, item in items for k, v in tensors(item, f"{path}/{key}").items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "video"])
def test_killed_again_and_again_gives_the_same_bytes(kind, data, tmp_path):
    run(Path(__file__).with_name("killed_runs.py"), kind, data / kind, tmp_path, cache=tmp_path / "cache")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for file in (MODEL_FILE,) + ((TEACHER_FILE,) if kind == "images" else ()):
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), file
    first, second = (tensors(RunFolder(folder).load()) for folder in (whole, killed))
    for part in ("/networks/student", "/networks/teacher", "/optimizers/student", "/task/0/templates"):
        assert any(name.startswith(part) for name in first), part
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []
    losses = [
        {line["step"]: line for line in RunFolder(folder).read_log() if "train/loss" in line}
        for folder in (whole, killed)
    ]
    assert losses[0].keys() == losses[1].keys() == {1, 2, 3, 4}
    assert all(line["train/loss"] == losses[1][step]["train/loss"] for step, line in losses[0].items())


TRAIN = """
import json, sys
from pathlib import Path
import torch
from torch import nn
torch.set_num_threads(1)
kind, data, out, options = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4])
if options.pop("still"):  # statistics of a batch would be those of half of it
    nn.modules.batchnorm._BatchNorm.train = lambda self, mode=True: nn.Module.train(self, False)
if kind == "images":
    from nolabel.methods.quadmix.image_training import train_images
    from tests.methods.quadmix.image_world import HRDA, PYRAMID, settings
    network = HRDA if options["method"] == "quadmix" else [*PYRAMID, "network.options={width: 8, dropout: 0.0}"]
    config = settings(data, options["method"], "fit.accelerator=cpu", *options["settings"], network=network)
    train_images(config, out, progress=False)
else:
    from nolabel.methods.quadmix import video_training
    from tests.methods.quadmix.video_world import SETTINGS, settings
    changes = options["settings"]
    fit = {**SETTINGS["fit"], **changes.pop("fit")}
    video_training.shutil = type("", (), {"rmtree": staticmethod(lambda *_, **__: None)})
    video_training.train_video(settings(data, fit=fit, validation={}, **changes), out, progress=False)
"""


def train(data, out, kind, settings, *, still=False, method=None):
    script = out.parent / "train.py"
    script.write_text(TRAIN)
    options = {"settings": settings, "still": still, "method": method}
    run(script, kind, data / kind, out, json.dumps(options), cache=out.parent / "cache")
    return RunFolder(out).load()


def check_two(state):
    """Both processes left their templates, which differ, and one finite network."""
    first, second = (tensors(part["templates"]) for part in state["task"])
    assert first.keys() == second.keys()
    assert not torch.equal(first["/source.frames"], second["/source.frames"])
    assert all(v.isfinite().all() for v in state["networks"]["student"].values())


@pytest.mark.slow
def test_two_processes_mix_images(data, tmp_path):
    two = ["fit.devices=2", "fit.batch_size=1", "fit.steps=2", "fit.checkpoint_every=2"]
    check_two(train(data, tmp_path / "two", "images", two, method="quadmix"))
    assert {"on_source/fused", "on_target/fused"} <= {
        name.removeprefix("train/") for line in RunFolder(tmp_path / "two").read_log() for name in line
    }
    assert load_checkpoint(tmp_path / "two" / TEACHER_FILE).state_dict


def video_settings(devices, *, steps=2, **changes):
    fit = {"devices": devices, "batch_size": 2 // devices, "steps": steps, "checkpoint_every": steps}
    return {"fit": fit, **changes}


@pytest.mark.slow
def test_two_processes_mix_video(data, tmp_path):
    mixing = {**video_world.MIXING, "start": 1}
    check_two(train(data, tmp_path / "two", "video", video_settings(2, mixing=mixing)))
