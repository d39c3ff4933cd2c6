"""Every validation data set of the original, on its tiny folders in the official layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from golden.support import golden_root, load_json, load_npz
from nolabel.data import find_labelled, open_labelled
from nolabel.data.kitti import excluded
from nolabel.labels import VOID

pytestmark = pytest.mark.golden

# Case name prefix -> (data set, folder beside the case files).
SETS = {
    "cityscapes": ("cityscapes", "Cityscapes"),
    "kitti_instance": ("kitti_instance", "kitti_instance"),
    "kitti": ("kitti_panoptic", "kitti_panoptic"),
    "bdd": ("bdd", "bdd"),
    "muses": ("muses", "muses"),
    "waymo": ("waymo", "waymo"),
    "mots": ("mots", "mots"),
}


def _folder() -> Path | None:
    root = golden_root()
    folder = root / "cups_model" / "datasets" if root else None
    return folder if folder and (folder / "meta.json").is_file() else None


def _cases() -> list[str]:
    folder = _folder()
    return sorted(load_json(folder / "meta.json")) if folder else []


@pytest.mark.skipif(not _cases(), reason="no golden cases cups_model/datasets")
@pytest.mark.parametrize("case", _cases())
def test_sample_equals_the_recorded_one(case: str) -> None:
    folder = _folder()
    assert folder is not None
    meta, expected = load_json(folder / "meta.json")[case], load_npz(folder / f"{case}.npz")
    prefix = max((name for name in SETS if case.startswith(name)), key=len)
    dataset_name, place = SETS[prefix]
    assert find_labelled(folder / place) == dataset_name
    classes = meta["num_classes"]
    dataset = open_labelled(
        dataset_name,
        folder / place,
        "val",
        space="binary_2" if classes == 2 else f"cityscapes_{classes}",
        scale=meta["resize_scale"],
        crop=None if meta["crop"] is None else tuple(meta["crop"]),
        reference_compat=True,
    )
    assert dataset.names == meta["names"]
    for index, record in enumerate(dataset.records):
        sample = dataset[index]
        semantic = expected[f"sem_{index}"].astype(np.int64)
        np.testing.assert_array_equal(sample["semantic"].numpy(), np.where(semantic < 0, VOID, semantic))
        np.testing.assert_array_equal(sample["instance"].numpy(), expected[f"ins_{index}"])
        # float16 storage; JPEG decoders differ by up to 2/255.
        tolerance = 2 / 255 + 1e-3 if record.image.suffix == ".jpg" else 1e-3
        if f"image_{index}" in expected:
            np.testing.assert_allclose(
                sample["image"].numpy(), expected[f"image_{index}"].astype(np.float32), atol=tolerance
            )


def test_kitti_exclusions_equal_the_recorded_ones() -> None:
    folder = _folder()
    if folder is None or not (folder.parent / "label_maps.json").is_file():
        pytest.skip("no golden file cups_model/label_maps.json")
    maps = load_json(folder.parent / "label_maps.json")
    drives, frames = excluded()
    assert drives == set(maps["kitti_ignore_clips"])
    recorded: dict[str, set[str]] = {}
    for entry in maps["kitti_val_raw"]:
        recorded.setdefault(entry.split("/")[1], set()).add(entry.rsplit("/", 1)[1])
    assert frames == recorded
