"""What a notebook user does first: load with nothing given, and call on whatever holds an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nolabel
from nolabel.api import to_image
from nolabel.errors import ConfigError, DataError


def test_the_embedded_network_takes_any_kind_of_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (60, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "street.png")
    model = nolabel.load("cups", device="cpu")
    results = [
        model(tmp_path / "street.png"),
        model(Image.fromarray(pixels)),
        model(pixels),
        model(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255),
        *model([pixels]),
    ]
    assert all(result.space.name == "cityscapes_19" and result.size == (60, 100) for result in results)
    assert all(torch.equal(result.semantic, results[0].semantic) for result in results)
    assert len(results[0].save(tmp_path / "out", "street")) == 4


@pytest.mark.parametrize(
    "bad", [np.zeros((5, 7, 2), np.uint8), np.full((5, 7, 3), 7.0), np.full((5, 7, 3), np.nan)]
)
def test_what_is_no_image_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError):
        to_image(bad)


def test_unknown_systems_are_refused() -> None:
    with pytest.raises(ConfigError, match="no system"):
        nolabel.load("cubs")
