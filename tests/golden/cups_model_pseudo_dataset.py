"""Golden cases of stage-2 training data: thing/stuff split, class distribution and one sample of a label folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from golden.support import case_parameters, load_json, load_npz, unpack_masks
from nolabel.data import read_image
from nolabel.data.cityscapes import list_frames
from nolabel.data.transforms import CentreCrop, Rescale
from nolabel.methods.cups.pseudo_label_dataset import PseudoLabelDataset
from nolabel.methods.cups.statistics import PseudoClassStatistics, ThingStuffSplit, split_things_and_stuff

pytestmark = pytest.mark.golden
IMAGE_TOLERANCE = 1e-3  # README of the golden folder
CASES = case_parameters("cups_model", "pseudo_dataset/out_*.json")


class LeftFrames:
    """The left images of a data set in the Cityscapes layout; the cases have no right ones."""

    def __init__(self, root: Path, scale: float, crop: list[int]) -> None:
        split = next((root / "leftImg8bit_sequence").iterdir()).name
        self._paths = [f.path for f in list_frames(root, "leftImg8bit_sequence", split, "_leftImg8bit.png")]
        self._transform = v2.Compose([Rescale(scale), CentreCrop((crop[0], crop[1]))])
        self.names = [path.stem for path in self._paths]

    def image(self, index: int) -> dict[str, Any]:
        image: dict[str, Any] = self._transform({"image": read_image(self._paths[index])})
        return image


def split_of(meta: dict[str, Any]) -> ThingStuffSplit:
    """Add up the counts of the generator processes and split them."""
    parts = [
        PseudoClassStatistics(
            torch.tensor(total), torch.tensor(inside), torch.zeros(len(total), dtype=torch.int64)
        )
        for total, inside in zip(meta["all_pixels"], meta["inside_proposals"], strict=True)
    ]
    return split_things_and_stuff(sum(parts[1:], parts[0]), meta["threshold"])


@pytest.mark.parametrize("case", CASES)
def test_split_and_class_distribution(case: Path) -> None:
    meta = load_json(case)
    split = split_of(meta)
    assert list(split.things) == meta["things"]
    assert list(split.stuff) == meta["stuffs"]
    assert split.class_weights == pytest.approx(meta["class_distribution"], rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_sample(case: Path) -> None:
    meta, wanted = load_json(case), load_npz(case.with_suffix(".npz"))
    root = next(path for path in sorted(case.parent.iterdir()) if (path / "leftImg8bit_sequence").is_dir())
    dataset = PseudoLabelDataset(
        LeftFrames(root, meta["scale"], meta["crop"]),  # type: ignore[arg-type]
        case.parent / "labels",
        split_of(meta),
        ignore_unknown_things=meta["ignore_unknown_thing_regions"],
        reference_compat=True,
    )
    sample = dataset[0]
    target = sample.target
    np.testing.assert_allclose(sample.image.numpy(), wanted["image"].astype(np.float32), atol=IMAGE_TOLERANCE)
    np.testing.assert_array_equal(target.semantic.numpy(), wanted["sem"])
    masks = unpack_masks(wanted["masks"], wanted["mask_shape"])
    ids = np.arange(1, len(target.classes) + 1)[:, None, None]
    np.testing.assert_array_equal(target.instances.numpy() == ids, masks)
    np.testing.assert_array_equal(target.boxes.numpy(), wanted["boxes"])
    np.testing.assert_array_equal(target.classes.numpy(), wanted["classes"])
