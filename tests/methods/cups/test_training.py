"""Stage 2 from a label folder to a network that predicts, through the command line where a person would."""

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
from nolabel.errors import DataError, WeightsError
from nolabel.methods.cups.model_file import MODEL_FILE, load_model
from nolabel.methods.cups.optimisation import OptimisationConfig, make_optimizer
from nolabel.methods.cups.pseudo_label_dataset import open_pseudo_labels
from nolabel.methods.cups.statistics import STATISTICS_FILE, PseudoClassStatistics, save_statistics
from nolabel.methods.cups.train import NetworkTraining, TrainConfig, channel_weights, train
from nolabel.structures.files import write_png

SETTINGS = [
    "network=tiny",
    "only_non_empty=false",
    "fit.batch_size=2",
    "fit.checkpoint_every=1",
    "fit.accelerator=cpu",
    "augmentation.resolutions=[1.0]",
    "augmentation.paste_min_side=6",
    "augmentation.paste_predictions_after=2",
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stereo video of noise with a moving square, and its labels: pseudo-class 0 is the square, 1 and 2 are stuff."""
    root = tmp_path_factory.mktemp("video")
    random = np.random.default_rng(0)
    statistics = PseudoClassStatistics.zeros(3)
    for frame in range(5):
        image = random.integers(0, 80, (64, 96, 3), dtype=np.uint8)
        semantic = np.ones((64, 96), dtype=np.uint8)
        semantic[:24] = 2
        instance = np.zeros_like(semantic)
        area = (slice(30, 54), slice(8 + 10 * frame, 32 + 10 * frame))
        image[area], semantic[area], instance[area] = 200, 0, 1
        for side in ("left", "right"):
            write_png(root / side / f"{frame:04d}.png", image)
        write_png(root / "labels" / f"{frame:04d}_semantic.png", semantic)
        write_png(root / "labels" / f"{frame:04d}_instance.png", instance)
        statistics.update(torch.from_numpy(semantic), torch.from_numpy(instance))
    save_statistics(root / "labels" / STATISTICS_FILE, statistics, 0.08)
    (root / "calibration.yaml").write_text("fx: 80\nfy: 80\ncx: 48\ncy: 32\nbaseline: 0.5\nfps: 10\n")
    return root


def command(video: Path, out: Path, steps: int) -> list[str]:
    return [
        *(sys.executable, "-m", "nolabel", "cups", "train"),
        *("--labels", str(video / "labels"), "--data", str(video), "--out", str(out)),
        *(f"fit.steps={steps}", *SETTINGS),
    ]


def environment() -> dict[str, str]:
    source = str(Path(nolabel.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_killed_training_ends_in_the_same_bits(video: Path, tmp_path: Path) -> None:
    steps = 6
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(video, whole, steps), env=environment(), check=True, capture_output=True)
    process = subprocess.Popen(command(video, killed, steps), env=environment(), stderr=subprocess.DEVNULL)
    checkpoints = killed / "checkpoints"
    while not (checkpoints.is_dir() and len(list(checkpoints.iterdir())) >= 2) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / MODEL_FILE).exists(), "killed too late to show anything"
    again = subprocess.run(
        command(video, killed, steps), env=environment(), check=True, capture_output=True, text=True
    )
    assert "going on from step" in again.stderr
    assert (killed / MODEL_FILE).read_bytes() == (whole / MODEL_FILE).read_bytes()


def test_a_trained_network_predicts_and_says_what_its_clusters_are(video: Path, tmp_path: Path) -> None:
    dataset = open_pseudo_labels(video / "labels", video, only_non_empty=False)
    assert dataset.split.things == (0,) and sorted(dataset.split.stuff) == [1, 2] and len(dataset) == 4
    config = load_config(TrainConfig, overrides=["fit.steps=2", *SETTINGS])
    model = train(dataset, tmp_path / "run", config, progress=False)
    pipeline = nolabel.load("cups", tmp_path / "run", device="cpu")
    result = pipeline(video / "left" / "0001.png")
    assert result.size == (64, 96) and result.space.num_classes == 3 and result.space.things == (2,)
    assert len(pipeline(video / "left")) == 5
    assert load_model(tmp_path / "run" / MODEL_FILE).num_clusters == model.num_clusters == 3
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert log


def test_training_goes_on_from_a_network_of_the_same_labels_alone(video: Path, tmp_path: Path) -> None:
    dataset = open_pseudo_labels(video / "labels", video, only_non_empty=False)
    config = load_config(TrainConfig, overrides=["fit.steps=1", *SETTINGS])
    first = train(dataset, tmp_path / "first", config, progress=False)

    def start(num_stuff: int) -> dict[str, torch.Tensor]:
        again = config.replaced(initial_weights=tmp_path / "first")
        return NetworkTraining(dataset, again, tmp_path, 1, num_stuff).networks()["network"].state_dict()

    expected = first.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in start(2).items())
    with pytest.raises(
        WeightsError, match="1 thing and 2 stuff clusters, the labels have 1 thing and 3 stuff"
    ):
        start(3)


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_the_optimizer_is_chosen_and_spares_normalisations(name: str, kind: type) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    config = OptimisationConfig(optimizer=name, momentum=0.8, learning_rate=0.005, weight_decay=5e-5)  # type: ignore[arg-type]
    optimizer = make_optimizer(network, config)
    assert type(optimizer) is kind
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in network.parameters()] == [5e-5, 5e-5, 0, 0]
    group = optimizer.param_groups[0]
    assert group["lr"] == 0.005 and group.get("momentum", group.get("betas", [0])[0]) == 0.8


def test_labels_of_another_video_are_refused(video: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    for path in (video / "labels").iterdir():
        (tmp_path / "labels" / path.name.replace("000", "999", 1)).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="belongs to an image"):
        open_pseudo_labels(tmp_path / "labels", video)


def test_an_unfinished_run_says_how_to_finish_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has not finished") as error:
        nolabel.load("cups", tmp_path)
    assert "nolabel cups train" in str(error.value)


def test_rare_channels_weigh_more(video: Path) -> None:
    split = open_pseudo_labels(video / "labels", video).split
    weights = channel_weights(split)
    assert len(weights) == 1 + len(split.stuff) and weights[0] == max(weights)
