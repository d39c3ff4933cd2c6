"""Small jobs on label maps, from Python and as `nolabel labels ...`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from nolabel.cli import app
from nolabel.data.label_tools import images_with_classes, majority_vote
from nolabel.data.sampling import ClassStatistics
from nolabel.errors import ConfigError
from nolabel.labels import CAMVID_11, CITYSCAPES_19
from nolabel.methods.cotraining.ego_mask import read_mask
from nolabel.structures.files import write_png

runner = CliRunner()
ROAD, CAR, RIDER, VOID = 0, 13, 12, 255


def call(*words):
    result = runner.invoke(app, ["labels", *(str(word) for word in words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def read(path):
    return np.array(Image.open(path))


@pytest.fixture
def folder(tmp_path):
    """Two images of train ids: road and some car; road and one pixel of rider, twice as wide."""
    for name, width, label, count in (("a", 4, CAR, 3), ("b", 8, RIDER, 1)):
        labels = np.zeros((4, width), np.uint8)
        labels.flat[:count], labels[-1, -1] = label, VOID
        write_png(tmp_path / "own" / "labels" / f"{name}.png", labels)
        write_png(tmp_path / "own" / "images" / f"{name}.png", np.full((4, width, 3), 90, np.uint8))
    return tmp_path / "own"


def test_statistics_and_priors(folder, tmp_path):
    text = call("statistics", folder, "--out", tmp_path / "s", "--indexed", "--priors", "4x4")
    assert text.index("road") < text.index("car") < text.index("rider")  # most pixels first
    by_class = json.loads((tmp_path / "s/samples_with_class.json").read_text())
    assert by_class[str(CAR)] == [[0, "a", 3]] and by_class[str(ROAD)][1][0] == 1
    priors = np.load(tmp_path / "s/priors.npy")
    assert priors.shape == (20, 4, 4) and np.allclose(priors.sum(0), 1)
    assert priors[CAR, 0, 0] == 0.5 and priors[19, 3, 3] >= 0.5


def test_filter_by_class_and_shape(folder, tmp_path):
    def chosen(*options):
        call("filter", folder, "--out", tmp_path / "f", *options)
        images, labels = (
            (tmp_path / "f" / f"{kind}.txt").read_text().split() for kind in ("images", "labels")
        )
        assert [line.replace("/images/", "/labels/") for line in images] == labels
        return [line[-5] for line in images]

    assert chosen("--classes", "car,rider") == ["a", "b"]
    assert chosen("--classes", "car,rider", "--min-pixels", 1) == ["a"]
    assert chosen("--aspect", 2) == ["b"] and chosen("--least", "4x5") == ["b"]
    assert chosen("--classes", "road,12", "--every") == ["b"]
    # The lists open as a data set.
    text = call(
        "statistics",
        tmp_path / "f/images.txt",
        "--labels",
        tmp_path / "f/labels.txt",
        "--out",
        tmp_path / "t",
    )
    assert "rider" in text


def test_images_with_classes_needs_more_than_the_least():
    counted = ClassStatistics(("x", "y", "z"), torch.tensor([[5, 0], [6, 6], [0, 9]]))
    assert images_with_classes(counted, [0], 5) == [1] and images_with_classes(counted, [0, 1]) == [0, 1, 2]
    assert images_with_classes(counted, [0, 1], every=True) == [1] and images_with_classes(counted, []) == [
        0,
        1,
        2,
    ]


def test_the_ego_mask_is_the_union_of_raw_ids(tmp_path):
    for index in range(2):
        ids = np.full((2, 4), 7, np.uint16)
        ids[1, index] = 1
        stem = f"aachen_{index:06d}_000000"
        write_png(tmp_path / f"gtFine/train/aachen/{stem}_gtFine_instanceIds.png", ids)
        write_png(
            tmp_path / f"leftImg8bit/train/aachen/{stem}_leftImg8bit.png", np.zeros((2, 4, 3), np.uint8)
        )
    call("ego-mask", tmp_path, "--out", tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[False] * 4, [True, True, False, False]]


def test_convert_colours_ids_and_subsets(tmp_path):
    colours = CITYSCAPES_19.palette[np.array([[ROAD, CAR, VOID]])]
    write_png(tmp_path / "colours/x_color.png", colours)
    call("convert", tmp_path / "colours", "--out", tmp_path / "ids")
    assert read(tmp_path / "ids/x.png").tolist() == [[ROAD, CAR, VOID]]
    call("convert", tmp_path / "ids", "--to", "camvid_11", "--out", tmp_path / "camvid")
    assert read(tmp_path / "camvid/x.png").tolist() == [
        [CAMVID_11.index("road"), CAMVID_11.index("car"), VOID]
    ]
    call("convert", tmp_path / "ids", "--keep", "car", "--void", 19, "--out", tmp_path / "cars")
    assert read(tmp_path / "cars/x.png").tolist() == [[19, CAR, 19]]
    write_png(tmp_path / "raw/x_labelIds.png", np.array([[7, 26, 1]], np.uint8))
    call("convert", tmp_path / "raw", "--ids-of", "cityscapes", "--out", tmp_path / "train")
    assert read(tmp_path / "train/x.png").tolist() == [[ROAD, CAR, VOID]]
    (tmp_path / "mine.yaml").write_text("space: cityscapes_19\nlabels: {7: car, 26: road}\n")
    call("convert", tmp_path / "raw", "--mapping", tmp_path / "mine.yaml", "--out", tmp_path / "mapped")
    assert read(tmp_path / "mapped/x_labelIds.png").tolist() == [[CAR, ROAD, VOID]]


def test_colour(folder, tmp_path):
    call("colour", folder, "--out", tmp_path / "c")
    assert (
        read(tmp_path / "c/a.png")[0, 0].tolist() == [0, 0, 142] and read(tmp_path / "c/legend.png").ndim == 3
    )
    call("colour", folder, "--images", folder / "images", "--out", tmp_path / "o")
    assert read(tmp_path / "o/a.png")[-1, -1].tolist() == [90, 90, 90]  # void shows the image


def test_majority():
    maps = torch.tensor([[[0, 1, 2, 255, 255]], [[0, 2, 1, 1, 255]], [[1, 2, 0, 255, 255]]])
    assert majority_vote(maps, 3).tolist() == [[0, 2, 2, 1, 255]]  # equals: the first map
    # With neighbours: (0,0,1 + 1,2,2), then (0,0,1,1,2,2,2,1,0), ...
    assert majority_vote(maps, 3, window=3).tolist() == [[0, 1, 2, 1, 1]]
    with pytest.raises(ConfigError, match="no centre"):
        majority_vote(maps, 3, window=2)


def test_vote(folder, tmp_path):
    write_png(tmp_path / "other/a.png", np.full((4, 4), 5, np.uint8))
    write_png(tmp_path / "other/b.png", np.full((4, 8), 5, np.uint8))
    call("vote", folder, tmp_path / "other", "--out", tmp_path / "v")
    assert read(tmp_path / "v/a.png")[-1, -1] == 5 and read(tmp_path / "v/a.png")[0, 0] == CAR
    result = runner.invoke(app, ["labels", "vote", str(folder), "--out", str(tmp_path / "w")])
    assert result.exit_code != 0
