"""Five crops, their cached features, and which of them look alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.errors import ConfigError, DataError
from nolabel.methods.cups.depthg.config import CropConfig
from nolabel.methods.cups.depthg.crops import (
    CROPS,
    central_square,
    evenly,
    five_crops,
    prepare_crops,
)
from nolabel.methods.cups.depthg.frames import open_frames
from nolabel.methods.cups.depthg.neighbours import nearest_crops
from nolabel.methods.cups.pseudo_label_config import MotionConfig
from nolabel.models.features import TimmFeatures
from nolabel.models.features.descriptors import DenseDescriptors

CONFIG = CropConfig(side=32)


class CountingViT(TimmFeatures):
    """A small random ViT that counts the images it sees."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__("vit_tiny_patch16_224")
        self.eval().requires_grad_(False)
        self.seen = 0

    def forward(self, images, geometry=None):
        self.seen += len(images)
        return super().forward(images, geometry)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        Image.fromarray(random.integers(0, 255, (64, 96, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def frames(folder: Path, depth: Path | None = None):
    return open_frames(folder, MotionConfig(), folder / "unused", "cpu", depth=depth)


def prepare(folder: Path, cache: Path, extractor, config: CropConfig = CONFIG, **options):
    options = {"positives": 3, "device": "cpu", "progress": False, **options}
    return prepare_crops(frames(folder), extractor, config, cache, **options)


def test_five_crops_are_corners_and_centre() -> None:
    boxes = five_crops(100, 200, 0.5)
    assert len(boxes) == CROPS
    assert [(b.top, b.left) for b in boxes] == [(0, 0), (0, 100), (50, 0), (50, 100), (25, 50)]
    assert {(b.height, b.width) for b in boxes} == {(50, 100)}
    maps = torch.arange(25 * 50.0).view(1, 25, 50)  # cells of 4 pixels
    assert torch.equal(boxes[3].cut(maps, (100, 200)), maps[:, 12:24, 25:50])


def test_the_central_square_is_central() -> None:
    maps = torch.zeros(1, 1, 20, 60)
    maps[..., 20:40] = 1
    assert central_square(maps, 20).min() == 1
    assert central_square(maps, 10, "nearest").shape == (1, 1, 10, 10)


def test_frames_are_spread_evenly() -> None:
    assert evenly(3, None) == evenly(3, 8) == [0, 1, 2]
    assert evenly(100, 4) == [12, 37, 62, 87]


def test_features_are_computed_once_and_stay_the_same(pictures: Path, tmp_path: Path) -> None:
    extractor = CountingViT()
    cached = prepare(pictures, tmp_path / "cache", extractor)
    assert extractor.seen == 3 * CROPS
    assert prepare(pictures, tmp_path / "cache", extractor).view(7).dtype == torch.float16
    assert extractor.seen == 3 * CROPS
    fresh = prepare(pictures, tmp_path / "other", extractor, CONFIG.replaced(cache="recompute"))
    assert not list((tmp_path / "other").glob("features/*"))
    image = fresh.view(7)
    assert image.shape == (3, 32, 32)
    torch.testing.assert_close(cached.view(7).float(), extractor(image[None])[0], atol=5e-3, rtol=5e-3)
    assert torch.equal(cached.positives, fresh.positives)


def test_a_killed_preparation_goes_on(pictures: Path, tmp_path: Path) -> None:
    extractor = CountingViT()
    whole = prepare(pictures, tmp_path / "cache", extractor)
    before = whole.view(12)
    (tmp_path / "cache/features/00000002.npy").unlink()
    extractor.seen = 0
    again = prepare(pictures, tmp_path / "cache", extractor)
    assert extractor.seen == CROPS
    assert torch.equal(again.view(12), before)


def test_a_small_limit_recomputes(pictures: Path, tmp_path: Path) -> None:
    dataset = prepare(pictures, tmp_path / "cache", CountingViT(), CONFIG.replaced(cache_limit=1e-9))
    assert not dataset.cached


def test_features_of_whole_frames_are_cut(pictures: Path, tmp_path: Path) -> None:
    dataset = prepare(pictures, tmp_path / "cache", DenseDescriptors())
    assert dataset.view(0).shape == (15, 8, 8)
    # the row channel knows where in the frame a crop lies
    assert dataset.view(0)[8].max() < dataset.view(2)[8].min()
    with pytest.raises(ConfigError, match="must be cached"):
        prepare(pictures, tmp_path / "x", DenseDescriptors(), CONFIG.replaced(cache="recompute"))


def test_depth_maps_are_read_and_missing_ones_named(pictures: Path, tmp_path: Path) -> None:
    depth = tmp_path / "depth"
    depth.mkdir()
    values = np.zeros((64, 96), np.uint8)
    values[32:] = 200
    for name in ("a", "b"):
        Image.fromarray(values).save(depth / f"{name}.png")
    with pytest.raises(DataError, match="1 of 3 images have no depth map"):
        frames(pictures, depth)
    Image.fromarray(values).save(depth / "c.png")
    dataset = prepare_crops(
        frames(pictures, depth),
        DenseDescriptors(),
        CONFIG,
        tmp_path / "cache",
        3,
        device="cpu",
        progress=False,
    )
    assert dataset.small(0)["depth"].max() == 0  # upper left: unknown
    assert (dataset.small(2)["depth"] == 1).all()
    assert frames(pictures).has_depth is False


def test_too_little_footage_is_refused(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 frames give 15 crops"):
        prepare(pictures, tmp_path / "cache", CountingViT(), positives=15)


@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_nearest_crops_in_chunks(chunk: int) -> None:
    means = torch.tensor([[1.0, 0], [2, 0.1], [0, 1], [0.1, 3], [1.0, 0]])
    nearest = nearest_crops(means, 3, chunk=chunk)
    assert nearest[:, 0].tolist() == [0, 1, 2, 3, 4]  # itself, duplicates or not
    assert nearest[0].tolist() == [0, 4, 1]
    assert nearest[2, 1] == 3
    assert nearest_crops(means, 30).shape == (5, 5)
