"""Pretraining: what it leaves, interrupted and resumed bit by bit, that it learns, what it says and refuses."""

import json

import cv2
import numpy as np
import pydantic
import pytest
import torch
from safetensors.torch import load_file

from methods.pretraining.pictures import LabelledPictures, Pictures, write_pictures
from nolabel.engine.feature_extractors import load_features
from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.pretraining import feature_training
from nolabel.methods.pretraining.feature_images import images_identity, open_pictures, what_to_expect
from nolabel.methods.pretraining.feature_settings import FeaturePretrainingConfig, ImagesConfig
from nolabel.methods.pretraining.feature_training import pretrain_features

NETWORK = {"architecture": "compact", "options": {"widths": [8, 8, 16], "depths": [1, 1, 1], "channels": 12}}
CROPS = {"size": 32, "local": 2, "local_size": 16, "points": 16, "scale": [0.3, 0.8], "overlap": 0.3}
HEADS = {
    "hidden": 16,
    "layers": 2,
    "bottleneck": 8,
    "prototypes": 16,
    "dense_prototypes": 16,
    "frozen_steps": 1,
}


def settings(steps=4, **changes):
    fit = {"steps": steps, "batch_size": 2, "checkpoint_every": 2, "log_every": 1, "validate_every": 2}
    given = {
        "fit": fit,
        "network": NETWORK,
        "crops": CROPS,
        "heads": HEADS,
        "objective": {"image": 1.0, "dense": 1.0},
        "rates": {"learning_rate": 1e-2, "reference_batch": 2},
        "look": {"references": 3, "queries": 2, "cells": 20, "neighbours": 3, "pictures": 2},
        **changes,
    }
    return FeaturePretrainingConfig(**given)


def train(out, config=None, **options):
    options = {"probed": (LabelledPictures(3, 100), LabelledPictures(2, 200)), **options}
    return pretrain_features(config or settings(), Pictures(), out, device="cpu", progress=False, **options)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return train(tmp_path_factory.mktemp("features") / "run")


def stop_after(monkeypatch, done):
    after = feature_training.FeatureTraining.after_step

    def stopping(self, step):
        after(self, step)
        if step + 1 == done:
            raise KeyboardInterrupt

    monkeypatch.setattr(feature_training.FeatureTraining, "after_step", stopping)


def same(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_leaves_a_network(first) -> None:
    network = load_features(first.model)
    assert network(torch.rand(1, 3, 40, 56)).shape == (1, 12, 5, 7)
    assert {"knn_miou", "linear_miou", "entropy", "spread", "collapsed"} <= set(first.metrics)
    assert len(list(first.model.parent.glob("pictures/step_*.png"))) == 2
    assert not (first.model.parent / "checkpoints").exists()


@pytest.mark.parametrize("done", [1, 3])
def test_goes_on_exactly(first, tmp_path, monkeypatch, done) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, done)
        train(tmp_path / "run")
    resumed = train(tmp_path / "run")
    assert same(first.model, resumed.model) and resumed.metrics == first.metrics
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]


def test_centring_goes_on_exactly(tmp_path, monkeypatch) -> None:
    """The centre is part of what must be kept; with Sinkhorn (elsewhere) there is none."""
    config = settings(distillation={"balancing": "centre", "centre_momentum": 0.5})
    whole = train(tmp_path / "whole", config)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 3)
        train(tmp_path / "run", config)
    assert same(whole.model, train(tmp_path / "run", config).model)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"image": 1.0, "dense": 0.0}, "crops": {**CROPS, "points": 0}},
        {"objective": {"image": 0.0, "dense": 1.0}, "crops": {**CROPS, "local": 0}},
        {"distillation": {"balancing": "sinkhorn"}},
        {"fit": {"steps": 2, "batch_size": 2, "precision": "bf16-mixed"}},
    ],
)
def test_every_objective_changes_the_network(first, tmp_path, changes) -> None:
    trained = train(tmp_path, settings(**changes), probed=None)
    assert not same(first.model, trained.model)
    assert all(value.isfinite().all() for value in load_file(trained.model).values())


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "resnet18"])
def test_timm_networks(tmp_path, architecture) -> None:
    network = {"architecture": architecture, "options": {} if "vit" in architecture else {"max_stride": 8}}
    if "resnet" in architecture:
        network["options"]["output_stride"] = 8
    config = settings(steps=1, network=network)
    trained = train(tmp_path, config, probed=None)
    cells = load_features(trained.model)(torch.rand(1, 3, 64, 64))
    assert cells.shape == ((1, 192, 4, 4) if "vit" in architecture else (1, 512, 8, 8))


