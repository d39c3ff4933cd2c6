"""Opening labelled images by looking at their folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nolabel.data import find_labelled, open_labels
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19
from nolabel.structures import PanopticMap
from nolabel.structures.coco import save_coco_panoptic

from .conftest import picture, save


def test_own_folders_may_have_parts_and_raw_ids(tmp_path: Path) -> None:
    for part, value in (("val", 26), ("train", 7)):
        save(tmp_path / "images" / part / "a.png", picture(0, 8, 8))
        save(tmp_path / "labels" / part / "a.png", np.full((8, 8), value, np.uint8))
    assert find_labelled(tmp_path) == "folder"
    assert int(open_labels(tmp_path)[0]["semantic"].max()) == 255  # 26 is no label of the 19
    assert int(open_labels(tmp_path, raw_ids_of="cityscapes")[0]["semantic"].max()) == 13  # car
    assert int(open_labels(tmp_path, split="train", raw_ids_of="cityscapes")[0]["semantic"].max()) == 0
    assert open_labels(tmp_path, split="").names == ["train_a", "val_a"]


def test_coco_brings_its_classes(tmp_path: Path) -> None:
    result = PanopticMap(np.full((8, 8), 11), np.ones((8, 8), np.int64), CITYSCAPES_19)
    save_coco_panoptic([("a", result)], CITYSCAPES_19, tmp_path)
    save(tmp_path / "images" / "a.png", picture(0, 8, 8))
    assert find_labelled(tmp_path) == "coco"
    dataset = open_labels(tmp_path)
    assert dataset.space.names == CITYSCAPES_19.names and int(dataset[0]["semantic"][0, 0]) == 11
    with pytest.raises(ConfigError, match="brings its own classes"):
        open_labels(tmp_path, space="cityscapes_19")


def test_wrong_names_and_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'bbd'"):
        open_labels(tmp_path, "bbd")
    with pytest.raises(ConfigError, match="for own folders, not for bdd"):
        open_labels(tmp_path, "bdd", raw_ids_of="cityscapes")
    with pytest.raises(DataError, match="no COCO panoptic set"):
        open_labels(tmp_path, "coco")
    (tmp_path / "things").mkdir()
    with pytest.raises(DataError, match=r"\(it holds things\)"):
        open_labels(tmp_path)
