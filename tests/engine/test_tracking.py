"""Ids that stay: perfect masks of the world keep theirs, whatever numbers a network gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nolabel.engine.tracking import LARGEST_ID, InstanceTracker
from nolabel.errors import ConfigError
from nolabel.labels import CITYSCAPES_19
from nolabel.structures import PanopticMap
from nolabel.viz import panoptic_colours
from nolabel.world import Renderer, Rig, generate_scene

CAR, PERSON, ROAD = (CITYSCAPES_19.index(name) for name in ("car", "person", "road"))


def frame_of(ids: torch.Tensor, label: int = CAR, scores: dict[int, float] | None = None) -> PanopticMap:
    return PanopticMap(torch.where(ids > 0, label, ROAD), ids, CITYSCAPES_19, scores)


def boxes(*corners: tuple[int, int, int], size: tuple[int, int] = (40, 60)) -> torch.Tensor:
    """Squares (row, column, side) numbered 1.. in this order."""
    ids = torch.zeros(size, dtype=torch.long)
    for number, (row, column, side) in enumerate(corners, start=1):
        ids[row : row + side, column : column + side] = number
    return ids


def test_perfect_masks_of_the_world_keep_their_ids() -> None:
    """Every frame's true ids are shuffled; the tracker must undo it, for all objects and all frames."""
    renderer = Renderer(generate_scene(5), rig=Rig(size=(96, 192), fps=30.0))
    generator = torch.Generator().manual_seed(0)
    tracker = InstanceTracker()
    track_of: dict[int, int] = {}
    linked = 0
    for index in range(6):
        frame = renderer.frame(index / 30)
        areas = torch.bincount(frame.instance.reshape(-1))
        visible = [i for i in areas.nonzero()[:, 0].tolist() if i > 0 and areas[i] >= 25]
        shuffled = torch.zeros(len(areas), dtype=torch.long)
        shuffled[torch.tensor(visible)] = torch.randperm(len(visible), generator=generator) + 1
        result = tracker.update(PanopticMap(frame.semantic, shuffled[frame.instance], CITYSCAPES_19))
        for truth in visible:
            track = int(result.instance[frame.instance == truth].unique())
            linked += truth in track_of
            assert track_of.setdefault(truth, track) == track, f"object {truth} changed in frame {index}"
    assert len(set(track_of.values())) == len(track_of) >= 2
    assert linked >= 10


@given(
    steps=st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=2, max_size=6),
    seed=st.integers(0, 1000),
)
def test_slow_objects_keep_their_ids_under_any_numbering(steps: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tracker, first = InstanceTracker(), None
    row, column = 14, 20
    for down, right in steps:
        row, column = min(max(row + down, 0), 28), min(max(column + right, 0), 30)
        ids = boxes((row, column, 10), (row, column + 14, 10), (5, 50, 6))
        order = torch.cat([torch.zeros(1, dtype=torch.long), torch.randperm(3, generator=generator) + 1])
        tracks = tracker.update(frame_of(order[ids])).instance
        found = [int(tracks[ids == number].unique()) for number in (1, 2, 3)]
        first = first or found
        assert found == first == [found[0], found[1], found[2]]
        assert len(set(found)) == 3


@pytest.mark.parametrize(("missed", "survives"), [(1, True), (2, True), (3, False)])
def test_a_track_survives_as_many_missed_frames_as_it_has_patience(missed: int, survives: bool) -> None:
    tracker = InstanceTracker(patience=2)
    both = boxes((2, 2, 10), (20, 30, 12))
    before = tracker.update(frame_of(both))
    for _ in range(missed):
        tracker.update(frame_of(torch.where(both == 1, 1, 0)))
    after = tracker.update(frame_of(both))
    assert torch.equal(before.instance[both == 1], after.instance[both == 1])
    assert torch.equal(before.instance, after.instance) == survives


def test_the_pairing_is_one_to_one_and_of_the_largest_sum() -> None:
    tracker = InstanceTracker(min_iou=0.1)
    first = tracker.update(frame_of(boxes((10, 10, 10), (10, 20, 10))))
    # Both have moved right by 6: the left one now overlaps more with the place of the right one.
    second = tracker.update(frame_of(boxes((10, 16, 10), (10, 26, 10))))
    assert int(first.instance[12, 12]) == 1 and int(first.instance[12, 22]) == 2
    assert sorted(set(second.instance.unique().tolist()) - {0}) in ([1, 2], [2, 3])
    assert int(second.instance[12, 25]) != int(second.instance[12, 27])


def test_a_fast_object_is_followed_by_its_speed() -> None:
    """It moves by 0.8 of its width in each frame and is missed once: by then it is clear of its last place."""
    tracker, tracks = InstanceTracker(), []
    for column in (2, 10, 18, 26, None, 42):
        ids = boxes((10, column, 10)) if column is not None else boxes((30, 2, 4))
        result = tracker.update(frame_of(ids))
        if column is not None:
            tracks.append(int(result.instance[12, column + 5]))
    assert tracks == [1] * 5


def test_classes_part_tracks_unless_told_otherwise() -> None:
    ids = boxes((5, 5, 12))
    for same_class, stays in ((True, False), (False, True)):
        tracker = InstanceTracker(same_class=same_class)
        before, after = (tracker.update(frame_of(ids, label)).instance for label in (CAR, PERSON))
        assert torch.equal(before, after) == stays


def test_scores_and_classes_follow_and_colours_depend_on_class_and_track_alone() -> None:
    ids = boxes((5, 5, 10), (5, 30, 10))
    swapped = torch.tensor([0, 2, 1])[ids]
    tracker = InstanceTracker()
    first = tracker.update(frame_of(ids, scores={1: 0.9, 2: 0.5}))
    second = tracker.update(frame_of(swapped, scores={2: 0.8, 1: 0.4}))
    assert torch.equal(first.instance, second.instance) and first.scores == {1: 0.9, 2: 0.5}
    assert second.scores == {1: 0.8, 2: 0.4}
    for colours in (
        lambda frame: frame.colours(),
        lambda frame: panoptic_colours(frame.semantic, frame.instance, CITYSCAPES_19.palette),
    ):
        assert np.array_equal(colours(first), colours(second))


def test_empty_frames_other_sizes_and_the_end_of_the_numbers() -> None:
    tracker = InstanceTracker(patience=0)
    nothing = frame_of(torch.zeros(8, 8, dtype=torch.long))
    assert int(tracker.update(nothing).instance.max()) == 0
    ids = boxes((1, 1, 5), (1, 9, 5), size=(16, 20))
    assert tracker.update(frame_of(ids)).instance.unique().tolist() == [0, 1, 2]
    assert tracker.update(frame_of(boxes((1, 1, 5), size=(20, 20)))).instance.max() == 3  # another size
    tracker._last_id = LARGEST_ID - 1
    later = tracker.update(frame_of(boxes((14, 14, 3), (14, 2, 3), (1, 1, 5), size=(20, 20))))
    # The live track 3 stays; new ids are the last one, then the first that is free.
    assert later.instance.unique().tolist() == [0, 1, 3, LARGEST_ID]


@pytest.mark.parametrize("wrong", [{"min_iou": 0.0}, {"min_iou": 1.5}, {"patience": -1}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        InstanceTracker(**wrong)  # type: ignore[arg-type]
