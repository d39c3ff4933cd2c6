"""Steps of both trainings in mixed precision: they run, and end near those in full precision."""

import json

import pytest
import torch

from nolabel.engine.run_folder import RunFolder
from nolabel.methods.quadmix.image_training import train_images
from nolabel.methods.quadmix.video_training import train_video
from tests.methods.quadmix import image_world, video_world


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def losses(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines if "train/loss" in line]


def near(full, mixed):
    assert len(full) == len(mixed) == 2
    assert mixed != full  # it is another arithmetic
    assert mixed == pytest.approx(full, rel=0.1)


def test_images(tmp_path):
    world = image_world.write_world(tmp_path / "world")
    for precision in ("32-true", "bf16-mixed"):
        config = image_world.settings(
            world, "quadmix", "fit.steps=2", f"fit.precision={precision}", network=image_world.HRDA
        )
        train_images(config, tmp_path / precision, device="cpu", progress=False)
    near(losses(tmp_path / "32-true"), losses(tmp_path / "bf16-mixed"))
    templates = RunFolder(tmp_path / "bf16-mixed").load()["task"][0]["templates"]
    assert templates["source.frames"].dtype == torch.float32


def test_video(tmp_path):
    videos = video_world.write_videos(tmp_path / "videos")
    for precision in ("32-true", "bf16-mixed"):
        fit = {**video_world.SETTINGS["fit"], "steps": 2, "precision": precision}
        mixing = {**video_world.MIXING, "start": 1}
        config = video_world.settings(videos, fit=fit, mixing=mixing, validation={})
        train_video(config, tmp_path / precision, device="cpu", progress=False)
    near(losses(tmp_path / "32-true"), losses(tmp_path / "bf16-mixed"))
