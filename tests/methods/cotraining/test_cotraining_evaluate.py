"""Scores of networks and of folders of predictions, and the files they leave."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.api.evaluate_segmentation import EvaluationConfig, evaluate
from nolabel.data import open_labels
from nolabel.data.predicted_labels import PredictedLabels
from nolabel.engine.segmentation_scoring import NetworkLabels, score_segmentation
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CAMVID_11, CITYSCAPES_19, LabelSpace, cityscapes_label_ids
from nolabel.metrics import SegmentationScores, cotraining_scores
from nolabel.structures import SemanticMap
from nolabel.structures.files import write_png

SIZE = (20, 30)


def labelled(root, count=3, classes=19, seed=0):
    """An own folder of random labels with some void; no pixel is of class 9, 14 or 16."""
    generator = torch.Generator().manual_seed(seed)
    for index in range(count):
        maps = torch.randint(0, classes + 1, SIZE, generator=generator)
        maps[torch.isin(maps, torch.tensor([9, 14, 16]))] = 0
        maps[maps == classes] = 255
        write_png(root / "labels" / f"im_{index}.png", maps.numpy().astype(np.uint8))
        write_png(root / "images" / f"im_{index}.png", np.full((*SIZE, 3), index * 9, np.uint8))
    return root


def wrong_in_part(labels: np.ndarray, seed: int) -> np.ndarray:
    """Predictions: a fifth is another class, a tenth void (19)."""
    draw = np.random.default_rng(seed).random(labels.shape)
    predicted = np.where(draw < 0.2, (labels + 1) % 19, labels)
    return np.where(draw > 0.9, 19, np.where(predicted == 255, 3, predicted)).astype(np.uint8)


def predictions(root, out, save):
    confusion = np.zeros((20, 20), np.int64)
    for index, path in enumerate(sorted((root / "labels").glob("*.png"))):
        truth = np.array(Image.open(path))
        predicted = wrong_in_part(truth, index)
        np.add.at(confusion, (np.minimum(truth, 19), predicted), 1)
        save(out, path.stem, predicted)
    return confusion


def as_train_ids(out, name, labels):
    write_png(out / f"{name}_labelTrainIds.png", labels)


def as_palette(out, name, labels):
    SemanticMap(np.where(labels == 19, 255, labels), CITYSCAPES_19).save(out, name)


def as_colours(out, name, labels):
    colours = np.concatenate([CITYSCAPES_19.palette[:19], [[255, 255, 255]]]).astype(np.uint8)
    write_png(out / f"{name}_colour.png", colours[labels])


@pytest.mark.parametrize("save", [as_train_ids, as_palette, as_colours])
def test_folders_of_predictions_by_both_rules(tmp_path, save):
    root = labelled(tmp_path / "data")
    confusion = predictions(root, tmp_path / "predictions", save)
    scores = evaluate(tmp_path / "predictions", root, progress=False).scores
    reference = cotraining_scores(confusion)
    ours = scores.by_rule["cotraining"]
    assert 100 * ours.subsets["19"] == pytest.approx(reference.miou)
    # Rows lie in the order of classes; the standard counts every void prediction as an error.
    right, true, predicted = confusion.diagonal()[:19], confusion[:19].sum(1), confusion[:19, :19].sum(0)
    iou = right / np.maximum(true + predicted - right, 1)
    iou[true + predicted == 0] = np.nan
    assert scores.miou == pytest.approx(np.nanmean(iou)) and scores.miou < ours.miou
    kept = [c for c in range(19) if c not in (9, 14, 16)]
    assert scores.standard.subsets["16"] == pytest.approx(np.nanmean(iou[kept]))
    assert scores.standard.subsets["13"] == pytest.approx(
        np.nanmean(iou[[c for c in kept if c not in (3, 4, 5)]])
    )


def test_raw_ids_in_a_folder(tmp_path):
    root = labelled(tmp_path / "data")
    table = cityscapes_label_ids("cityscapes_19")

    def save(out, name, labels):
        write_png(out / "x" / f"{name}_pred.png", table[labels])

    predictions(root, tmp_path / "predictions", save)
    config = EvaluationConfig(predicted_ids_of="cityscapes")
    raw = evaluate(tmp_path / "predictions", root, config, progress=False).scores
    predictions(root, tmp_path / "train_ids", as_train_ids)
    assert raw.miou == evaluate(tmp_path / "train_ids", root, progress=False).scores.miou


def test_the_files_say_by_which_rule_each_number_is(tmp_path):
    root, out = labelled(tmp_path / "data"), tmp_path / "out"
    predictions(root, tmp_path / "predictions", as_train_ids)
    (tmp_path / "predictions" / "im_1_labelTrainIds.png").unlink()
    result = evaluate(tmp_path / "predictions", root, out=out, visualize=2, progress=False)
    record = json.loads((out / "results.json").read_text())
    assert set(record["protocols"]) == {"standard", "cotraining"}
    assert record["protocols"]["standard"]["miou"]["19"] == result.scores.miou
    assert record["protocols"]["cotraining"]["void_predictions"] == "drop"
    assert record["images"] == 2 and record["failed"][0]["name"] == "im_1"
    rows = list(csv.DictReader((out / "classes.csv").open()))
    assert [row["class"] for row in rows] == [*CITYSCAPES_19.names, "mean of 19", "mean of 16", "mean of 13"]
    assert float(rows[0]["iou"]) == result.scores.standard.iou[0] and rows[16]["iou"] == "0.0"
    assert "mean of 16" not in result.table() and "standard" in (out / "scores.txt").read_text()
    for name in ("classes.png", "confusion.png", "pictures/im_0.png", "pictures/im_2.png"):
        assert Image.open(out / name).size[0] > 100
    assert np.array(record["confusion"]).sum() == result.scores.confusion.sum()


def test_maps_of_another_size_and_faults(tmp_path):
    root = labelled(tmp_path / "data", count=1)
    truth = np.array(Image.open(root / "labels" / "im_0.png"))
    write_png(tmp_path / "p" / "im_0.png", truth.repeat(2, 0).repeat(2, 1))
    assert evaluate(tmp_path / "p", root, progress=False).scores.miou == 1
    write_png(tmp_path / "p" / "im_0.png", truth[:5])
    with pytest.raises(DataError, match="5x30 pixels"):
        evaluate(tmp_path / "p", root, progress=False)
    write_png(tmp_path / "p" / "im_0.png", np.full((*SIZE, 3), 1, np.uint8))
    with pytest.raises(DataError, match="no colour of"):
        evaluate(tmp_path / "p", root, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no PNGs"):
        PredictedLabels(tmp_path / "empty", "cityscapes_19")


def test_a_network_of_19_classes_on_labels_of_11(tmp_path):
    """Whatever lies in one class of CamVid counts as that class."""
    write_png(tmp_path / "labels/val/0016E5/a.png", np.array([[0, 8, 10], [5, 11, 1]], np.uint8))
    write_png(tmp_path / "images/val/0016E5/a.png", np.zeros((2, 3, 3), np.uint8))
    dataset = open_labels(tmp_path)
    assert dataset.space == CAMVID_11
    predicted = torch.tensor([[10, 14, 18], [9, 0, 255]])  # sky, truck, bicycle; terrain, road, void

    def predict(images, options):
        return [SemanticMap(predicted, CITYSCAPES_19) for _ in images]

    result = score_segmentation(NetworkLabels(predict, CITYSCAPES_19, CAMVID_11, {}), dataset, progress=False)
    assert [result.scores.standard.recall[c] for c in (0, 8, 10, 5, 1)] == [1, 1, 1, 1, 0]
    assert (
        set(result.record()) >= {"dataset", "images", "git"}
        and result.scores.record()["space"] == "camvid_11"
    )
    other = LabelSpace("other", CAMVID_11.classes[:2])
    with pytest.raises(ConfigError, match="no map"):
        NetworkLabels(predict, CAMVID_11, other, {})


def test_classes_that_nowhere_occur_are_left_out():
    confusion = np.zeros((11, 12), np.int64)
    confusion[0, 0], confusion[1, 11] = 5, 5
    scores = SegmentationScores(CAMVID_11, confusion)
    assert scores.miou == 0.5 and scores.by_rule["cotraining"].miou == 1
    assert scores.record()["classes"][2]["iou"] is None and "50.00 %" in scores.text()


def test_void_as_a_class_is_the_original_void_metric(tmp_path):
    """19 in a list's label maps is void and counts; 255 has no label at all."""
    root = labelled(tmp_path / "data")
    generator = torch.Generator().manual_seed(5)
    confusion = np.zeros((256, 20), np.int64)
    for path in sorted((root / "labels").glob("*.png")):
        truth = np.array(Image.open(path))
        truth[(torch.rand(SIZE, generator=generator) < 0.2).numpy()] = 19
        write_png(path, truth)
        predicted = wrong_in_part(truth, 3)
        np.add.at(confusion, (truth, predicted), 1)
        as_train_ids(tmp_path / "found", path.stem, predicted)
    expected = cotraining_scores(confusion[:20], void_is_class=True)
    for name in ("images", "labels"):
        lines = [str(path) for path in sorted((root / name).glob("*.png"))]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    config = EvaluationConfig(void_metric=True, labels=tmp_path / "labels.txt")
    result = evaluate(tmp_path / "found", tmp_path / "images.txt", config, progress=False)
    assert result.scores.with_void.miou == pytest.approx(expected.miou)
    assert f"void as a class: {expected.miou:.2f}" in result.table()
    plain = evaluate(
        tmp_path / "found",
        tmp_path / "images.txt",
        config.model_copy(update={"void_metric": False}),
        progress=False,
    )
    assert (
        plain.scores.confusion.tolist() == result.scores.confusion.tolist() and plain.scores.with_void is None
    )
