"""Golden ``cups_model``: class maps of the validation data sets (``label_maps.json``) and palettes."""

import json
import re
from typing import Any

import numpy as np
import pytest

from golden.support import need_root
from nolabel.labels import LABEL_SPACES, RAW_TABLES, raw_table

pytestmark = pytest.mark.golden

# The recorded names that differ from ours.
DATASET = {"bdd": "bdd_panoptic"}
SPACE = {"mots_2": "binary_2"}


def recorded(name: str) -> dict[str, Any]:
    path = need_root() / "cups_model" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


def test_label_maps() -> None:
    compared = 0
    for key, values in recorded("label_maps.json").items():
        match = re.fullmatch(r"(.+)_(\d+)", key)
        if match is None or not isinstance(values[0], int):
            continue
        dataset = DATASET.get(match[1], match[1])
        space = SPACE.get(key, f"cityscapes_{match[2]}")
        assert (dataset, space) in RAW_TABLES, key
        expected = np.asarray(values)
        expected = np.where(expected < 0, 255, expected)  # Waymo's 7-class void is -1 in the original
        assert (raw_table(dataset, space)[: len(expected)] == expected).all(), key
        compared += 1
    assert compared


def test_class_names() -> None:
    for key, names in recorded("label_maps.json").items():
        if key.startswith("names_"):
            assert list(LABEL_SPACES[f"cityscapes_{key.removeprefix('names_')}"].names) == names


def test_classes_missing_from_waymo() -> None:
    for key, mask in recorded("label_maps.json").items():
        if match := re.fullmatch(r"(.+)_(\d+)_mask", key):
            table = raw_table(DATASET.get(match[1], match[1]), f"cityscapes_{match[2]}")
            assert [bool((table == label).any()) for label in range(len(mask))] == mask


def test_palettes() -> None:
    for key, colours in recorded("palettes.json").items():
        if not key.startswith("cityscapes_"):
            continue  # "mots" gives both of its classes one colour; "coco" and "pseudo" are not label spaces
        palette = LABEL_SPACES[key].palette
        assert palette[: len(colours) - 1].tolist() == colours[:-1], key
        assert palette[255].tolist() == colours[-1], key
