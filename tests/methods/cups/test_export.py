"""Exported labels are what other readers of their formats see; prediction folders say what their labels mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import nolabel
from nolabel.cli import app
from nolabel.data import CityscapesPanoptic, open_labelled
from nolabel.errors import ConfigError, DataError
from nolabel.labels import pseudo_space
from nolabel.methods.cups.export import export_labels
from nolabel.methods.cups.statistics import STATISTICS_FILE, save_statistics, statistics_from_files
from nolabel.structures import load_coco_detection, load_coco_panoptic
from nolabel.structures.files import write_png
from nolabel.world import Rig, WorldSettings, write_world


def pseudo_labels(folder: Path) -> Path:
    """Four clusters; cluster 2 is in objects only, one object lies on cluster 0 (stuff)."""
    for number in range(2):
        semantic = np.zeros((20, 30), np.uint8)
        semantic[10:], semantic[:4] = 1, 3
        instance = np.zeros((20, 30), np.uint8)
        semantic[5:9, 2:8], instance[5:9, 2:8] = 2, 1
        semantic[5:9, 12:20], instance[5:9, 12:20] = 2, 2
        instance[5:6, 25:26] = 3
        write_png(folder / f"frame_{number}_semantic.png", semantic)
        write_png(folder / f"frame_{number}_instance.png", instance)
    save_statistics(folder / STATISTICS_FILE, statistics_from_files(folder, 4), threshold=0.08)
    return folder


def test_pseudo_labels_become_coco(tmp_path: Path) -> None:
    labels = pseudo_labels(tmp_path / "labels")
    written = export_labels(labels, tmp_path / "out", ["coco", "instances"], progress=False)
    assert written == {"coco": 3, "instances": 1}
    space = pseudo_space(4, [2])
    results = dict(load_coco_panoptic(tmp_path / "out" / "panoptic.json", space))
    assert set(results) == {"frame_0", "frame_1"}
    result = results["frame_1"]
    assert int(result.semantic[6, 4]) == 2
    assert len(result.instances()) == 2 and int(result.instance[5, 25]) == 0
    objects = load_coco_detection(tmp_path / "out" / "detection.json", space)
    assert [len(found) for _, found in objects] == [2, 2]
    with pytest.raises(ConfigError, match="Cityscapes"):
        export_labels(labels, tmp_path / "no", ["cityscapes"], progress=False)
    with pytest.raises(DataError, match="holds no"):
        export_labels(tmp_path / "nothing", tmp_path / "no", progress=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(root, WorldSettings(scenes=1, frames=2, rig=Rig((64, 128)), split="val", annotate_all=True))
    return root


def test_predictions_are_scored_and_exported_with_their_classes(world: Path, tmp_path: Path) -> None:
    model = nolabel.load("cups", device="cpu")
    dataset = open_labelled("cityscapes", world, "val", space="cityscapes_19", crop=None)
    images = [record.image for record in dataset.records]
    summary = model.save(images, tmp_path / "predictions", ["labels"])
    assert summary.count == len(images)
    runner = CliRunner()
    command = ["export", str(tmp_path / "predictions"), str(tmp_path / "out"), "--save", "cityscapes,coco"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    (tmp_path / "out" / "leftImg8bit").symlink_to(images[0].parents[2])
    (tmp_path / "out" / "gtFine" / "train").rename(tmp_path / "out" / "gtFine" / "val")
    exported = CityscapesPanoptic(tmp_path / "out", "val", "cityscapes_19")
    assert [record.image.name for record in exported.records] == [image.name for image in images]
    for index, image in enumerate(images):
        prediction, label = model(image), exported[index]
        assert torch.equal(torch.as_tensor(label["semantic"]), prediction.semantic)
        assert label["instance"].unique().numel() == prediction.instance.unique().numel()
    stored = {"matching": {"mode": "stored"}}  # files hold classes already
    scores = [
        nolabel.evaluate(source, world, space="cityscapes_19", progress=False, **settings).scores.pq
        for source, settings in ((model, stored), (tmp_path / "predictions", {}))
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
