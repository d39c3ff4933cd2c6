"""Label files: what was written is read; files of others are read; contradictions are refused."""

from __future__ import annotations

import json

import pytest
import torch
from pycocotools.coco import COCO

from nolabel.errors import DataError
from nolabel.methods.unmore.label_files import LabelledImage, read_label_file, write_label_file
from nolabel.structures import Instances


@pytest.fixture
def images():
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:5] = True
    masks[1, 5, 7] = True
    wide = torch.tensor([[0.25, 0.5, 7.125, 6.0], [7, 5, 8, 6]])  # a box may be larger than its mask
    first = Instances(masks, wide, torch.tensor([0.1, 1 / 3]))
    extra = {"crf_success": [True, False], "cluster_size": [7, 2], "existence_score": [0.123456789012, 0.5]}
    return [
        LabelledImage("a/one.jpg", (6, 8), 7, first, extra),
        LabelledImage("b/none.jpg", (5, 5), "coco_8", Instances([], size=(5, 5))),
    ]


def test_what_is_written_is_read(images, tmp_path):
    found = read_label_file(write_label_file(tmp_path / "labels.json", images))
    for read, written in zip(found, images, strict=True):
        assert (read.file_name, read.size, read.id, read.extra) == (
            written.file_name, written.size, written.id, written.extra,
        )  # fmt: skip
        assert torch.equal(read.instances.dense(), written.instances.dense())
        assert torch.equal(read.instances.boxes, written.instances.boxes)
        assert torch.equal(read.instances.scores, written.instances.scores)
    coco = COCO(tmp_path / "labels.json")
    assert coco.annToMask(coco.loadAnns(1)[0]).sum() == 9
    assert [row["iscrowd"] for row in coco.loadAnns(coco.getAnnIds())] == [0, 0]


def test_chosen_takes_columns_along(images):
    chosen = images[0].chosen(torch.tensor([False, True]))
    assert chosen.extra["cluster_size"] == [2]
    assert torch.equal(chosen.instances.scores, images[0].instances.scores[1:])
    assert len(images[0].chosen(torch.tensor([], dtype=torch.long)).instances) == 0


def test_files_of_others_are_read(tmp_path):
    size = {"id": 3, "file_name": "x.jpg", "height": 4, "width": 4}
    rows = [
        {"image_id": 3, "category_id": 9, "segmentation": [[0, 0, 2, 0, 2, 4, 0, 4]], "iscrowd": 0, "weight": 0.7},
        {"image_id": 3, "segmentation": {"size": [4, 4], "counts": [12, 4]}, "iscrowd": 1, "weight": 0.2},
    ]  # fmt: skip
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"images": [size], "annotations": rows, "categories": {"id": 1}}))
    (image,) = read_label_file(path)
    assert image.instances.scores.tolist() == pytest.approx([0.7, 0.2])
    assert image.instances.areas.tolist() == [8, 4]
    assert image.instances.boxes.tolist() == [[0, 0, 2, 4], [3, 0, 4, 4]]
    assert image.extra == {"iscrowd": [0, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(image_id=99), "99"),
        (lambda c: c["annotations"][0].update(segmentation=None), "no mask"),
        (lambda c: c["images"][0].update(height=7), "7 x 8"),
        (lambda c: c.pop("images"), "not a COCO file"),
        (lambda c: c["images"].append(c["images"][0]), "one id"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "bbox"),
    ],
)
def test_contradictions_are_named(images, tmp_path, change, message):
    path = write_label_file(tmp_path / "labels.json", images)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_label_file(path)


def test_nothing_half_written_is_left(images, tmp_path):
    with pytest.raises(DataError, match="id 7"):
        write_label_file(tmp_path / "labels.json", [images[0], images[0]])
    nan = LabelledImage("n.jpg", (6, 8), 1, images[0].instances, {"column": [float("nan"), 0.0]})
    with pytest.raises(DataError, match="finite"):
        write_label_file(tmp_path / "labels.json", [nan])
    assert list(tmp_path.iterdir()) == []
