"""Targets: distances of both kinds, fields, crops, background; what degenerate masks give."""

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt

from nolabel.methods.unmore.distances import _by_reduction, inside_distance, relative_distance
from nolabel.methods.unmore.existence_targets import background_crop, cut_and_resize, labelled_crop
from nolabel.methods.unmore.objectness_losses import ObjectnessLossConfig, objectness_losses
from nolabel.methods.unmore.targets import (
    centre_field,
    crop_and_resize,
    object_centres,
    object_targets,
    resize_masks,
)


def random_masks(count: int = 4, side: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(count, 1, 6, 6, generator=generator)
    return F.interpolate(cells, size=(side, side), mode="bilinear")[:, 0] > 0.5


@pytest.mark.parametrize("metric", ["chamfer", "euclidean"])
def test_the_reduction_of_accelerators_gives_the_distances_of_processors(metric: str) -> None:
    masks = random_masks()
    masks[2], masks[3] = True, False
    expected = inside_distance(masks, metric)
    torch.testing.assert_close(_by_reduction(masks, metric), expected, rtol=1e-4, atol=1e-4)
    assert bool((expected[2] == 1).all()) and not bool(expected[3].any())
    if metric == "euclidean":
        exact = torch.from_numpy(distance_transform_edt(masks[0].numpy())).float()
        torch.testing.assert_close(expected[0], exact, rtol=1e-4, atol=1e-4)


def test_relative_distances() -> None:
    masks = random_masks()
    masks[3] = False
    relative = relative_distance(masks)
    assert relative[:3].amax((1, 2)).tolist() == [1, 1, 1] and float(relative[3].max()) == 0
    assert bool(((relative > 0) == masks).all())


def test_centres_are_the_middles_of_boxes() -> None:
    masks = torch.zeros(2, 10, 12, dtype=torch.bool)
    masks[0, 2:5, 3:9] = True
    masks[0, 2:9, 3] = True
    assert object_centres(masks).tolist() == [[5.0, 5.5], [0.0, 0.0]]


def test_fields_point_away_from_the_centre_rows_first() -> None:
    masks = torch.ones(1, 5, 5, dtype=torch.bool)
    masks[0, 4, 4] = False
    field = centre_field(torch.tensor([[2.0, 2.0]]), masks)[0]
    assert field[:, 0, 2].tolist() == [-1, 0] and field[:, 2, 4].tolist() == [0, 1]
    assert field[:, 2, 2].tolist() == [0, 0] and field[:, 4, 4].tolist() == [0, 0]


def test_crops_are_what_cutting_first_gives() -> None:
    maps = torch.rand(3, 2, 30, 40)
    crops = torch.tensor([[0, 0, 30, 40], [5, 7, 11, 3], [29, 39, 1, 1]])
    found = crop_and_resize(maps, crops, 16)
    small = crop_and_resize(maps > 0.5, crops, 16, nearest=True)
    for number, (top, left, height, width) in enumerate(crops.tolist()):
        part = maps[number : number + 1, :, top : top + height, left : left + width]
        expected = F.interpolate(part, size=(16, 16), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(found[number], expected, rtol=0, atol=1e-6)
        nearest = F.interpolate((part > 0.5).float(), size=(16, 16), mode="nearest")[0] > 0
        assert torch.equal(small[number], nearest)


def test_a_crop_keeps_the_distances_of_the_whole_object() -> None:
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 16:48, 8:56] = True
    crop = torch.tensor([[16, 8, 8, 8]])  # the object's corner, all inside
    cut = object_targets(mask, crop, 32)
    assert float(cut.boundary.max()) < 0.55 and not bool(cut.usable)
    whole = object_targets(mask, torch.tensor([[0, 0, 64, 64]]), 64)
    assert float(whole.boundary.max()) == pytest.approx(1) and float(whole.boundary.min()) == pytest.approx(
        -1
    )
    assert bool(whole.usable) and bool(((whole.boundary > 0) == whole.mask).all())
    without = object_targets(mask, torch.tensor([[0, 0, 64, 64]]), 64, background=False)
    assert float(without.boundary.min()) == 0


def test_empty_masks_teach_nothing() -> None:
    masks = random_masks(3)
    masks[1] = False
    targets = object_targets(masks, torch.tensor([[0, 0, 40, 40]]).expand(3, 4), 32)
    assert targets.usable.tolist() == [True, False, True]
    assert all(bool(torch.isfinite(v).all()) for v in (targets.boundary, targets.centre))
    assert len(targets[targets.usable].mask) == 2


def test_perfect_predictions_cost_nothing_but_the_floor_of_the_mask_term() -> None:
    targets = object_targets(random_masks(2), torch.tensor([[0, 0, 40, 40]]).expand(2, 4), 32)
    losses = objectness_losses(targets.boundary, targets.centre, targets, ObjectnessLossConfig())
    assert losses["centre"] == losses["boundary"] == losses["slope"] == 0
    assert float(losses["loss"]) == float(losses["mask"]) > 0.3
    shifted = objectness_losses(targets.boundary + 0.5, targets.centre, targets, ObjectnessLossConfig())
    assert float(shifted["boundary"]) == pytest.approx(0.5)
    assert float(shifted["slope"]) == pytest.approx(0, abs=1e-6)


def test_background_is_the_largest_free_square() -> None:
    objects = torch.zeros(40, 60, dtype=torch.bool)
    objects[:, :20] = True
    top, left, height, width = background_crop(objects)
    # The circle's radius ends on the object's first pixel, as published.
    assert not bool(objects[top : top + height, left + 1 : left + width].any())
    assert 30 <= height <= 40 and 30 <= width <= 40 and left >= 19
    assert background_crop(torch.ones(10, 10, dtype=torch.bool)) is None


def test_labels_of_crops() -> None:
    image, mask = torch.rand(3, 40, 40), torch.zeros(40, 40, dtype=torch.bool)
    mask[:10, :10] = True
    seen, label = labelled_crop(image, mask, (0, 0, 20, 20), 32)
    assert label == 1 and torch.equal(seen, cut_and_resize(image, (0, 0, 20, 20), 32))
    assert labelled_crop(image, mask, (20, 20, 20, 20), 32)[1] == 0


def test_masks_are_resized_to_the_nearest_pixel() -> None:
    masks = random_masks(2)
    expected = F.interpolate(masks[:, None].float(), size=(17, 90), mode="nearest")[:, 0] > 0
    assert torch.equal(resize_masks(masks, (17, 90)), expected)
