"""The pseudo-label stage as a whole: on a small stereo video made here, without any weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from nolabel.config import load_config
from nolabel.data import FolderStereoVideo
from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.methods.cups.pseudo_labels import PseudoLabelSummary, generate_pseudo_labels
from nolabel.methods.cups.statistics import load_statistics, read_labels
from nolabel.methods.cups.train import TrainConfig
from nolabel.structures import StereoCalibration
from nolabel.structures.files import write_png

HEIGHT, WIDTH, FRAMES = 64, 128, 4
CONFIG = load_config(
    PseudoLabelConfig,
    overrides=[
        "semantics.clusters=6",
        "semantics.fit_frames=3",
        "semantics.fit_samples=200",
        "semantics.restarts=1",
        "proposals.runs=2",
        "proposals.cycles=2",
        "crf.iterations=2",
    ],
)


def write_video(root: Path) -> None:
    """A textured wall far away and a box in front of it that moves to the right."""
    generator = np.random.default_rng(0)
    wall = generator.integers(40, 120, (HEIGHT, WIDTH + 64, 3), dtype=np.uint8)
    box = generator.integers(150, 255, (24, 30, 3), dtype=np.uint8)
    for frame in range(FRAMES):
        for side, wall_shift, box_shift in (("left", 0, 0), ("right", 2, 7)):
            image = wall[:, wall_shift : wall_shift + WIDTH].copy()
            x = 40 + 6 * frame - box_shift
            image[25:49, x : x + 30] = box
            write_png(root / side / f"{frame:03d}.png", image)
    StereoCalibration(100, 100, 63.5, 31.5, 0.8, 10).to_yaml(root / "calibration.yaml")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("video")
    write_video(root)
    return root


def run(video: Path, out: Path, config: PseudoLabelConfig = CONFIG, **options: object) -> PseudoLabelSummary:
    data = FolderStereoVideo(video)
    return generate_pseudo_labels(data, out, config, device="cpu", progress=False, **options)  # type: ignore[arg-type]


def label_bytes(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.png"))}


@pytest.fixture(scope="module")
def labelled(video: Path, tmp_path_factory: pytest.TempPathFactory) -> PseudoLabelSummary:
    return run(video, tmp_path_factory.mktemp("labels"), pictures=2)


def test_every_pair_has_both_maps_and_a_record(labelled: PseudoLabelSummary) -> None:
    out = labelled.out
    assert labelled.labelling.done == FRAMES - 1
    assert len(label_bytes(out)) == 2 * (FRAMES - 1)
    semantic, instances = (read_labels(out / f"000_{kind}.png") for kind in ("semantic", "instance"))
    assert semantic.shape == instances.shape == (HEIGHT, WIDTH)
    assert semantic.max() < 6
    record = labelled.labelling.records["000"]
    assert record["objects"] == len(np.unique(instances)) - 1 == instances.max()
    assert (record["empty"] is None) == (record["objects"] > 0)
    assert [path.name for path in sorted((out / "pictures").iterdir())] == ["000.jpg", "002.jpg"]


def test_objects_have_one_class_and_keep_off_the_border(labelled: PseudoLabelSummary) -> None:
    for stem in ("000", "001", "002"):
        semantic, instances = (
            read_labels(labelled.out / f"{stem}_{kind}.png") for kind in ("semantic", "instance")
        )
        assert not instances[:, :3].any()
        assert not instances[:, -3:].any()
        for i in range(1, instances.max() + 1):
            assert len(np.unique(semantic[instances == i])) == 1


def test_statistics_cover_all_files(labelled: PseudoLabelSummary) -> None:
    content = json.loads((labelled.out / "pseudo_classes.json").read_text())
    assert content["images"] == FRAMES - 1
    assert sorted(content["things"] + content["stuff"]) == list(range(6))
    assert sum(content["all_pixels"]) == (FRAMES - 1) * HEIGHT * WIDTH
    assert torch.equal(load_statistics(labelled.out).all_pixels, labelled.statistics.all_pixels)
    page = labelled.report.read_text()
    assert "Pseudo classes" in page
    assert "motions" in page


def test_shards_and_resume_give_the_same_bytes(
    video: Path, labelled: PseudoLabelSummary, tmp_path: Path
) -> None:
    second = run(video, tmp_path, shard="2/2")
    assert second.statistics.images < FRAMES - 1
    first = run(video, tmp_path, shard="1/2")
    assert label_bytes(tmp_path) == label_bytes(labelled.out)
    assert torch.equal(first.statistics.inside_proposals, labelled.statistics.inside_proposals)
    (tmp_path / "001_semantic.png").unlink()
    again = run(video, tmp_path)
    assert (again.labelling.done, again.labelling.skipped) == (1, FRAMES - 2)
    assert label_bytes(tmp_path) == label_bytes(labelled.out)


def test_a_corrupt_frame_fails_alone(tmp_path: Path) -> None:
    write_video(tmp_path / "video")
    (tmp_path / "video" / "right" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    summary = run(tmp_path / "video", tmp_path / "labels")
    assert [name for name, _ in summary.labelling.failed] == ["002"]
    assert summary.statistics.images == FRAMES - 2
    assert "002" in str(summary)
    assert "003.png" in str(summary)


def test_other_settings_are_refused_unless_overwritten(video: Path, tmp_path: Path) -> None:
    run(video, tmp_path)
    other = CONFIG.replaced(border=0.2)
    with pytest.raises(ConfigError, match="other settings"):
        run(video, tmp_path, other)
    more = load_config(PseudoLabelConfig, **{**CONFIG.model_dump(), "semantics": {"clusters": 5}})
    with pytest.raises(ConfigError, match=r"clusters\.safetensors"):
        run(video, tmp_path, more)
    assert run(video, tmp_path, more, overwrite=True).statistics.num_classes == 5


def test_clusters_of_another_run_are_taken_over(
    video: Path, labelled: PseudoLabelSummary, tmp_path: Path
) -> None:
    semantics = CONFIG.semantics.replaced(cluster_file=labelled.out / "clusters.safetensors")
    run(video, tmp_path, CONFIG.replaced(semantics=semantics.model_dump()))
    assert label_bytes(tmp_path) == label_bytes(labelled.out)
    assert not (tmp_path / "clusters.safetensors").exists()


def test_networks_without_weights_are_refused_before_any_work(video: Path, tmp_path: Path) -> None:
    config = load_config(PseudoLabelConfig, overrides=["motion.name=raft_smurf"])
    with pytest.raises(WeightsError, match="--motion-weights"):
        run(video, tmp_path, config)


@pytest.mark.parametrize(
    ("recipe", "threshold"), [("cups/tiny", 0.03), ("cups/cityscapes", 0.08), ("cups/kitti", 0.08)]
)
def test_recipes_are_valid(recipe: str, threshold: float) -> None:
    labelling = load_config(PseudoLabelConfig, recipe, section="pseudo_labels")
    training = load_config(TrainConfig, recipe, section="train")
    assert labelling.thing_threshold == training.thing_threshold == threshold
