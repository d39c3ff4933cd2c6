"""Trainings on video from end to end: what they learn from, what they leave, and that a kill changes nothing."""

import json
import shutil

import pytest
import torch

from nolabel.errors import ConfigError, DataError
from nolabel.methods.quadmix.video_data import open_source
from nolabel.methods.quadmix.video_model import load_video_model
from nolabel.methods.quadmix.video_training import VideoTraining, train_video
from tests.methods.quadmix.video_world import MIXING, SETTINGS, settings, write_videos

QUADMIX_LOSSES = {"source", "target", "on_source", "on_target", "class_vectors"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"))


def logged(out):
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "train/loss" in line]


def state_of(path):
    return load_video_model(path).network.state_dict()


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_source_only_sees_no_target(videos, tmp_path):
    config = settings(videos, temporal=None, mixing=None, class_vectors=None, match_colours=False)
    config = config.model_copy(update={"target": ()})
    train_video(config, tmp_path, device="cpu", progress=False)
    assert not (tmp_path / "flow" / "1_target").exists()
    names = {name for line in logged(tmp_path) for name in line if name.startswith("train/")}
    assert names == {"train/loss", "train/source", "train/source_auxiliary"}


def test_a_network_of_the_source_alone_looks_at_frames_of_the_targets_size(videos, tmp_path):
    alone = {
        "temporal": None,
        "mixing": None,
        "class_vectors": None,
        "match_colours": False,
        "validation": {},
    }
    fit = {**SETTINGS["fit"], "steps": 1}
    config = settings(videos, **alone, fit=fit, target_frames={"size": [40, 72], "bottom": 8})
    train_video(config, tmp_path, device="cpu", progress=False)
    assert load_video_model(tmp_path).size == (32, 72)


def test_key_frames_need_labels_for_mixing_only(videos, tmp_path):
    # The real snippets have one labelled frame each: enough to learn from their labels, not to mix them.
    labelled = [{"root": videos / "target", "dataset": "cityscapes_seq"}]
    changes = {"source": labelled, "fit": {**SETTINGS["fit"], "steps": 1}, "validation": {}}
    config = settings(videos, mixing=None, class_vectors=None, **changes)
    train_video(config, tmp_path, device="cpu", progress=False)
    assert {"train/source", "train/target"} <= set(logged(tmp_path)[-1])
    with pytest.raises(DataError, match="no label map"):
        open_source(settings(videos, **changes))


def test_the_target_is_learned_from_its_start(videos, tmp_path):
    temporal = {**SETTINGS["temporal"], "start": 2}
    fit = {**SETTINGS["fit"], "steps": 3}
    config = settings(videos, temporal=temporal, mixing=None, fit=fit, validation={})
    train_video(config, tmp_path, device="cpu", progress=False)
    assert ["train/target" in line for line in logged(tmp_path)] == [False, False, True]


@pytest.mark.slow
def test_quadmix_mixes_from_its_start_and_survives_a_kill(videos, tmp_path, monkeypatch):
    config = settings(videos)
    whole = train_video(config, tmp_path / "whole", device="cpu", progress=False)
    lines = logged(tmp_path / "whole")
    mixed = [{"train/on_source", "train/on_target"} <= set(line) for line in lines]
    assert mixed == [False, False, True, True]
    assert {name.removeprefix("train/") for name in lines[-1]} >= QUADMIX_LOSSES
    result = json.loads((tmp_path / "whole" / "result.json").read_text())
    assert 0 <= result["metrics"]["miou"] <= 1
    assert 0 <= result["metrics"]["consistency"] <= 1

    step = VideoTraining.training_step

    def killed(self, batch, number):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, batch, number)

    monkeypatch.setattr(VideoTraining, "training_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_video(config, tmp_path / "killed", device="cpu", progress=False)
    monkeypatch.undo()
    resumed = train_video(config, tmp_path / "killed", device="cpu", progress=False)
    assert same(state_of(whole), state_of(resumed))
    with pytest.raises(ConfigError):
        train_video(settings(videos, auxiliary_weight=0.2), tmp_path / "whole", device="cpu", progress=False)


def test_a_frozen_teacher_teaches_until_it_is_dismissed(videos, tmp_path, monkeypatch):
    seen = []
    choose = VideoTraining._teacher

    def teacher(self, step):
        chosen = choose(self, step)
        seen.append(chosen is not None)
        return chosen

    monkeypatch.setattr(VideoTraining, "_teacher", teacher)
    temporal = {
        **SETTINGS["temporal"],
        "teacher": {"name": "accel_deeplab_tiny"},
        "frozen_steps": 1,
        "scales": [0.8, 1.2],
    }
    config = settings(
        videos,
        temporal=temporal,
        mixing=None,
        fit={**SETTINGS["fit"], "steps": 2},
        network={"name": "accel_daformer_tiny"},
    )
    train_video(config, tmp_path, device="cpu", progress=False)
    assert seen == [True, False]
    assert "train/source_auxiliary" not in logged(tmp_path)[-1]


def test_features_are_mixed_and_executed_quirks_run(videos, tmp_path):
    mixing = {**MIXING, "start": 1, "feature_mix": {"start": 0}, "reference_compat": True}
    temporal = {**SETTINGS["temporal"], "reference_compat": True}
    config = settings(
        videos,
        temporal=temporal,
        mixing=mixing,
        reference_compat=True,
        fit={**SETTINGS["fit"], "steps": 2},
        optimizer={"name": "sgd", "learning_rate": 1e-4, "warmup_steps": 0},
    )
    train_video(config, tmp_path, device="cpu", progress=False)
    assert "train/on_target" in logged(tmp_path)[-1]


def test_flow_of_files_is_used_and_missed(videos, tmp_path):
    flow = {"source": videos / "source" / "flow" / "train", "target": videos / "target" / "flow" / "train"}
    config = settings(videos, flow=flow, temporal=None, mixing=None, class_vectors=None, validation={})
    train_video(config, tmp_path / "files", device="cpu", progress=False)
    assert not (tmp_path / "files" / "flow").exists()
    shorter = tmp_path / "flow"
    shutil.copytree(flow["target"], shorter)
    next(shorter.iterdir()).unlink()
    with pytest.raises(DataError, match="lacks 1 of"):
        train_video(
            settings(videos, flow={**flow, "target": shorter}),
            tmp_path / "missing",
            device="cpu",
            progress=False,
        )
