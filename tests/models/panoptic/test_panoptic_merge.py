"""Merge of detections and stuff."""

import torch

from nolabel.models.detection import MaskCrop
from nolabel.models.panoptic import merge_panoptic, standard_format


def rectangle(top, left, bottom, right):
    return MaskCrop(top, left, torch.ones(bottom - top, right - left, dtype=torch.bool))


def merge(masks, scores, semantic, **settings):
    classes = torch.arange(len(masks))
    return merge_panoptic(
        masks, torch.tensor(scores), classes, semantic, **({"stuff_area_limit": 10} | settings)
    )


def test_better_detections_are_painted_first_and_worse_ones_below():
    semantic = torch.ones(20, 20, dtype=torch.int64)
    merged = merge([rectangle(0, 0, 10, 10), rectangle(0, 6, 10, 16)], [0.6, 0.9], semantic)
    assert [(s.detection, s.category, s.area) for s in merged.segments[:2]] == [(1, 1, 100), (0, 0, 60)]
    assert merged.ids[0].tolist() == [2] * 6 + [1] * 10 + [3] * 4
    assert merged.segments[2].area == 400 - 160 and not merged.segments[2].is_thing


def test_hidden_empty_and_doubtful_detections_are_left_out():
    semantic = torch.zeros(20, 20, dtype=torch.int64)
    empty = MaskCrop(0, 0, torch.zeros(5, 5, dtype=torch.bool))
    masks = [
        rectangle(0, 0, 10, 10),
        rectangle(0, 0, 10, 19),
        rectangle(0, 0, 10, 20),
        empty,
        rectangle(15, 15, 18, 18),
    ]
    merged = merge(masks, [0.9, 0.8, 0.85, 0.95, 0.4], semantic)
    # Half hidden is still painted (row 2), more than half is not (row 1); the rest is empty or below the threshold.
    assert [s.detection for s in merged.segments] == [0, 2]
    assert [s.id for s in merged.segments] == [1, 2]


def test_small_stuff_and_uncovered_thing_pixels_become_void():
    semantic = torch.zeros(10, 20, dtype=torch.int64)
    semantic[:, 10:] = 3
    semantic[0, 10:] = 1
    merged = merge([], [], semantic, stuff_area_limit=11)
    assert [(s.category, s.area) for s in merged.segments] == [(3, 90)]
    assert (merged.ids[:, :10] == 0).all() and (merged.ids[0] == 0).all()


def test_everything_void():
    merged = merge([], [], torch.zeros(4, 4, dtype=torch.int64))
    assert merged.segments == () and not merged.ids.any()
    semantic, instance = standard_format(merged, [0], [1])
    assert (semantic == 255).all() and not instance.any()


def test_standard_format_puts_stuff_before_things():
    semantic = torch.ones(20, 20, dtype=torch.int64)
    merged = merge([rectangle(0, 0, 10, 10), rectangle(10, 0, 20, 10)], [0.9, 0.8], semantic)
    clusters, instance = standard_format(merged, range(4), range(4, 8))
    assert clusters[0, 0] == 4 and clusters[19, 0] == 5 and clusters[0, 19] == 0
    assert instance[0, 0] == 1 and instance[19, 0] == 2 and instance[0, 19] == 0


def test_a_detection_may_cover_the_last_channel_completely() -> None:
    semantic = torch.tensor([[1, 1, 3], [1, 1, 3]])
    mask = (0, 2, torch.ones(2, 1, dtype=torch.bool))
    merged = merge_panoptic([mask], torch.tensor([0.9]), torch.tensor([0]), semantic, stuff_area_limit=1)
    assert [segment.category for segment in merged.segments] == [0, 1]
    assert merged.ids.tolist() == [[2, 2, 1], [2, 2, 1]]
