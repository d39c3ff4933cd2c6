"""Training targets and augmentations: analytic truths on small maps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.methods.cups import augment
from nolabel.methods.cups.targets import boxes_of, build_target, renumber


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Stuff classes 5 (top) and 7; objects 4 (thing class 9), 2 (thing class 3) and 8 (stuff class 5)."""
    semantic = torch.full((64, 96), 7, dtype=torch.uint8)
    semantic[:20] = 5
    instances = torch.zeros(64, 96, dtype=torch.uint8)
    for number, cluster, rows, columns in (
        (4, 9, (24, 40), (8, 24)),
        (2, 3, (30, 60), (40, 90)),
        (8, 5, (0, 8), (0, 8)),
    ):
        area = (slice(*rows), slice(*columns))
        semantic[area], instances[area] = cluster, number
    return semantic, instances


def test_a_target_has_channels_classes_and_exclusive_boxes() -> None:
    target = build_target(*scene(), things=(9, 3), stuff=(7, 5))
    assert target.classes.tolist() == [1, 0]  # ascending by id: object 2 is cluster 3, object 4 is cluster 9
    assert target.boxes.tolist() == [[40, 30, 90, 60], [8, 24, 24, 40]]
    assert target.semantic[10, 50] == 2 and target.semantic[62, 2] == 1 and target.semantic[30, 10] == 0
    assert target.semantic[2, 2] == 255 and target.instances[2, 2] == 0  # an object of a stuff class is void


def test_unknown_thing_pixels_become_void_on_request() -> None:
    semantic, instances = scene()
    instances[instances == 4] = 0
    kept = build_target(semantic, instances, (9, 3), (7, 5))
    void = build_target(semantic, instances, (9, 3), (7, 5), ignore_unknown_things=True)
    assert kept.semantic[30, 10] == 0 and void.semantic[30, 10] == 255


def test_void_inside_an_object_does_not_discard_it() -> None:
    semantic, instances = scene()
    semantic[35, 50] = 255
    assert len(build_target(semantic, instances, (9, 3), (7, 5))) == 2
    assert len(build_target(semantic, instances, (9, 3), (7, 5), reference_compat=True)) == 1


@given(st.integers(0, 2**31), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_boxes_contain_exactly_their_objects(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    instances = renumber(torch.randint(0, count + 1, (9, 13), generator=generator))
    objects = int(instances.max())
    for number, box in enumerate(boxes_of(instances, objects).long().tolist(), start=1):
        rows, columns = torch.nonzero(instances == number, as_tuple=True)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box == [int(v) for v in expected]


def image_and_target() -> tuple[torch.Tensor, augment.PanopticTarget]:
    return torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0)), build_target(
        *scene(), (9, 3), (7, 5)
    )


def test_pasting_covers_what_lies_below_and_leaves_the_input_alone() -> None:
    image, target = image_and_target()
    before = image.clone(), target.instances.clone(), target.semantic.clone()
    cutouts = augment.ObjectCutouts([image], [target], min_side=12)
    assert len(cutouts) == 2
    paste = augment.Paste(source=1, scale=1.0, mirrored=False, x=0.5, y=0.5)
    pasted_image, pasted = augment.copy_paste(image, target, cutouts, [paste])
    assert pasted.classes.tolist() == [1, 0, 0]
    top, left = 24, 40  # half of what is left: (64 - 16) / 2, (96 - 16) / 2
    assert (pasted.instances[top : top + 16, left : left + 16] == 3).all()
    assert torch.equal(pasted_image[:, top : top + 16, left : left + 16], image[:, 24:40, 8:24])
    assert (pasted.semantic[top : top + 16, left : left + 16] == 0).all()
    for old, new in zip(before, (image, target.instances, target.semantic), strict=True):
        assert torch.equal(old, new)


def test_an_object_that_is_covered_completely_disappears() -> None:
    image, target = image_and_target()
    cutouts = augment.ObjectCutouts([image], [target], min_side=12)
    paste = augment.Paste(source=1, scale=1.0, mirrored=False, x=8 / 80, y=24 / 48)  # onto itself
    _, pasted = augment.copy_paste(image, target, cutouts, [paste])
    assert pasted.classes.tolist() == [1, 0] and int(pasted.instances.max()) == 2


@pytest.mark.parametrize("seed", range(5))
def test_random_crops_keep_size_and_are_replayable(seed: int) -> None:
    image, target = image_and_target()
    results = [augment.flip_and_crop(image, target, torch.Generator().manual_seed(seed)) for _ in range(2)]
    for new_image, new_target in results:
        assert new_image.shape == image.shape and new_target.semantic.shape == target.semantic.shape
        assert int(new_target.instances.max()) == len(new_target.classes) == len(new_target.boxes)
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1].instances, results[1][1].instances)


def test_photometric_changes_stay_in_range() -> None:
    image, _ = image_and_target()
    for seed in range(8):
        changed = augment.photometric(image, torch.Generator().manual_seed(seed))
        assert changed.shape == image.shape and float(changed.min()) >= 0 and float(changed.max()) <= 1
