"""Colour transfer, class mixing, rare-class sampling and resizing."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.data.colour_transfer import (
    LabStatistics,
    collect_statistics,
    lab_statistics,
    lab_to_rgb,
    rgb_to_lab,
    transfer,
)
from nolabel.data.mixing import first_present, listed_classes, paste, pixels_of, present_classes
from nolabel.data.resizing import resize_image, resize_labels, to_bytes
from nolabel.data.sampling import ClassStatistics, RareClassSampler
from nolabel.errors import DataError


def picture(*size, seed=0):
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_lab_of_known_colours():
    """White, black and pure red, as every table gives them."""
    colours = torch.tensor([[255, 255, 255], [0, 0, 0], [255, 0, 0]], dtype=torch.uint8).T[:, :, None]
    lab = rgb_to_lab(colours)[:, :, 0].T
    expected = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2]]
    np.testing.assert_allclose(lab, expected, atol=0.02)


def test_every_colour_comes_back():
    image = picture(2, 3, 40, 50)
    again = lab_to_rgb(rgb_to_lab(image))
    np.testing.assert_allclose(again, image.double() / 255, atol=1e-6)
    as_floats = rgb_to_lab(image.double() / 255)
    torch.testing.assert_close(as_floats, rgb_to_lab(image))


def test_statistics_move_over():
    source, target = picture(3, 30, 40) // 3 + 80, picture(3, 50, 20, seed=1) // 4 + 90
    moved = transfer((source / 255).double(), lab_statistics(target))
    found, wanted = lab_statistics(moved), lab_statistics(target)
    np.testing.assert_allclose(found.mean, wanted.mean, atol=0.05)
    np.testing.assert_allclose(found.deviation, wanted.deviation, atol=0.05)


def test_an_image_keeps_its_own_statistics_and_batches_are_images():
    images = torch.stack([picture(3, 30, 40, seed=s) for s in range(2)])
    own = collect_statistics(images)
    difference = transfer(images, own).int() - images.int()
    assert difference.abs().max() <= 1
    swapped = transfer(images, own[torch.tensor([1, 0])])
    assert torch.equal(swapped[0], transfer(images[0], own[torch.tensor(1)]))


def test_a_grey_image_is_moved_without_noise():
    grey = torch.full((3, 8, 8), 100, dtype=torch.uint8)
    moved = transfer(grey, LabStatistics(torch.tensor([60.0, 5, 5]), torch.tensor([9.0, 9, 9])))
    assert len(moved.flatten(1).unique(dim=1).T) == 1
    with pytest.raises(DataError):
        collect_statistics([])


def test_mixing_tables():
    labels = torch.tensor([[[0, 3], [255, 3]], [[1, 1], [1, 1]]], dtype=torch.uint8)
    present = present_classes(labels)
    assert [row.nonzero().flatten().tolist() for row in present] == [[0, 3, 255], [1]]
    keys = torch.arange(256.0).flip(0)
    chosen = first_present(present, keys, torch.tensor([2, 0]))
    assert [row.nonzero().flatten().tolist() for row in chosen] == [[3, 255], []]
    mask = pixels_of(labels, chosen)
    assert mask.tolist() == [[[False, True], [True, True]], [[False, False], [False, False]]]
    mixed = paste(mask, torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2))
    assert mixed[0, 1].tolist() == [[0, 1], [1, 1]] and not mixed[1].any()
    assert pixels_of(labels, listed_classes([1], 2))[1].all()


@pytest.fixture
def statistics():
    maps = [torch.zeros(10, 10, dtype=torch.uint8) for _ in range(4)]
    maps[1][:2], maps[2][:5], maps[3][0, :3] = 1, 2, 4
    maps[0][0] = 255
    return ClassStatistics.of(((f"{i}.png", m) for i, m in enumerate(maps)), 5)


def test_rare_classes_come_first(statistics):
    assert statistics.order().tolist() == [4, 1, 2, 0]
    assert statistics.pixels[0].tolist() == [90, 0, 0, 0, 0]
    assert statistics.probabilities(0.1).sum() == pytest.approx(1)
    assert statistics.probabilities(0.1).diff().max() < 0
    assert [c.tolist() for c in statistics.candidates(19)] == [[], [1], [2], [0, 1, 2, 3]]


def test_the_sampler_draws_what_has_the_class(statistics):
    drawn = list(RareClassSampler(statistics, 2000, torch.Generator().manual_seed(0), min_pixels=19))
    counts = np.bincount(drawn, minlength=4) / 2000
    weights = statistics.probabilities().double() * torch.tensor([0, 1, 1, 1])
    weights = (weights / weights.sum()).tolist()
    assert counts[1] == pytest.approx(weights[1] + weights[3] / 4, abs=0.04)
    again = RareClassSampler(statistics, 2000, torch.Generator().manual_seed(0), min_pixels=19)
    assert list(again) == drawn and len(again) == 2000
    with pytest.raises(DataError, match="min_pixels"):
        RareClassSampler(statistics, 1, torch.Generator(), min_pixels=3000)


def test_statistics_survive_the_disk(statistics, tmp_path):
    statistics.write(tmp_path)
    again = ClassStatistics.read(tmp_path, 5)
    assert again.names == statistics.names and torch.equal(again.pixels, statistics.pixels)
    by_class = json.loads((tmp_path / "samples_with_class.json").read_text())
    assert by_class["1"] == [["1.png", 20]]
    (tmp_path / "sample_class_stats.json").write_text("[{}]")
    with pytest.raises(DataError, match="no class statistics"):
        ClassStatistics.read(tmp_path, 5)


@pytest.mark.parametrize("size", [(72, 144), (20, 31), (64, 120), (65, 7)])
def test_resizing_is_pillows(size):
    image, labels = picture(3, 64, 120), picture(64, 120, seed=4)
    expected = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(resize_image(image, size).permute(1, 2, 0), np.asarray(expected))
    nearest = Image.fromarray(labels.numpy()).resize(size[::-1], Image.Resampling.NEAREST)
    assert np.array_equal(resize_labels(labels, size), np.asarray(nearest))
    with pytest.raises(DataError, match="bytes"):
        resize_image(image / 255, size)


def test_bytes_come_back():
    every = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert torch.equal(to_bytes(every.float() / 255), every)
