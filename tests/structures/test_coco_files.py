"""COCO files: what is written is what other tools read, and comes back equal."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_7, CITYSCAPES_19
from nolabel.structures import (
    Instances,
    PanopticMap,
    coco_panoptic_json,
    load_coco_detection,
    load_coco_panoptic,
    save_coco_detection,
    save_coco_panoptic,
)
from nolabel.structures.coco import segment_png


def panoptic(seed: int) -> PanopticMap:
    generator = torch.Generator().manual_seed(seed)
    semantic = torch.randint(0, 20, (4, 6), generator=generator)
    semantic = torch.where(semantic == 19, 255, semantic).repeat_interleave(4, 0).repeat_interleave(4, 1)
    instance = torch.arange(24).reshape(4, 6).repeat_interleave(4, 0).repeat_interleave(4, 1) + 1
    things = (semantic >= 11) & (semantic < 255)
    return PanopticMap(semantic, torch.where(things, instance, 0), CITYSCAPES_19)


def instances(seed: int) -> Instances:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(3, 12, 16, dtype=torch.bool)
    for i in range(3):
        masks[i, 3 * i : 3 * i + 4, 4 * i : 4 * i + 5] = True
    scores = torch.rand(3, generator=generator)
    return Instances(masks, scores=scores, classes=[11, 13, 18], space=CITYSCAPES_19)


def test_panoptic_files_come_back(tmp_path: Path) -> None:
    results = [("a", panoptic(0)), ("b", panoptic(1))]
    paths = save_coco_panoptic(results, CITYSCAPES_19, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "panoptic.json",
        "panoptic/a.png",
        "panoptic/b.png",
    ]
    back = dict(load_coco_panoptic(paths[0], CITYSCAPES_19))
    assert set(back) == {"a", "b"}
    for name, result in results:
        assert torch.equal(back[name].semantic, result.semantic)
        ours, theirs = result.instances(), back[name].instances()
        assert ours.masks == theirs.masks and torch.equal(ours.classes, theirs.classes)


def test_panoptic_png_and_json_agree_as_coco_defines_them(tmp_path: Path) -> None:
    result = panoptic(2)
    path = save_coco_panoptic([("a", result)], CITYSCAPES_19, tmp_path)[0]
    content = json.loads(path.read_text())
    rgb = np.asarray(Image.open(tmp_path / "panoptic" / "a.png")).astype(int)
    ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
    names = {category["id"]: category["name"] for category in content["categories"]}
    seen = set()
    for info in content["annotations"][0]["segments_info"]:
        mask = ids == info["id"]
        assert info["area"] == mask.sum() and info["iscrowd"] == 0
        (label,) = np.unique(result.semantic.numpy()[mask])
        assert names[info["category_id"]] == CITYSCAPES_19.names[label]
        seen.add(info["id"])
    assert set(np.unique(ids)) - {0} == seen
    assert np.array_equal(ids == 0, result.semantic.numpy() == 255)


def test_many_segments_use_all_three_channels() -> None:
    side = 260
    instance = torch.arange(side * side).reshape(side, side) + 1
    result = PanopticMap(torch.full((side, side), 13), instance, CITYSCAPES_19)
    rgb = segment_png(result).astype(int)
    assert np.array_equal(rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2], instance.numpy())
    assert rgb[..., 2].max() == 1


def test_groups_are_crowds() -> None:
    zeros = torch.zeros(2, 2).long()
    content = coco_panoptic_json([("a", PanopticMap(zeros + 13, zeros, CITYSCAPES_19))], CITYSCAPES_19)
    assert [info["iscrowd"] for info in content["annotations"][0]["segments_info"]] == [1]


def test_detections_come_back(tmp_path: Path) -> None:
    results = [("a", instances(0)), ("empty", Instances([], size=(12, 16), space=CITYSCAPES_19))]
    (path,) = save_coco_detection(results, CITYSCAPES_19, tmp_path)
    back = load_coco_detection(path, CITYSCAPES_19)
    assert [name for name, _ in back] == ["a", "empty"] and len(back[1][1]) == 0
    assert back[0][1].masks == results[0][1].masks
    assert torch.equal(back[0][1].boxes, results[0][1].boxes)
    assert torch.allclose(back[0][1].scores, results[0][1].scores, atol=1e-6)


def test_pycocotools_reads_detections_and_finds_them_perfect(tmp_path: Path) -> None:
    (path,) = save_coco_detection([("a", instances(0)), ("b", instances(1))], CITYSCAPES_19, tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        found = truth.loadRes(json.loads(path.read_text())["annotations"])
        evaluation = COCOeval(truth, found, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_names_and_spaces_must_fit() -> None:
    with pytest.raises(DataError, match="two results are called 'a'"):
        coco_panoptic_json([("a", panoptic(0)), ("a", panoptic(1))], CITYSCAPES_19)
    with pytest.raises(DataError, match="expected label space 'cityscapes_7', got 'cityscapes_19'"):
        coco_panoptic_json([("a", panoptic(0))], CITYSCAPES_7)


def test_broken_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "panoptic.json"
    with pytest.raises(DataError, match=r"panoptic\.json"):
        list(load_coco_panoptic(path, CITYSCAPES_19))
    path.write_text("{}")
    with pytest.raises(DataError, match="lacks annotations, categories, images"):
        list(load_coco_panoptic(path, CITYSCAPES_19))
    save_coco_panoptic([("a", panoptic(0))], CITYSCAPES_19, tmp_path)
    (tmp_path / "panoptic" / "a.png").unlink()
    with pytest.raises(DataError, match=r"a\.png"):
        list(load_coco_panoptic(path, CITYSCAPES_19))
