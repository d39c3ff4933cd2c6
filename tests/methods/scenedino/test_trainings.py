"""Both stages: what they leave, interrupted and resumed bit by bit, what they refuse."""

import json

import pytest
import torch
from safetensors.torch import load_file

from methods.scenedino.posed_scenes import NETWORK, NoiseScenes
from nolabel.errors import ConfigError, DataError
from nolabel.methods.scenedino import geometry_training, semantic_training
from nolabel.methods.scenedino.geometry_settings import GeometryTrainingConfig
from nolabel.methods.scenedino.geometry_training import train_geometry
from nolabel.methods.scenedino.network_files import load_scenedino
from nolabel.methods.scenedino.semantic_settings import SemanticTrainingConfig
from nolabel.methods.scenedino.semantic_training import train_semantics
from nolabel.models.scenedino import SceneDino, SceneDinoConfig

FIT = {"steps": 4, "batch_size": 2, "checkpoint_every": 2, "log_every": 1, "validate_every": 2}


def geometry(out, **changes):
    config = GeometryTrainingConfig(
        **{
            "fit": FIT,
            "network": NETWORK,
            "rays": {"patches": 4, "samples": 6},
            "look": {"samples": 1, "views": 2},
            **changes,
        }
    )
    return train_geometry(config, NoiseScenes(), out, looked_at=NoiseScenes(2), device="cpu", progress=False)


def semantics(network, out, *, scenes=None, looked_at=None, **changes):
    config = SemanticTrainingConfig(
        **{
            "fit": FIT,
            "head": {"code": 6, "clusters": 5, "classes": 3},
            "surface": {"samples": 4},
            "buffer": 12,
            "rays": 256,
            "samples": 6,
            "look": {"samples": 1},
            **changes,
        }
    )
    return train_semantics(
        config,
        network,
        scenes or NoiseScenes(),
        out,
        looked_at=NoiseScenes(2) if looked_at is None else looked_at or None,
        device="cpu",
        progress=False,
    )


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return geometry(tmp_path_factory.mktemp("geometry") / "run")


@pytest.fixture(scope="module")
def second(first, tmp_path_factory):
    return semantics(first.model, tmp_path_factory.mktemp("semantics") / "run")


def stop_after(monkeypatch, task, done):
    """Interrupt a training after so many steps."""
    after = task.after_step

    def stopping(self, step):
        after(self, step)
        if step + 1 == done:
            raise KeyboardInterrupt

    monkeypatch.setattr(task, "after_step", stopping)


def same(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_geometry_leaves_a_network(first) -> None:
    assert list(first.model.parent.glob("pictures/step_*4.png"))
    network = load_scenedino(first.model, targets=True)
    assert network.config.head is None
    assert {"cosine", "abs_rel"} <= set(first.metrics)
    assert not list(first.model.parent.glob("best*")) and not (first.model.parent / "checkpoints").exists()


@pytest.mark.parametrize("done", [1, 3])
def test_geometry_goes_on_exactly(first, tmp_path, monkeypatch, done) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, geometry_training.GeometryTraining, done)
        geometry(tmp_path / "run")
    resumed = geometry(tmp_path / "run")
    assert same(first.model, resumed.model) and resumed.metrics == first.metrics
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "train/loss" in line] == [1, 2, 3, 4]


def test_semantics_leave_a_network_with_a_head(first, second) -> None:
    network = load_scenedino(second.model)
    assert network.config.head.clusters == 5
    before = load_scenedino(first.model).state_dict()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    # Every class was given a cluster.
    assert sorted(set(network.semantic_head.code_clusters.classes.tolist())) == [0, 1, 2]
    assert "code_clusters_miou" in second.metrics and list(second.model.parent.glob("pictures/*.png"))
    lines = (second.model.parent / "log.jsonl").read_text().splitlines()
    assert any("train/own" in json.loads(line) for line in lines)  # the code did learn


@pytest.mark.parametrize("done", [1, 3])
def test_semantics_go_on_exactly(first, second, tmp_path, monkeypatch, done) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, semantic_training.SemanticTraining, done)
        semantics(first.model, tmp_path / "run")
    resumed = semantics(first.model, tmp_path / "run")
    assert same(second.model, resumed.model) and resumed.metrics == second.metrics


def test_semantics_without_any_labels(first, tmp_path) -> None:
    found = semantics(first.model, tmp_path, scenes=NoiseScenes(classes=0), looked_at=False)
    assert load_scenedino(found.model).semantic_head is not None and found.metrics == {}


def test_semantics_of_crops(first, tmp_path) -> None:
    assert semantics(first.model, tmp_path, surface={"mode": "2d", "step": 4}).model.exists()


def test_unlabelled_scenes_cannot_be_scored(first, tmp_path) -> None:
    with pytest.raises(DataError, match="no labels"):
        semantics(first.model, tmp_path, looked_at=NoiseScenes(classes=0))


@pytest.mark.parametrize("targets", ["bilinear", "multi_crop"])
def test_targets_of_pixels(tmp_path, targets) -> None:
    options = {**NETWORK["options"], "artifacts": False, "downsampler": "bilinear"}
    network = {**NETWORK, "options": options}
    assert geometry(tmp_path, targets=targets, network=network, fit={**FIT, "steps": 1}).model.exists()


def test_a_target_needs_weights(tmp_path) -> None:
    with pytest.raises(ConfigError, match="without weights"):
        geometry(tmp_path, network={"architecture": "vit-t", "image_size": [32, 64]})


def test_in_mixed_precision_both_stages_end_near_those_in_full(first, tmp_path):
    """Poses and draws reach the networks as they are; the products inside are rounded."""
    whole, mixed = (
        json.loads((run / "log.jsonl").read_text().splitlines()[0])
        for run in (
            first.model.parent,
            geometry(tmp_path / "geometry", fit={**FIT, "precision": "bf16-mixed"}).model.parent,
        )
    )
    assert mixed["train/loss"] == pytest.approx(whole["train/loss"], rel=0.03)
    assert mixed["train/loss"] != whole["train/loss"]
    rounded = semantics(first.model, tmp_path / "rounded", fit={**FIT, "precision": "bf16-mixed"})
    plain = semantics(first.model, tmp_path / "plain")
    whole, mixed = (
        json.loads((run.model.parent / "log.jsonl").read_text().splitlines()[0]) for run in (plain, rounded)
    )
    assert mixed["train/loss"] == pytest.approx(whole["train/loss"], rel=0.2)


def test_what_all_targets_share_may_be_taken_off(tmp_path):
    """The mean is that of training images, is kept in the file, and later targets lack it."""
    options = {**NETWORK["options"], "centred": True}
    run = geometry(tmp_path / "run", network={**NETWORK, "options": options}, fit={**FIT, "steps": 2})
    network = load_scenedino(run.model, targets=True)
    images = torch.cat([NoiseScenes()[number].images for number in range(6)])
    whole = torch.nn.functional.normalize(network.target(images), dim=1)
    mean = whole.mean(dim=(0, 2, 3))
    assert mean.norm() > 0.2 and torch.allclose(network.target_mean, mean, atol=1e-5)
    expected = torch.nn.functional.normalize(whole - mean[:, None, None], dim=1)
    assert torch.allclose(network.targets(images), expected, atol=1e-4)
    with pytest.raises(ConfigError, match="centred=true"):
        SceneDino(SceneDinoConfig(**{**vars(network.config), "centred": False})).centre_targets(images)