def test_it_learns(tmp_path) -> None:
    """Noise and stripes: after a few steps the same places are told alike, better than by chance."""
    config = settings(
        steps=40,
        objective={"image": 0.0, "dense": 1.0},
        distillation={"balancing": "sinkhorn", "teacher_temperature": 0.06, "momentum": [0.9, 1.0]},
    )
    config = config.replaced(fit={**config.fit.model_dump(), "batch_size": 4, "validate_every": None})
    train(tmp_path, config)
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    values = [line["train/dense"] for line in losses if "train/dense" in line]
    assert sum(values[-5:]) < 0.9 * sum(values[:5])


def test_starts_from_an_earlier_one(first, tmp_path) -> None:
    network = {**NETWORK, "initial": first.model.parent}
    started = feature_training.start_backbone(settings(network=network).network)
    kept = load_features(first.model).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in started.state_dict().items())
    with pytest.raises(WeightsError):
        other = {"architecture": "compact", "initial": first.model}
        feature_training.start_backbone(settings(network=other).network)


def test_collapse_is_said(tmp_path, monkeypatch, capsys) -> None:
    constant = torch.eye(16)[0]
    monkeypatch.setattr(
        feature_training.Balancing, "forward", lambda self, outputs, _: constant.expand_as(outputs)
    )
    trained = train(tmp_path, probed=None)
    assert trained.metrics["collapsed"] == 1
    assert "same output" in trained.warning and "same output" in capsys.readouterr().err


def test_other_pictures_are_refused(first) -> None:
    with pytest.raises(ConfigError, match="images"):
        pretrain_features(settings(), Pictures(7), first.model.parent, device="cpu", progress=False)


def test_objectives_need_their_points() -> None:
    with pytest.raises(pydantic.ValidationError, match=r"crops\.points"):
        settings(crops={**CROPS, "points": 0})
    with pytest.raises(pydantic.ValidationError, match="nothing to learn"):
        settings(objective={"image": 0.0, "dense": 0.0}, crops={**CROPS, "points": 0})


def test_folders_and_videos_are_read(tmp_path) -> None:
    folder = write_pictures(tmp_path / "pictures")
    video = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for frame in range(9):
        video.write(np.full((48, 64, 3), 20 * frame, np.uint8))
    video.release()
    images = open_pictures([folder, tmp_path / "clip.mp4"], ImagesConfig(video_frames=3, shorter_side=32))
    assert len(images) == 9
    assert images[0]["image"].shape == (3, 32, 45) and images[8]["image"].shape == (3, 32, 43)
    brightness = [float(images[place]["image"].mean()) * 255 for place in (6, 7, 8)]
    assert brightness == pytest.approx([0, 60, 120], abs=6)  # every third frame
    assert images_identity(images) != images_identity(open_pictures([folder], ImagesConfig()))
    with pytest.raises(ConfigError, match="nothing to learn from"):
        open_pictures([], ImagesConfig())


def test_few_pictures_are_said_to_be_few() -> None:
    assert "So few pictures" in what_to_expect(100, 1000, 8) and "80.0 times" in what_to_expect(100, 1000, 8)
    assert "So few pictures" not in what_to_expect(5000, 1000, 8)


@pytest.mark.parametrize("recipe", ["pretrain/features", "pretrain/features_tiny"])
def test_recipes_are_settings(recipe) -> None:
    from nolabel.config import load_config

    assert load_config(FeaturePretrainingConfig, recipe).fit.steps > 0
