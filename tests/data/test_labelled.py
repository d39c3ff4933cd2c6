import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import nolabel.data
from nolabel.data import (
    LAYOUTS,
    CityscapesPanoptic,
    CocoPanoptic,
    FolderLabelled,
    catalogue,
    find_layout,
    open_images,
    open_labelled,
)
from nolabel.errors import ConfigError, DataError

from .conftest import picture, save


def _cityscapes(root: Path, ids: np.ndarray, folder: str = "leftImg8bit") -> Path:
    height, width = ids.shape
    save(root / folder / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png", picture(0, height, width))
    save(root / "gtFine" / "val" / "ulm" / "ulm_000000_000019_gtFine_instanceIds.png", ids.astype(np.uint16))
    return root


def test_cityscapes_codes(tmp_path: Path) -> None:
    #              road, person group, two persons, caravan, licence plate, unlabelled
    ids = np.array([[7, 24, 24000, 24003], [29001, 65535, 0, 26001]])
    for folder in ("leftImg8bit", "leftImg8bit_sequence"):
        dataset = CityscapesPanoptic(_cityscapes(tmp_path / folder, ids, folder))
        sample = dataset[0]
        assert sample["name"] == "ulm_000000_000019_leftImg8bit"
        assert sample["semantic"].tolist() == [[0, 17, 17, 17], [22, 255, 255, 19]]
        assert sample["instance"][:, :].tolist()[0] == [0, 0, 1, 2]
        assert sample["semantic"].dtype == sample["instance"].dtype == torch.int64
    root = tmp_path / "leftImg8bit"
    assert CityscapesPanoptic(root, space="cityscapes_19")[0]["semantic"].tolist() == [
        [0, 11, 11, 11],
        [255, 255, 255, 13],
    ]
    assert CityscapesPanoptic(root, space="cityscapes_7")[0]["semantic"].tolist() == [
        [0, 5, 5, 5],
        [6, 255, 255, 6],
    ]


def test_missing_images_are_counted(tmp_path: Path) -> None:
    root = _cityscapes(tmp_path, np.zeros((4, 4)))
    next(root.glob("leftImg8bit/val/ulm/*.png")).unlink()
    with pytest.raises(
        DataError, match="1 of 1 partner files are missing: leftImg8bit/val/ulm/ulm_000000_000019"
    ):
        CityscapesPanoptic(root)


def test_scale_and_crop_are_joint(tmp_path: Path) -> None:
    ids = np.zeros((8, 12), np.int64)
    ids[4:, 6:] = 26002
    sample = CityscapesPanoptic(_cityscapes(tmp_path, ids), scale=0.5, crop=(2, 4))[0]
    assert sample["image"].shape == (3, 2, 4)
    assert sample["instance"].tolist() == [[0, 0, 0, 0], [0, 0, 1, 1]]
    with pytest.raises(DataError, match=r"ulm_000000_000019_leftImg8bit\.png: a crop of 9x9 does not fit"):
        CityscapesPanoptic(tmp_path, crop=(9, 9))[0]


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_an_empty_folder_names_the_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as error:
        open_labelled(name, tmp_path)
    assert "get " in str(error.value.hint)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no labelled data set is called 'bbd'"):
        open_labelled("bbd", tmp_path)
    with pytest.raises(ConfigError, match="no label space is called"):
        CityscapesPanoptic(tmp_path, space="cityscapes_20")
    with pytest.raises(ConfigError, match="no label table"):
        open_labelled("mots", tmp_path, space="cityscapes_19")


def test_own_labels(labelled_folder: Path) -> None:
    dataset = FolderLabelled(labelled_folder)
    assert dataset.names == ["0", "1", "2", "3", "4"]
    sample = pickle.loads(pickle.dumps(dataset))[0]
    expected = np.random.default_rng(0).integers(0, 10, (48, 64))
    assert sample["semantic"].tolist() == expected.tolist()
    assert int(sample["instance"].max()) == 3 and int(dataset[1]["instance"].max()) == 0
    raw = FolderLabelled(labelled_folder, table="cityscapes")[0]["semantic"]
    assert set(raw[torch.from_numpy(expected) == 7].tolist()) == {0}
    save(labelled_folder / "labels" / "1.png", np.zeros((40, 64), np.uint8))
    with pytest.raises(DataError, match=r"1\.png has 40x64 pixels"):
        FolderLabelled(labelled_folder)[1]
    save(labelled_folder / "labels" / "1.png", picture(0))
    with pytest.raises(DataError, match=r"1\.png has 3 channels, not 1"):
        FolderLabelled(labelled_folder)[1]
    (labelled_folder / "images" / "4.jpg").unlink()
    with pytest.raises(DataError, match="1 of 5 label maps have no image: 4"):
        FolderLabelled(labelled_folder)


def test_camvid_in_both_layouts(tmp_path: Path) -> None:
    ids = np.array([[0, 10], [11, 3]], np.uint8)
    save(tmp_path / "a" / "val" / "x.png", picture(0, 2, 2))
    save(tmp_path / "a" / "valannot" / "x.png", ids)
    save(tmp_path / "b" / "images" / "val" / "seq" / "x.jpg", picture(0, 2, 2))
    save(tmp_path / "b" / "labels" / "val" / "seq" / "x.png", ids)
    assert find_layout(tmp_path / "a") == "camvid"
    for folder in ("a", "b"):
        assert open_labelled("camvid", tmp_path / folder)[0]["semantic"].tolist() == [[0, 10], [255, 3]]
    assert open_labelled("camvid", tmp_path / "a", space="cityscapes_19")[0]["semantic"].tolist() == [
        [10, 12],
        [255, 0],
    ]


def test_coco_panoptic(tmp_path: Path) -> None:
    segments = np.zeros((2, 3, 3), np.uint8)
    segments[0, 1:] = [(5, 1, 0), (0, 0, 2)]  # 261 and 131072
    segments[1, 0] = (9, 0, 0)
    save(tmp_path / "set" / "1.png", segments)
    save(tmp_path / "pictures" / "1.jpg", picture(0, 2, 4)[:, :3])
    infos = [(261, 1, 0), (131072, 90, 0), (9, 1, 1)]
    content = {
        "images": [{"id": 7, "file_name": "1.jpg"}],
        "annotations": [
            {
                "image_id": 7,
                "file_name": "1.png",
                "segments_info": [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in infos],
            }
        ],
        "categories": [
            {"id": 1, "name": "person", "isthing": 1, "color": [1, 2, 3]},
            {"id": 90, "name": "road", "isthing": 0, "color": [4, 5, 6]},
        ],
    }
    (tmp_path / "set.json").write_text(json.dumps(content))
    assert find_layout(tmp_path) == "coco"
    dataset = CocoPanoptic(tmp_path / "set.json", tmp_path / "pictures")
    sample = pickle.loads(pickle.dumps(dataset))[0]
    assert dataset.space.names == ("person", "road")
    assert sample["semantic"].tolist() == [[255, 0, 1], [0, 255, 255]]
    assert sample["instance"].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert len(open_images(tmp_path)) == 1
    (tmp_path / "set" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 files are missing: 1\.png"):
        CocoPanoptic(tmp_path / "set.json", tmp_path / "pictures")


def test_catalogue_names_readers_that_exist() -> None:
    for known in catalogue():
        assert hasattr(nolabel.data, known.reader), known.name
        assert set(known.counts) <= set(known.find), known.name
    assert set(LAYOUTS) <= {known.name for known in catalogue()}
