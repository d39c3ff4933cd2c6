"""Parts of images at another size, and what is read from polygons and delivered counts."""

import json

import cv2
import numpy as np
import pytest
import torch

from nolabel.data.class_statistics import class_statistics
from nolabel.data.label_layouts import open_labelled
from nolabel.data.polygons import polygon_codes
from nolabel.data.sampling import ClassStatistics
from nolabel.data.views import View, ViewConfig, draw_view, fitted_size
from nolabel.errors import DataError
from nolabel.structures.files import write_png


def test_images_fit_into_a_rectangle_with_their_own_shape():
    assert fitted_size((1052, 1914), (1440, 2560)) == (1407, 2560)
    assert fitted_size((760, 1280), (2560, 1520)) == (1520, 2560)
    assert fitted_size((1914, 1052), (1440, 2560)) == (2560, 1407)


def test_a_part_is_cut_from_the_whole_at_its_new_size():
    generator = np.random.default_rng(0)
    image, labels = (
        generator.integers(0, 256, (3, 21, 34)).astype(np.uint8),
        generator.integers(0, 9, (21, 34)),
    )
    view = View((30, 47), 5, 9, (16, 20), flip=True)
    whole = cv2.resize(image.transpose(1, 2, 0), (47, 30), interpolation=cv2.INTER_LINEAR)
    expected = whole[5:21, 9:29][:, ::-1].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(view.image(torch.from_numpy(image)), expected, atol=1e-6)
    nearest = cv2.resize(labels.astype(np.uint8), (47, 30), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(view.labels(torch.from_numpy(labels)), nearest[5:21, 9:29][:, ::-1])


def test_parts_show_several_classes_where_they_can():
    labels = torch.zeros(40, 40, dtype=torch.uint8)
    labels[:, 30:] = 1
    for share, least in ((1.0, 0), (0.75, 30)):
        config = ViewConfig(crop=(20, 20), largest_share=share)
        views = [
            draw_view((40, 40), config, torch.Generator().manual_seed(seed), labels=labels, num_classes=2)
            for seed in range(40)
        ]
        varied = sum(0.25 < float(view.labels(labels).float().mean()) < 0.75 for view in views)
        assert varied >= least and (share < 1 or varied < 30)
    assert {view.flip for view in views} == {True, False}


SQUARE = [[2, 2], [9, 2], [9, 9], [2, 9]]


def annotation(*objects):
    return {"imgHeight": 12, "imgWidth": 16, "objects": [{"label": n, "polygon": SQUARE} for n in objects]}


def test_polygons_are_painted_in_order():
    assert polygon_codes(annotation("road"))[5, 5] == 7 and polygon_codes(annotation())[5, 5] == 0
    assert polygon_codes(annotation("car", "license plate"))[5, 5] == 26000
    assert polygon_codes(annotation("car", "car"))[5, 5] == 26001
    assert polygon_codes(annotation("cargroup"))[5, 5] == 26
    assert polygon_codes(annotation("polegroup"))[5, 5] == 18
    assert polygon_codes(annotation("car", "out of roi"))[5, 5] == 3
    deleted = annotation("car", "sky")
    deleted["objects"][1]["deleted"] = 1
    assert polygon_codes(deleted)[5, 5] == 26000
    for broken in (annotation("spaceship"), {"objects": []}, {**annotation(), "objects": [3]}):
        with pytest.raises(DataError):
            polygon_codes(broken)


def test_cityscapes_is_read_from_polygons_alone_and_counts_may_be_delivered(tmp_path):
    stem = "aachen_000000_000019"
    write_png(tmp_path / f"leftImg8bit/train/aachen/{stem}_leftImg8bit.png", np.zeros((12, 16, 3), np.uint8))
    labels = tmp_path / f"gtFine/train/aachen/{stem}_gtFine_polygons.json"
    labels.parent.mkdir(parents=True)
    labels.write_text(json.dumps(annotation("car")))
    dataset = open_labelled("cityscapes", tmp_path, "train", space="cityscapes_19", crop=None)
    sample = dataset[0]
    assert int((sample["semantic"] == 13).sum()) == 64 and int(sample["instance"].max()) == 1
    counted = class_statistics(dataset, cache=tmp_path / "cache")
    assert int(counted.pixels[0, 13]) == 64
    row = {"13": 77, "file": f"x/{stem}_gtFine_labelTrainIds.png"}
    (tmp_path / "sample_class_stats.json").write_text(json.dumps([row]))
    assert int(class_statistics(dataset, cache=tmp_path / "cache").pixels[0, 13]) == 77
    (tmp_path / "sample_class_stats.json").write_text(json.dumps([{**row, "file": "x/other.png"}]))
    assert int(class_statistics(dataset, cache=tmp_path / "cache").pixels[0, 13]) == 64


def test_statistics_are_also_written_by_file(tmp_path):
    ClassStatistics(("a", "b"), torch.tensor([[3, 0], [1, 2]])).write(tmp_path)
    found = json.loads((tmp_path / "sample_class_stats_dict.json").read_text())
    assert found == {"a": {"0": 3}, "b": {"0": 1, "1": 2}}
