"""Instances: run lengths, boxes, slicing, painting order."""

from pathlib import Path

import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_19
from nolabel.structures import Instances
from nolabel.structures.rle import boxes_xyxy, decode, encode_ids, encode_masks


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 4), st.integers(0, 999))
def test_run_lengths_of_an_id_map_are_those_of_its_masks(
    height: int, width: int, ids: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    id_map = torch.randint(0, ids + 1, (height, width), generator=generator)
    wanted = list(range(ids + 2))  # the last one is absent
    dense = torch.stack([id_map == i for i in wanted])
    coded = encode_ids(id_map, wanted)
    assert coded == encode_masks(dense)
    assert all(torch.equal(decode(code), mask) for code, mask in zip(coded, dense, strict=True))
    assert [int(mask_utils.area(code)) for code in coded] == dense.sum(dim=(1, 2)).tolist()


def test_boxes_have_exclusive_maxima() -> None:
    mask = torch.zeros(1, 10, 20, dtype=torch.bool)
    mask[0, 2:7, 3:6] = True  # columns 3..5
    assert boxes_xyxy(encode_masks(mask)).tolist() == [[3, 2, 6, 7]]
    assert boxes_xyxy(encode_masks(torch.zeros(1, 4, 4))).tolist() == [[0, 0, 0, 0]]


def squares() -> Instances:
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[0, 0:4, 0:4] = masks[1, 2:6, 2:6] = masks[2, 6:8, 6:8] = True
    return Instances(masks, scores=[0.9, 0.5, 0.7], classes=[13, 11, 13], space=CITYSCAPES_19)


def test_the_three_forms_of_masks_are_one() -> None:
    id_map = torch.zeros(8, 8, dtype=torch.long)
    id_map[0:4, 0:4], id_map[6:8, 6:8] = 1, 2
    dense = torch.stack([id_map == 1, id_map == 2])
    a, b, c = Instances(id_map), Instances(dense), Instances(encode_masks(dense))
    for other in (b, c):
        assert other.masks == a.masks and torch.equal(other.boxes, a.boxes) and other.size == a.size == (8, 8)
    assert a.classes.tolist() == [1, 1] and a.scores.tolist() == [1, 1]
    assert torch.equal(a.id_map(), id_map) and torch.equal(a.dense(), dense)


def test_an_id_that_the_map_skips_keeps_its_place() -> None:
    id_map = torch.zeros(4, 4, dtype=torch.long)
    id_map[0, 0] = 3
    assert Instances(id_map).areas.tolist() == [0, 0, 1]


def test_the_highest_score_is_on_top() -> None:
    ids = squares().id_map()
    assert ids[3, 3] == 1 and ids[5, 5] == 2 and ids[7, 7] == 3 and ids[0, 7] == 0
    assert squares().areas.tolist() == [16, 16, 4]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        (torch.tensor([2, 2]), [2, 2]),
        (torch.tensor([True, False, True]), [0, 2]),
        (np.array([False, True, False]), [1]),
        ([], []),
    ],
)
def test_slicing(selection: object, expected: list[int]) -> None:
    whole = squares()
    part = whole[selection]  # type: ignore[index]
    assert len(part) == len(expected) and part.size == whole.size and part.space == whole.space
    assert part.masks == [whole.masks[i] for i in expected]
    for name in ("boxes", "scores", "classes"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[expected])


def test_choosing_by_class_score_and_iterating() -> None:
    whole = squares()
    assert whole.of_class("car").scores.tolist() == whole.of_class(13).scores.tolist()
    assert len(whole.of_class("car")) == 2 and len(whole[whole.scores > 0.6]) == 2
    assert [len(one) for one in whole] == [1, 1, 1]
    with pytest.raises(IndexError):
        whole[3]
    with pytest.raises(DataError, match=r"selection: expected shape \(3\), got \(2,\)"):
        whole[torch.tensor([True, False])]


def test_no_objects() -> None:
    empty = Instances([], [], [], [], (5, 6))
    assert len(empty) == 0 and empty.dense().shape == (0, 5, 6) and int(empty.id_map().sum()) == 0
    assert empty.colours().shape == (5, 6, 3) and empty.boxes.shape == (0, 4)
    assert len(Instances(torch.zeros(5, 6, dtype=torch.long))) == 0


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"masks": []}, "no masks and no size"),
        ({"masks": torch.zeros(4, 4)}, "expected integers"),
        ({"masks": torch.zeros(1, 1, 4, 4)}, r"expected shape \(N, H, W\)"),
        ({"masks": torch.full((4, 4), -1)}, "an id map holds 0 and 1..N, found -1"),
        ({"masks": torch.zeros(2, 4, 4), "boxes": torch.zeros(1, 4)}, r"boxes: expected shape \(2, 4\)"),
        ({"masks": torch.zeros(2, 4, 4), "scores": [1.0]}, r"scores: expected shape \(2\), got \(1,\)"),
        ({"masks": torch.zeros(2, 4, 4), "classes": [0, 2]}, r"classes: expected 0..1 of 'binary_2'"),
        ({"masks": torch.zeros(2, 4, 4), "size": (4, 5)}, r"expected one size, got \[\(4, 4\), \(4, 5\)\]"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object], problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        Instances(**values)  # type: ignore[arg-type]


def test_colours_are_stable_over_ids() -> None:
    id_map = torch.arange(12).reshape(3, 4)
    other = id_map.flip(0, 1)
    first, second = Instances(id_map).colours(), Instances(other).colours()
    assert np.array_equal(first, second[::-1, ::-1])
    assert len(np.unique(first.reshape(-1, 3), axis=0)) == 12 and first[0, 0].tolist() == [0, 0, 0]


def test_files(tmp_path: Path) -> None:
    ids, detection = squares().save(tmp_path, "a")
    with Image.open(ids) as image:
        assert image.mode.startswith("I;16")
        assert np.array_equal(np.array(image), squares().id_map().numpy())
    assert detection.name == "a_detection.json"
