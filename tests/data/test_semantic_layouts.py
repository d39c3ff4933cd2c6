"""The data sets of domain adaptation, in their official layouts, and lists of files."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from nolabel.data import ListedLabelled, find_labelled, open_labelled, read_list
from nolabel.errors import DataError
from nolabel.world import Rig, WorldSettings, write_world

from .conftest import save


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


RAW = np.array([[7, 26, 0], [33, 34, 11]], np.uint8)
LABELS = [[0, 13, 255], [18, 255, 2]]
TRAIN_IDS = np.array([[0, 13, 255], [18, 255, 2]], np.uint8)


def labelled(root: Path, image: str, label: str, ids: np.ndarray) -> Path:
    save(root / image, picture(*ids.shape[:2]))
    save(root / label, ids)
    return root


@pytest.mark.parametrize(
    ("name", "split", "image", "label", "ids"),
    [
        ("gta5", "", "images/00001.png", "labels/00001.png", RAW),
        ("synscapes", "", "img/rgb/1.png", "img/class/1.png", RAW),
        ("bdd_semantic", "val", "images/10k/val/a.jpg", "labels/sem_seg/masks/val/a.png", TRAIN_IDS),
        ("bdd_semantic", "val", "seg/images/val/a.jpg", "seg/labels/val/a_train_id.png", TRAIN_IDS),
        (
            "acdc",
            "val",
            "rgb_anon/fog/val/GP/x_rgb_anon.png",
            "gt/fog/val/GP/x_gt_labelTrainIds.png",
            TRAIN_IDS,
        ),
        (
            "acdc",
            "val",
            "rgb_anon/val/fog/GP/x_rgb_anon.png",
            "gt/val/fog/GP/x_gt_labelTrainIds.png",
            TRAIN_IDS,
        ),
        (
            "dark_zurich",
            "val",
            "rgb_anon/val/night/GP/x_rgb_anon.png",
            "gt/val/night/GP/x_gt_labelTrainIds.png",
            TRAIN_IDS,
        ),
    ],
)
def test_official_layouts(tmp_path, name, split, image, label, ids):
    dataset = open_labelled(name, labelled(tmp_path, image, label, ids), split)
    assert len(dataset) == 1
    assert dataset[0]["semantic"].tolist() == LABELS
    (tmp_path / (label if name not in ("acdc", "dark_zurich") else image)).unlink()
    with pytest.raises(DataError, match="1 of 1 partner files are missing"):
        open_labelled(name, tmp_path, split)


@pytest.mark.parametrize("folder", ["training/labels", "training/v1.2/labels"])
def test_mapillary_in_both_releases(tmp_path, folder):
    ids = np.array([[13, 55, 65], [52, 2, 24]], np.uint8)
    root = labelled(tmp_path, "training/images/k.jpg", f"{folder}/k.png", ids)
    assert open_labelled("mapillary", root, "train")[0]["semantic"].tolist() == [[0, 13, 255], [18, 1, 0]]
    assert find_labelled(root) == "mapillary"


def test_synthia_is_read_with_all_its_bits(tmp_path):
    """Pillow would silently read the upper bytes of 16-bit colours, which are all 0."""
    save(tmp_path / "RGB" / "0.png", picture(2, 2))
    ids = np.array([[3, 8], [0, 22]], np.uint16)
    instances = np.array([[0, 300], [0, 0]], np.uint16)
    label = tmp_path / "GT" / "LABELS" / "0.png"
    label.parent.mkdir(parents=True)
    cv2.imwrite(str(label), np.stack([np.zeros_like(ids), instances, ids], axis=2))
    sample = open_labelled("synthia", tmp_path)[0]
    assert sample["semantic"].tolist() == [[0, 13], [255, 255]]
    assert sample["instance"].tolist() == [[0, 1], [0, 0]]


def test_labels_of_another_size_in_gta5(tmp_path):
    save(tmp_path / "images" / "15188.png", picture(4, 6))
    save(tmp_path / "labels" / "15188.png", RAW)
    labels = open_labelled("gta5", tmp_path)[0]["semantic"]
    assert labels[::2, ::2].tolist() == LABELS


def test_lists_of_files(tmp_path):
    labelled(tmp_path, "a b.png", "x/a.png", np.array([[0, 18, 19]], np.uint8))
    labelled(tmp_path, "c.png", "x/c.png", np.array([[1, 255, 5]], np.uint8))
    (tmp_path / "images.txt").write_text("a b.png\nc.png extra\n\n")
    (tmp_path / "labels.txt").write_text(f"{tmp_path}/x/a.png\nx/c.png\n")
    dataset = pickle.loads(pickle.dumps(ListedLabelled(tmp_path / "images.txt", tmp_path / "labels.txt")))
    assert [sample["semantic"].tolist() for sample in dataset] == [[[0, 18, 255]], [[1, 255, 5]]]
    (tmp_path / "labels.txt").write_text("x/a.png\n")
    with pytest.raises(DataError, match="2 lines"):
        ListedLabelled(tmp_path / "images.txt", tmp_path / "labels.txt")
    (tmp_path / "labels.txt").write_text("x/nothing.png\n")
    with pytest.raises(DataError, match=r"1 of 1 files are missing"):
        read_list(tmp_path / "labels.txt")


def test_the_world_writes_what_the_reader_reads(tmp_path):
    settings = WorldSettings(layout="gta5", style="synthetic", scenes=2, frames=2, rig=Rig(size=(32, 64)))
    write_world(tmp_path, settings)
    dataset = open_labelled("gta5", tmp_path)
    assert dataset.names == ["00001", "00002", "00003", "00004"]
    labels = dataset[2]["semantic"]
    assert labels.shape == (32, 64) and 0 in labels.unique().tolist()
