"""Predicting and scoring with a loaded network, from Python and from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import nolabel
from nolabel.api import SegmentationPipeline
from nolabel.cli import app
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.engine.segmentor_file import MODEL_FILE, SegmentorModel, save_model
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import CAMVID_11
from nolabel.models.segmentation import build_segmentor
from nolabel.structures import SemanticMap

runner = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an untrained network that says several classes."""
    torch.manual_seed(0)
    network = build_segmentor("tiny", 12, width=16).eval()
    torch.nn.init.normal_(network.classifier.weight, std=1.0)
    model = SegmentorModel(
        network, "tiny", CAMVID_11, {"width": 16}, InferenceSize(shortest_edge=32, longest_edge=64)
    )
    folder = tmp_path_factory.mktemp("run")
    save_model(model, folder / "final" / MODEL_FILE, stage="final")
    return folder


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("camvid")
    generator = np.random.default_rng(0)
    for kind, shape, high in (("images", (40, 50, 3), 256), ("labels", (40, 50), 12)):
        for index in range(3):
            path = root / kind / "val" / "0016E5" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, high, shape).astype(np.uint8)).save(path)
    return root


def test_results_are_semantic_maps(run: Path, camvid: Path) -> None:
    model = nolabel.load("cotrain", run, device="cpu")
    assert isinstance(model, SegmentationPipeline) and model.space == CAMVID_11
    folder = camvid / "images" / "val" / "0016E5"
    one, many = model(folder / "0.png"), model(folder, batch_size=2)
    assert isinstance(one, SemanticMap) and one.size == (40, 50) and len(many) == 3
    assert (one.labels == many[0].labels).float().mean() > 0.99
    assert next(model.stream(folder, output_size=(20, 25))).size == (20, 25)
    assert one.overlay(np.zeros((40, 50, 3), np.uint8)).shape == (40, 50, 3)


def test_predictions_on_disk_score_like_the_network(run: Path, camvid: Path, tmp_path: Path) -> None:
    model = nolabel.load("cotrain", run, device="cpu")
    (camvid / "images" / "val" / "broken.png").write_bytes(b"nothing")
    summary = model.save(
        camvid / "images" / "val", tmp_path, ["labels", "colours", "overlay", "video", "gallery"]
    )
    (camvid / "images" / "val" / "broken.png").unlink()
    assert summary.count == 3 and summary.failed[0][0] == "broken"
    assert summary.written == {"labels": 3, "colours": 3, "overlay": 3, "video": 1, "gallery": 1}
    card = json.loads((tmp_path / "predictions.json").read_text())
    assert card["space"] == "camvid_11" and len(card["images"]) == 3 and len(card["failed"]) == 1
    direct = nolabel.evaluate(model, camvid, progress=False)
    for folder in (tmp_path, tmp_path / "colours"):
        stored = nolabel.evaluate(folder, camvid, task="semantic", progress=False)
        assert np.array_equal(stored.scores.confusion, direct.scores.confusion)
    with pytest.raises(ConfigError, match="no panoptic labels"):
        nolabel.evaluate(model, camvid, task="panoptic")


def test_commands(run: Path, camvid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--out", str(out), "--save", "labels", "--size", "20x25"]
    predicted = runner.invoke(app, ["cotrain", "predict", str(run), str(camvid / "images"), *options])
    assert predicted.exit_code == 0 and "3 images predicted" in predicted.output
    assert np.array(Image.open(sorted(out.glob("*_semantic.png"))[0])).shape == (20, 25)
    common = ["--data", str(camvid), "--out", str(tmp_path / "scores")]
    scored = runner.invoke(
        app, ["cotrain", "evaluate", "--predictions", str(out), *common, "--visualize", "1"]
    )
    assert scored.exit_code == 0 and "mIoU over classes" in scored.output, scored.output
    record = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert record["space"] == "camvid_11" and record["images"] == 3
    network = runner.invoke(app, ["cotrain", "evaluate", str(run), "batch_size=2", *common])
    assert network.exit_code == 0
    record = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert record["predictions"]["trained"] == {"stage": "final"} and record["settings"]["batch_size"] == 2
    assert runner.invoke(app, ["cotrain", "evaluate", *common]).exception.message.startswith("give a model")


def test_there_are_no_embedded_weights() -> None:
    with pytest.raises(WeightsError, match="embedded"):
        nolabel.load("cotrain")


def test_confidences_and_saved_predictions(run: Path, camvid: Path, tmp_path: Path) -> None:
    images = camvid / "images" / "val" / "0016E5"
    one = nolabel.load("cotrain", run, device="cpu")(images / "0.png")
    assert one.confidence is not None and one.confidence.shape == one.labels.shape
    assert float(one.confidence.min()) >= 1 / 12 and float(one.confidence.max()) <= 1
    (tmp_path / "list.txt").write_text(f"{images / '0.png'}\n{images / '2.png'}\n")
    words = [
        "predict",
        str(run),
        str(tmp_path / "list.txt"),
        "--out",
        str(tmp_path / "p"),
        "--save",
        "labels,confidence",
    ]
    result = runner.invoke(app, ["cotrain", *words, "--device", "cpu"], catch_exceptions=False)
    assert result.exit_code == 0 and "2 confidence" in result.output
    percent = np.array(Image.open(tmp_path / "p/confidence/0.png"))
    assert np.abs(percent - 100 * one.confidence.numpy()).max() <= 0.5 + 1e-3
    words = [
        "evaluate",
        str(run),
        "--data",
        str(camvid),
        "--out",
        str(tmp_path / "e"),
        "--save",
        "labels,colours,confidence",
    ]
    result = runner.invoke(
        app, ["cotrain", *words, "--void-metric", "--device", "cpu"], catch_exceptions=False
    )
    assert result.exit_code == 0 and "void as a class" in result.output
    saved = tmp_path / "e" / "predictions"
    assert len(list(saved.glob("*_semantic.png"))) == len(list((saved / "confidence").glob("*.png"))) == 3
    # The predictions on disk have the same score.
    words = ["evaluate", "--predictions", str(saved), "--data", str(camvid), "--out", str(tmp_path / "f")]
    assert runner.invoke(app, ["cotrain", *words], catch_exceptions=False).exit_code == 0
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ef")
    assert first["confusion"] == second["confusion"] and "void_as_class" not in second
    with pytest.raises(ConfigError, match="saved"):
        runner.invoke(app, ["cotrain", *words, "--save", "labels"], catch_exceptions=False)
