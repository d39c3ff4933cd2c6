"""Video layouts of the world, read back by the readers of the official data sets; the exact flow in their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nolabel.data import FlowFiles, VideoClips, open_labels, target_offsets
from nolabel.data.video_clips import TARGET_FLOWS
from nolabel.errors import DataError
from nolabel.geometry import backward_warp
from nolabel.labels import CITYSCAPES_19, VOID, space_map
from nolabel.metrics import SemanticQuality, TemporalConsistency
from nolabel.world import Renderer, Rig, WorldSettings, exact_flow, generate_scene, write_world

RIG = Rig((48, 96))
SEED = 3
SPACES = {"viper": "viper_15", "synthia_seq": "synthia_seq_12"}


@pytest.fixture(scope="module", params=list(SPACES))
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp(request.param)
    write_world(out, WorldSettings(request.param, scenes=2, frames=2, rig=RIG, seed=SEED, motion=True))
    return request.param, out


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("city")
    settings = WorldSettings("cityscapes_seq", scenes=2, frames=3, rig=RIG, seed=SEED, motion=True)
    assert write_world(out, settings) == 2
    return out


def test_source_clips_hold_the_truth(source: tuple[str, Path]) -> None:
    name, root = source
    folder = root / "flow" / ("train" if name == "viper" else "")
    clips = VideoClips(root, labelled=2, flow=FlowFiles(folder), size=None)
    assert (clips.layout.name, len(clips), clips.space.name) == (name, 2, SPACES[name])
    renderer = Renderer(generate_scene(SEED), "real", RIG)
    current, key = renderer.frame(1 / RIG.fps), renderer.frame(0.0)
    sample = clips[0]
    classes = space_map(CITYSCAPES_19, SPACES[name])
    for frame, image, labels in zip((current, key), sample["frames"], sample["labels"], strict=True):
        np.testing.assert_array_equal(labels, classes[frame.semantic.numpy()])
        assert float((image - frame.image).abs().mean()) < (0.02 if name == "viper" else 0.002)
    exact = exact_flow(renderer.scene, current, key)[0]
    assert float((sample["flow"][0] - exact).abs().max()) < 0.1 + 1e-4  # cut to tenths


def test_the_flow_of_the_files_leads_back_to_the_older_frame(source: tuple[str, Path]) -> None:
    name, root = source
    folder = root / "flow" / ("train" if name == "viper" else "")
    clips = VideoClips(root, labelled=2, flow=FlowFiles(folder), size=None)
    scores = {}
    for sign in (1, 0, -1):
        metric = TemporalConsistency(clips.space)
        for sample in clips:
            current, older = (part[None] for part in sample["labels"])
            metric.follow(current, older, sign * sample["flow"][:1])
        scores[sign] = metric.compute().accuracy
    assert scores[1] > max(scores[0], scores[-1])
    assert scores[1] > 0.9


def test_synthetic_sets_open_as_single_labelled_images(source: tuple[str, Path]) -> None:
    name, root = source
    stills = open_labels(root, name, "train")
    assert len(stills) == 4
    assert set(stills[0]["semantic"].unique().tolist()) <= {*range(stills.space.num_classes), VOID}


def test_target_clips_have_flow_between_all_frames_they_need(target: Path) -> None:
    clips = VideoClips(
        target,
        offsets=target_offsets(),
        labelled=1,
        flow=FlowFiles(target / "flow/train"),
        flow_pairs=TARGET_FLOWS,
        size=None,
    )
    assert clips.names == [f"world_{scene:06d}_000019_leftImg8bit" for scene in (0, 1)]
    sample = clips[0]
    assert torch.equal(sample["frames"][1], sample["frames"][2])
    assert torch.equal(sample["flow"][0], sample["flow"][1])
    for (first, second), flow in zip(TARGET_FLOWS, sample["flow"], strict=True):
        moved, inside = backward_warp(sample["frames"][second][None], flow[None])
        error = (moved[0] - sample["frames"][first]).abs()[:, inside[0, 0]].mean()
        still = (sample["frames"][second] - sample["frames"][first]).abs().mean()
        assert error < still


def test_a_perfect_prediction_scores_one(target: Path) -> None:
    clips = VideoClips(target, labelled=1, native_labels=True, space="synthia_seq_12")
    metric = SemanticQuality(clips.space)
    labels = clips[0]["labels"]
    assert clips[0]["frames"].shape[-2:] == (512, 1024)
    assert labels.shape[-2:] == RIG.size
    metric.update(labels, labels)
    assert metric.compute().miou == 1


def test_what_is_missing_is_said_at_opening(target: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"_000019_leftImg8bit -3"):
        VideoClips(target, offsets=(0, -3))
    with pytest.raises(DataError, match="2 of 4 frames have no label map"):
        VideoClips(target, labelled=2)
    (tmp_path / "flow").mkdir()
    with pytest.raises(
        DataError, match=r"lacks 2 of 2 flow files: world_000000_000019_000018_int16_x10\.npy"
    ):
        VideoClips(target, flow=FlowFiles(tmp_path / "flow"))
    listed = tmp_path / "list.txt"
    listed.write_text(
        "world/world_000000_000019_leftImg8bit.png\nworld/world_000007_000019_leftImg8bit.png\n"
    )
    with pytest.raises(DataError, match="lacks 1: world_000007"):
        VideoClips(target, entries=listed)
