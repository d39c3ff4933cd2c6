"""`nolabel pretrain features` and `evaluate-features`, as people call them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from methods.pretraining.pictures import scene, write_pictures
from nolabel.cli import app
from nolabel.engine.feature_extractors import load_features

SMALL = [
    *("--recipe", "pretrain/features_tiny"),
    "fit.steps=2",
    "fit.batch_size=2",
    "crops.size=32",
    "crops.points=8",
    "crops.scale=[0.3,0.8]",
    "network.options={widths: [8, 8, 16], depths: [1, 1, 1], channels: 12}",
]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """An own labelled folder with the parts train and val."""
    root = tmp_path_factory.mktemp("labelled")
    for part, start in (("train", 0), ("val", 10)):
        write_pictures(root / "images" / part, 3)
        (root / "labels" / part).mkdir(parents=True)
        for index in range(3):
            image, labels = scene(start + index)
            array = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            Image.fromarray(array).save(root / "images" / part / f"{index}.png")
            Image.fromarray(labels.numpy().astype(np.uint8)).save(root / "labels" / part / f"{index}.png")
    return root


def call(*arguments):
    done = CliRunner().invoke(app, ["pretrain", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_train_and_score(tmp_path, labelled) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    said = call("features", "--data", pictures, "--out", tmp_path / "run", "--validate", labelled, *SMALL)
    assert "6 pictures, each seen 0.7 times. So few" in said
    assert "knn_miou" in said and "evaluate-features" in said
    said = call(
        *("evaluate-features", "--data", labelled, "--features", tmp_path / "run"),
        *("--features", "descriptors", "--random", "--out", tmp_path / "scores.json"),
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores) == [str(tmp_path / "run"), f"{tmp_path / 'run'}, random", "descriptors"]
    # Noise and stripes: the descriptors measure just that.
    assert scores["descriptors"]["knn_miou"] > 0.8
    assert "linear mIoU" in said


@pytest.mark.slow
def test_two_processes(tmp_path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "nolabel", "pretrain", "features", "--data", str(pictures)),
            *("--out", str(tmp_path / "run"), "--device", "cpu", *SMALL),
            *(
                "fit.devices=2",
                "fit.batch_size=1",
                "objective.image=1",
                "crops.local=1",
                "crops.local_size=32",
            ),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root / "src")},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    weights = load_features(tmp_path / "run").state_dict().values()
    assert all(value.isfinite().all() for value in weights)
