"""Panoptic maps: segments there and back, Cityscapes ids, pictures, files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nolabel.errors import ConfigError, DataError
from nolabel.labels import CAMVID_11, CITYSCAPES_7, CITYSCAPES_19, CITYSCAPES_27
from nolabel.structures import PanopticMap

ROAD, CAR, PERSON = 0, 13, 11


def street() -> PanopticMap:
    semantic, instance = torch.full((6, 10), ROAD), torch.zeros(6, 10, dtype=torch.long)
    semantic[0] = 255
    semantic[1:3, 1:4], instance[1:3, 1:4] = CAR, 7
    semantic[1:3, 6:8], instance[1:3, 6:8] = CAR, 2
    semantic[4, 8:] = PERSON  # a group
    return PanopticMap(semantic, instance, CITYSCAPES_19, {7: 0.75})


def test_segments_by_hand() -> None:
    ids, segments = street().segments()
    assert [
        (s.id, s.label, s.instance, s.area, s.box, s.is_thing, s.is_crowd, s.score) for s in segments
    ] == [
        (1, ROAD, 0, 38, (0, 1, 10, 6), False, False, None),
        (2, PERSON, 0, 2, (8, 4, 10, 5), True, True, None),
        (3, CAR, 2, 4, (6, 1, 8, 3), True, False, None),
        (4, CAR, 7, 6, (1, 1, 4, 3), True, False, 0.75),
    ]
    assert torch.equal(ids == 0, street().semantic == 255)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 9999))
def test_segments_there_and_back(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    semantic = torch.randint(-2, 19, (height, width), generator=generator)
    semantic = torch.where(semantic < 0, 255, semantic)
    instance = torch.randint(0, 50, (height, width), generator=generator)
    instance = torch.where((semantic >= 11) & (semantic < 255), instance, 0)
    result = PanopticMap(semantic, instance, CITYSCAPES_19)
    ids, segments = result.segments()
    back = PanopticMap.from_segments(ids, segments, CITYSCAPES_19)
    assert torch.equal(back.semantic, semantic) and torch.equal(back.instance, instance)
    for segment in segments:
        rows, columns = (ids == segment.id).nonzero(as_tuple=True)
        assert segment.area == len(rows)
        box = (columns.min().item(), rows.min().item(), columns.max().item() + 1, rows.max().item() + 1)
        assert segment.box == box
    shuffled = PanopticMap.from_segments(ids * 70_000, [_renamed(s) for s in segments][::-1], CITYSCAPES_19)
    assert torch.equal(shuffled.semantic, semantic)


def _renamed(segment):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(segment, id=segment.id * 70_000)


def test_ids_without_a_segment_become_void() -> None:
    ids, segments = street().segments()
    back = PanopticMap.from_segments(ids, segments[:-1], CITYSCAPES_19)
    assert bool((back.semantic[ids == 4] == 255).all()) and bool((back.instance[ids == 4] == 0).all())


def test_cityscapes_ids_by_hand() -> None:
    values = street().cityscapes_ids()
    assert values[1, 6] == 26000 and values[1, 1] == 26001  # in ascending order of ids 2 and 7
    assert values[5, 0] == 7 and values[4, 9] == 24 and values[0, 0] == 0


def test_reading_cityscapes_ids() -> None:
    values = torch.tensor([[0, 7, 24], [24003, 26000, 26007], [33, 33000, 1]])
    result = PanopticMap.from_cityscapes(values, CITYSCAPES_19)
    assert result.semantic.tolist() == [[255, 0, 11], [11, 13, 13], [18, 18, 255]]
    assert result.instance.tolist() == [[0, 0, 0], [1, 2, 3], [0, 4, 0]]
    only_objects = PanopticMap.from_cityscapes(values[1:2], CITYSCAPES_19)
    assert only_objects.instance.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("space", [CITYSCAPES_19, CITYSCAPES_27, CITYSCAPES_7])
def test_cityscapes_there_and_back(space) -> None:  # type: ignore[no-untyped-def]
    values = torch.tensor([[0, 7, 24], [24000, 26000, 26001], [33, 33000, 1]])
    result = PanopticMap.from_cityscapes(values, space)
    again = PanopticMap.from_cityscapes(result.cityscapes_ids(), space)
    assert torch.equal(again.semantic, result.semantic) and torch.equal(again.instance, result.instance)


def test_other_spaces_have_no_cityscapes_ids() -> None:
    with pytest.raises(ConfigError, match="camvid_11"):
        PanopticMap(torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), CAMVID_11).cityscapes_ids()


def test_instances_of_a_panoptic_map() -> None:
    objects = street().instances()
    assert objects.classes.tolist() == [CAR, CAR] and objects.scores.tolist() == [1.0, 0.75]
    assert objects.boxes.tolist() == [[6, 1, 8, 3], [1, 1, 4, 3]]
    assert torch.equal(objects.mask(1), street().instance == 7)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"instance": torch.zeros(6, 9).long()}, r"instance: expected shape \(6, 10\), got \(6, 9\)"),
        ({"instance": torch.full((6, 10), -1)}, "expected ids >= 0, found -1"),
        ({"semantic": torch.full((6, 10), 40)}, r"found \[40\]"),
        ({"scores": {9: 0.5}}, r"the instance map has no ids \[9\]"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], problem: str) -> None:
    values = {"semantic": street().semantic, "instance": street().instance, "space": CITYSCAPES_19}
    with pytest.raises(DataError, match=problem):
        PanopticMap(**(values | change))  # type: ignore[arg-type]


def test_colours_keep_classes_and_tell_objects_apart() -> None:
    picture = street().colours()
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[5, 0].tolist() == list(CITYSCAPES_19.classes[ROAD].colour)
    assert picture[4, 9].tolist() == list(CITYSCAPES_19.classes[PERSON].colour)
    assert picture[1, 1].tolist() != picture[1, 6].tolist()
    moved = PanopticMap(street().semantic.flip(1), street().instance.flip(1), CITYSCAPES_19)
    assert np.array_equal(moved.colours(), picture[:, ::-1])


def test_overlay_outlines_objects() -> None:
    picture = street().overlay(torch.zeros(3, 6, 10))
    assert picture[1, 3].tolist() == [255, 255, 255] and picture[0, 9].tolist() == [0, 0, 0]


def test_files(tmp_path: Path) -> None:
    paths = street().save(tmp_path, "a")
    assert [path.name for path in paths] == [
        "a_semantic.png",
        "a_instance.png",
        "a_panoptic.png",
        "a_panoptic.json",
    ]
    with Image.open(paths[1]) as image:
        assert np.array_equal(np.array(image), street().instance.numpy())
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in street().save(tmp_path, "a")] == first
    huge = PanopticMap(street().semantic, street().instance * 60_000, CITYSCAPES_19)
    with pytest.raises(DataError, match="65535"):
        huge.save(tmp_path, "b")
    assert not list(tmp_path.glob("b*"))
