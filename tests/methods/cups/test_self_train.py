"""Stage 3: what is trained and what is not, how the teacher moves, exact resume, and every kind of images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import nolabel
from nolabel.config import load_config
from nolabel.data import open_unlabelled
from nolabel.errors import DataError, WeightsError
from nolabel.labels import LABEL_SPACES
from nolabel.methods.cups.model_file import MODEL_FILE, CupsModel, load_model, save_model
from nolabel.methods.cups.self_train import HEADS, SelfTrainConfig, self_train
from nolabel.methods.cups.self_train_images import ImagesConfig, images_of_run, open_training_images
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig
from nolabel.structures.files import write_json, write_png

SETTINGS = [
    "fit.batch_size=2",
    "fit.checkpoint_every=1",
    "fit.accelerator=cpu",
    "learning_rate=0.001",
    "view_scales=[0.5, 1.0]",
    "object_threshold=0.3",
    "confidence_threshold=0.25",
    "augmentation.resolutions=[0.75, 1.0]",
    "augmentation.paste_min_side=6",
]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of a stage-2 network whose clusters have names; it sees some objects."""
    folder = tmp_path_factory.mktemp("first")
    torch.manual_seed(0)
    network = PanopticCascadeMaskRCNN(PanopticConfig.tiny(num_things=2, num_stuff=3)).eval()
    with torch.no_grad():
        for predictor in network.roi_heads.box_predictor:
            predictor.cls_score.bias[-1] -= 1.0  # less background, so that there are detections to learn from
    aligned = CupsModel(network).aligned((0, 1, 255, 11, 13), LABEL_SPACES["cityscapes_19"])
    save_model(aligned, folder / MODEL_FILE, things=[4, 7], stuff=[1, 2, 9], steps=12)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Plain images of two sizes."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number, size in enumerate([(64, 96), (64, 96), (72, 80), (64, 96)]):
        write_png(root / f"{number}.png", random.integers(0, 256, (*size, 3), dtype=np.uint8))
    return root


def run(first: Path, pictures: Path, out: Path, *overrides: str) -> CupsModel:
    config = load_config(SelfTrainConfig, overrides=["fit.steps=2", *SETTINGS, *overrides])
    return self_train(first, open_unlabelled(pictures), out, config, progress=False)


def test_only_the_heads_without_their_norms_move(first: Path, pictures: Path, tmp_path: Path) -> None:
    run(first, pictures, tmp_path, "teacher_rate=0.75", "fit.steps=1")
    start = load_model(first).network.state_dict()
    student = load_model(tmp_path).network.state_dict()
    teacher = load_model(tmp_path, part="teacher").network.state_dict()
    moved = {name for name in start if not torch.equal(start[name], student[name])}
    trained = {name for name in start if name.startswith(HEADS) and "norm" not in name}
    assert moved <= trained
    assert {name.split(".")[0] for name in moved} == set(HEADS)
    for name in moved:
        torch.testing.assert_close(teacher[name], torch.lerp(start[name], student[name], 0.25))
    assert all(torch.equal(teacher[name], start[name]) for name in set(start) - moved)


def test_the_run_folder_keeps_what_was_known(first: Path, pictures: Path, tmp_path: Path) -> None:
    model = run(first, pictures, tmp_path, "picture_every=1")
    assert model.alignment == (0, 1, 255, 11, 13) and model.space == LABEL_SPACES["cityscapes_19"]
    assert model.facts == {"things": [4, 7], "stuff": [1, 2, 9], "steps": 12, "self_train_steps": 2}
    assert model.network.config.cascade.drop_loss_threshold is None
    assert model.network.config.confidence_threshold == 0.25
    assert model.network.config.stuff_area_limit == load_model(first).network.config.stuff_area_limit
    teacher = nolabel.load("cups", tmp_path, part="teacher", device="cpu")
    assert teacher(pictures / "0.png").size == (64, 96)
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["step_000001.png", "step_000002.png"]
    with pytest.raises(WeightsError, match="no teacher"):
        load_model(first, part="teacher")


def test_labels_without_object_or_pixel_are_learnt_from(first: Path, pictures: Path, tmp_path: Path) -> None:
    run(first, pictures, tmp_path, "object_threshold=1.0", "semantic_threshold=1.0", "fit.log_every=1")
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [line for line in log if "train/loss" in line]
    assert losses
    for line in losses:
        assert np.isfinite(line["train/loss"])
        assert line["train/loss_sem_seg"] == line["train/loss_mask"] == line["train/loss_box_reg_stage0"] == 0
        assert line["train/loss_cls_stage0"] > 0


