"""Boxes, anchors, matching, sampling, pooling and pasting: against what they must give by definition."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from nolabel.models.detection import (
    BoxCoder,
    InstanceTarget,
    LowestIndexSampler,
    RandomSampler,
    dense_masks,
    pairwise_iou,
    paste_masks,
    pyramid_anchors,
)
from nolabel.models.detection.cascade import crop_masks
from nolabel.models.detection.drop_loss import drop_loss_weights, reference_objects
from nolabel.models.detection.pooling import box_levels, pool_boxes
from nolabel.models.detection.sampling import match_boxes, sample_labels

corner = st.floats(-200, 200, width=32)
length = st.floats(2, 300, width=32)
boxes = st.lists(st.tuples(corner, corner, length, length), min_size=1, max_size=5).map(
    lambda rows: torch.tensor([(x, y, x + w, y + h) for x, y, w, h in rows])
)
weights = st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (30.0, 30.0, 15.0, 15.0)])


@given(boxes, boxes, weights)
def test_decoding_undoes_encoding(references, targets, scales):
    count = min(len(references), len(targets))
    references, targets = references[:count], targets[:count]
    coder = BoxCoder(scales)
    # The growth of a box is limited to 1000 / 16, above anything drawn here except extreme ratios.
    ratio = (targets[:, 2:] - targets[:, :2]) / (references[:, 2:] - references[:, :2])
    usable = (ratio < 60).all(dim=1)
    decoded = coder.decode(references, coder.encode(references, targets))
    assert torch.allclose(decoded[usable], targets[usable], atol=2e-2)


def test_decoding_limits_growth():
    decoded = BoxCoder().decode(
        torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[0.0, 0.0, 50.0, 50.0]])
    )
    assert torch.allclose(decoded, torch.tensor([[-492.0, -492.0, 508.0, 508.0]]), atol=0.01)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_bounded(first, second):
    overlap = pairwise_iou(first, second)
    assert torch.allclose(overlap, pairwise_iou(second, first).T)
    assert (overlap >= 0).all() and (overlap <= 1 + 1e-5).all()
    assert torch.allclose(pairwise_iou(first, first).diagonal(), torch.ones(len(first)))


def test_overlap_of_boxes_without_area_is_zero():
    flat = torch.tensor([[3.0, 3.0, 3.0, 9.0]])
    assert pairwise_iou(flat, flat).item() == 0
    half = pairwise_iou(torch.tensor([[0.0, 0.0, 4.0, 4.0]]), torch.tensor([[2.0, 0.0, 4.0, 4.0]]))
    assert half.item() == pytest.approx(0.5)


def test_anchors_run_over_cells_then_ratios():
    (anchors,) = pyramid_anchors([(2, 3)], [8], [32], [0.5, 1.0, 2.0])
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    sizes = anchors[:, 2:] - anchors[:, :2]
    assert anchors.shape == (18, 4)
    assert torch.allclose(centres[:3], torch.zeros(3, 2))
    assert torch.allclose(centres[3], torch.tensor([8.0, 0.0]))
    assert torch.allclose(centres[-1], torch.tensor([16.0, 8.0]))
    assert torch.allclose(sizes.prod(dim=1), torch.full((18,), 1024.0))
    assert torch.allclose(sizes[:3, 1] / sizes[:3, 0], torch.tensor([0.5, 1.0, 2.0]))


def test_matching_follows_its_limits_and_keeps_the_best_of_each_object():
    iou = torch.tensor([[0.1, 0.5, 0.9, 0.0], [0.2, 0.2, 0.0, 0.2]])
    matched, labels = match_boxes(iou, 0.3, 0.7)
    assert matched.tolist() == [1, 0, 0, 1]
    assert labels.tolist() == [0, -1, 1, 0]
    _, labels = match_boxes(iou, 0.3, 0.7, keep_best_of_each=True)
    assert labels.tolist() == [1, 1, 1, 1]  # three boxes tie for the second object


def test_an_object_nothing_meets_makes_nothing_foreground():
    _, labels = match_boxes(torch.zeros(1, 3), 0.3, 0.7, keep_best_of_each=True)
    assert labels.tolist() == [0, 0, 0]
    _, labels = match_boxes(torch.zeros(0, 3), 0.3, 0.7, keep_best_of_each=True)
    assert labels.tolist() == [0, 0, 0]


def test_sampling_limits_the_foreground_and_repeats_under_a_seed():
    labels = torch.tensor([1] * 10 + [0] * 30 + [-1] * 5, dtype=torch.int8)
    foreground, background = sample_labels(labels, 16, 0.25, LowestIndexSampler())
    assert foreground.tolist() == [0, 1, 2, 3]
    assert background.tolist() == list(range(10, 22))
    first, second = (
        sample_labels(labels, 16, 0.25, RandomSampler(torch.Generator().manual_seed(3))) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert (labels[first[0]] == 1).all() and (labels[first[1]] == 0).all()
    assert len(first[0].unique()) == 4 and len(first[1].unique()) == 12


def test_few_foreground_boxes_are_filled_up_with_background():
    labels = torch.tensor([1, 0, 0, 0, 0, 0], dtype=torch.int8)
    foreground, background = sample_labels(labels, 4, 0.5, RandomSampler())
    assert len(foreground) == 1 and len(background) == 3


def test_levels_follow_the_size_of_the_box():
    sides = torch.tensor([1.0, 56.1, 112.1, 224.1, 448.1, 2000.0])
    square = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], dim=1)
    assert box_levels(square, 2, 5).tolist() == [2, 2, 3, 4, 5, 5]


def test_pooling_reads_the_image_and_level_of_each_box():
    features = [torch.full((2, 1, 64 >> level, 64 >> level), float(level)) for level in range(4)]
    features = [f + torch.tensor([0.0, 10.0])[:, None, None, None] for f in features]
    small, large = [8.0, 8.0, 40.0, 40.0], [0.0, 0.0, 240.0, 240.0]
    pooled = pool_boxes(features, [torch.tensor([large, small]), torch.tensor([small])], 3)
    assert pooled.shape == (3, 1, 3, 3)
    assert pooled.amax(dim=(1, 2, 3)).tolist() == pytest.approx([2.0, 0.0, 10.0], abs=1e-5)


def test_pooling_of_a_ramp_gives_the_centres_of_the_cells():
    ramp = torch.arange(64.0).expand(1, 1, 64, 64).contiguous()
    pooled = pool_boxes([ramp], [torch.tensor([[40.0, 40.0, 96.0, 96.0]])], 7)
    centres = torch.arange(7) * 2 + 10 + 1 - 0.5  # cells of two feature pixels, pixel centres at +0.5
    assert torch.allclose(pooled[0, 0, 3], centres, atol=1e-4)


def test_pasted_masks_equal_grid_sampling():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(12, 28, 28, generator=generator)
    corners = torch.rand(12, 4, generator=generator) * torch.tensor([60.0, 40.0, 50.0, 40.0])
    corners[:, 2:] += corners[:, :2] + 1
    height, width = 70, 90
    corners = torch.minimum(corners, torch.tensor([width, height] * 2))
    ours = dense_masks(paste_masks(masks, corners, (height, width)), (height, width), "cpu")
    x = (torch.arange(width) + 0.5 - corners[:, :1]) / (corners[:, 2:3] - corners[:, :1]) * 2 - 1
    y = (torch.arange(height) + 0.5 - corners[:, 1:2]) / (corners[:, 3:] - corners[:, 1:2]) * 2 - 1
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
    full = F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]
    certain = (full - 0.5).abs() > 1e-4
    assert torch.equal(ours[certain], (full >= 0.5)[certain])
    assert ours.any(dim=(1, 2)).sum() >= 10


def test_a_full_mask_fills_exactly_its_box():
    box = torch.tensor([[3.0, 5.0, 9.0, 7.0]])
    mask = dense_masks(paste_masks(torch.ones(1, 28, 28), box, (12, 14)), (12, 14), "cpu")[0]
    expected = torch.zeros(12, 14, dtype=torch.bool)
    expected[5:7, 3:9] = True
    assert torch.equal(mask, expected)


def test_mask_targets_show_the_object_through_the_box():
    instances = torch.zeros(40, 40, dtype=torch.int64)
    instances[10:20, 10:30] = 2
    target = InstanceTarget(torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64), instances)
    boxes = torch.tensor([[10.0, 10.0, 30.0, 20.0], [10.0, 0.0, 30.0, 20.0]])
    cropped = crop_masks(target, torch.tensor([1, 1]), boxes, 28)
    assert cropped[0].all()
    assert not cropped[1, :13].any() and cropped[1, 15:].all()


def test_drop_loss_keeps_boxes_that_overlap_an_object():
    objects = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    predicted = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.0], [50.0, 50.0, 60.0, 60.0]])
    kept = drop_loss_weights([predicted, predicted], [objects, objects[:0]], 0.4)
    assert kept.tolist() == [1, 0, 0, 0, 0, 0]  # an overlap of exactly the threshold is dropped


def test_reference_objects_repeat_rows_as_the_original_does():
    a, b = [0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]
    assert reference_objects(torch.tensor([a, a, b, a])).tolist() == [a, a]