def test_student_and_teacher_are_scored(first: Path, pictures: Path, tmp_path: Path) -> None:
    config = load_config(SelfTrainConfig, overrides=["fit.steps=1", *SETTINGS])
    seen = []

    def score(model: CupsModel) -> dict[str, float]:
        seen.append(model.network)
        assert model.alignment is not None and not model.network.training
        return {"pq": float(len(seen))}

    self_train(first, open_unlabelled(pictures), tmp_path, config, score=score, progress=False)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["metrics"] == {"pq": 1.0, "teacher_pq": 2.0} and seen[0] is not seen[1]


def command(first: Path, pictures: Path, out: Path, steps: int) -> list[str]:
    return [
        *(sys.executable, "-m", "nolabel", "cups", "self-train"),
        *("--from", str(first), "--data", str(pictures), "--out", str(out)),
        *(f"fit.steps={steps}", *SETTINGS),
    ]


@pytest.mark.slow
def test_a_killed_self_training_ends_in_the_same_bits(first: Path, pictures: Path, tmp_path: Path) -> None:
    source = str(Path(nolabel.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    steps = 4
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(first, pictures, whole, steps), env=environment, check=True, capture_output=True)
    process = subprocess.Popen(
        command(first, pictures, killed, steps), env=environment, stderr=subprocess.DEVNULL
    )
    checkpoints = killed / "checkpoints"
    while not (checkpoints.is_dir() and len(list(checkpoints.iterdir())) >= 2) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / MODEL_FILE).exists(), "killed too late to show anything"
    again = subprocess.run(
        command(first, pictures, killed, steps), env=environment, check=True, capture_output=True, text=True
    )
    assert "going on from step" in again.stderr
    assert (killed / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()


def test_images_are_those_of_stage_2_unless_others_are_given(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not say"):
        images_of_run(tmp_path)
    write_json(tmp_path / "source.json", {"root": str(tmp_path / "gone")})
    with pytest.raises(DataError, match="are gone"):
        images_of_run(tmp_path)
    (tmp_path / "gone").mkdir()
    assert images_of_run(tmp_path) == tmp_path / "gone"


def test_a_video_becomes_frames_once(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    video = cv2.VideoWriter(str(tmp_path / "drive.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (48, 32))
    for value in range(7):
        video.write(np.full((32, 48, 3), 30 * value, dtype=np.uint8))
    video.release()
    config = ImagesConfig(frame_stride=3, crop=(40, 40), crop_place="top_left")
    images = open_training_images(tmp_path / "drive.avi", config, frames=tmp_path / "frames", progress=False)
    assert len(images) == 3  # type: ignore[arg-type]
    image = torch.as_tensor(images[2]["image"])
    assert image.shape == (3, 40, 40) and (image[:, 32:] == 0).all()
    assert image[:, :32].mean() == pytest.approx(180 / 255, abs=0.02)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "frames").iterdir()}
    open_training_images(tmp_path / "drive.avi", config, frames=tmp_path / "frames", progress=False)
    assert written == {path: path.stat().st_mtime_ns for path in (tmp_path / "frames").iterdir()}


@pytest.mark.parametrize("recipe", ["cups/cityscapes", "cups/kitti"])
def test_recipes_hold_the_published_settings(recipe: str) -> None:
    config = load_config(SelfTrainConfig, recipe, section="self_train")
    published = SelfTrainConfig()
    assert config.fit.steps == 1500 and config.fit.precision == "bf16-mixed"
    optimisation = ("learning_rate", "warmup_steps", "decay_steps", "weight_decay", "teacher_rate")
    labels = ("view_scales", "mirror_views", "object_threshold", "semantic_threshold")
    for name in (*optimisation, *labels):
        assert getattr(config, name) == getattr(published, name), name
    height, width = config.images.crop or (0, 0)
    rows = [round(share * height) for share in config.augmentation.crop]
    assert ((height, width), rows) in [((1024, 2048), [512, 1024]), ((368, 1240), [288, 368])]
    if recipe == "cups/cityscapes":
        assert [height * factor for factor in config.augmentation.resolutions] == list(range(384, 705, 32))
        assert config.augmentation == published.augmentation
