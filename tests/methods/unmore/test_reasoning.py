"""Reasoning against a plain twin that takes one box after the other, and what both cannot show: settings, edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks.unmore.painted import exists, look, painted_scene
from benchmarks.unmore.plain_reasoning import PlainReasoning, plain_anti_centre, plain_erosion, plain_moves
from nolabel.errors import ConfigError
from nolabel.methods.unmore.discover import discover, discover_images, score_images
from nolabel.methods.unmore.reasoning.boundary import CONVERGED, MOVING, REJECTED, move_boxes, wanted_moves
from nolabel.methods.unmore.reasoning.centre import anti_centre, erode, reason_about_centres
from nolabel.methods.unmore.reasoning.components import component_boxes
from nolabel.methods.unmore.reasoning.crops import Boxes, Scenes
from nolabel.methods.unmore.reasoning.find import all_proposals, suppress
from nolabel.methods.unmore.reasoning.grid import grid_proposals
from nolabel.methods.unmore.reasoning.looking import Counts, Eyes, Memory, same_once
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.reasoning.steps import Recorder

TWO = painted_scene(96, 128, [(40, 45, 25, 30), (95, 50, 20, 25)])


def random_rectangles(generator, scenes, count):
    scene = torch.randint(0, len(scenes), (count,), generator=generator)
    rectangles = []
    for index in scene.tolist():
        height, width = scenes[index].shape[-2:]
        left, right = sorted(torch.randperm(width + 1, generator=generator)[:2].tolist())
        top, bottom = sorted(torch.randperm(height + 1, generator=generator)[:2].tolist())
        rectangles.append([index, left, top, right, bottom])
    return torch.tensor(rectangles)


def test_crops_are_those_of_cutting_and_resizing():
    generator = torch.Generator().manual_seed(0)
    scenes = [torch.rand(3, *size, generator=generator) for size in ((50, 70), (300, 40), (1, 1), (128, 128))]
    rectangles = random_rectangles(generator, scenes, 40)
    rectangles = torch.cat(
        [rectangles, torch.tensor([[2, 0, 0, 1, 1], [3, 0, 0, 128, 128], [1, 39, 0, 40, 300]])]
    )
    crops = Scenes(scenes, "cpu").crops(rectangles)
    for crop, (index, left, top, right, bottom) in zip(crops, rectangles.tolist(), strict=True):
        part = scenes[index][None, :, top:bottom, left:right]
        expected = functional.interpolate(part, (128, 128), mode="bilinear", align_corners=False)[0]
        torch.testing.assert_close(crop, expected, rtol=0, atol=5e-7)
    assert torch.equal(crops[-2], scenes[3])


def test_maps_of_one_crop_after_the_other():
    generator = torch.Generator().manual_seed(1)
    smooth = functional.interpolate(torch.randn(6, 3, 7, 7, generator=generator), (128, 128), mode="bicubic")
    boundary, centre = smooth[:, 0], smooth[:, 1:]
    np.testing.assert_allclose(
        anti_centre(centre), torch.stack([plain_anti_centre(one) for one in centre]), rtol=0, atol=1e-12
    )
    masks = torch.cat([boundary > -0.5, torch.ones(1, 128, 128) > 0])
    assert torch.equal(erode(masks), torch.stack([plain_erosion(one) for one in masks]))
    moves = torch.tensor([plain_moves(one) for one in boundary])
    torch.testing.assert_close(wanted_moves(boundary)[:, :4], moves, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(wanted_moves(boundary)[:, 4], boundary.amax((1, 2)))


def test_anti_centre_tells_centres_from_gaps():
    """An object's vectors point away from its centre: about -1 there, above 0 where two objects meet."""
    fields = 2 * TWO[1:] - 1
    values = anti_centre(fields[None])[0]
    assert values[45, 40] < -0.8
    assert values[48:52, 64:77].max() > 0.05


def test_components_do_not_join_across_masks():
    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[0, 2:4, 3:9] = masks[1, 2:4, 3:9] = True
    masks[1, 4, 9] = masks[1, 0, 0] = True  # touches by a corner; alone
    boxes, owner = component_boxes(masks)
    assert owner.tolist() == [0, 1, 1]
    assert boxes.tolist() == [[3, 2, 9, 4], [0, 0, 1, 1], [3, 2, 10, 5]]
    nothing, of_none = component_boxes(masks[2:])
    assert nothing.shape == (0, 4) and of_none.shape == (0,)


@pytest.mark.parametrize("compat", [False, True])
def test_the_same_boxes_as_the_plain_twin(compat):
    """Frozen, remembered, merged and batched: the boxes are those of looking at every box in every round."""
    rounds = 14
    plain = PlainReasoning(TWO, look, exists, rounds=rounds, reference_compat=compat)
    expected = plain.find()
    counts, settings = Counts(), ReasoningSettings(rounds=rounds, reference_compat=compat)
    (found,) = discover_images([TWO], look, exists, settings, counts=counts)
    torch.testing.assert_close(found.boxes, expected, rtol=0, atol=1e-3)
    assert len(expected) >= 2
    assert counts.crops["boundary"] < 0.6 * plain.crops["boundary"]
    assert counts.crops["existence"] < plain.crops["existence"]


def test_images_together_as_alone():
    scenes = [TWO, painted_scene(60, 50, [(25, 30, 15, 20)]), painted_scene(96, 128, [])]
    settings = ReasoningSettings(batch_size=17)
    together = discover_images(scenes, look, exists, settings)
    assert [len(found.instances) > 0 for found in together] == [True, True, False]
    for scene, found in zip(scenes, together, strict=True):
        (alone,) = discover_images([scene], look, exists, settings)
        torch.testing.assert_close(found.boxes, alone.boxes, rtol=0, atol=1e-3)
        assert [m["counts"] for m in found.instances.masks] == [m["counts"] for m in alone.instances.masks]


def test_objects_are_the_painted_ones():
    objects = discover(TWO.permute(1, 2, 0).numpy(), look, exists)
    truth = TWO[0] > 0.5
    union = objects.dense().any(0)
    assert ((union & truth).sum() / (union | truth).sum()) > 0.97
    single = [objects.mask(i) for i in range(len(objects))]
    for middle in ((45, 40), (50, 95)):
        areas = [int(mask.sum()) for mask in single if mask[middle]]
        half_axes = (30, 25) if middle[1] == 40 else (25, 20)
        wanted = np.pi * half_axes[0] * half_axes[1]
        assert min(abs(area / wanted - 1) for area in areas) < 0.1


@pytest.mark.parametrize("size", [(20, 30), (64, 700), (127, 128), (5, 5), (1, 40)])
@pytest.mark.parametrize("compat", [False, True])
def test_small_images(size, compat):
    """Sides below 128: there the original's un-mapped boxes lie outside the image, and it crashes."""
    height, width = size
    halves = (0.2 * width, 0.3 * height)
    scene = painted_scene(
        height, width, [(width * 0.3, height / 2, *halves), (width * 0.75, height / 2, *halves)]
    )
    found = discover_images([scene], look, exists, ReasoningSettings(rounds=5, reference_compat=compat))[0]
    assert found.instances.size == size
    assert bool((found.boxes[:, 2:] <= torch.tensor([width, height])).all())


def test_nothing_exists():
    empty = torch.zeros(3, 40, 60)
    (found,) = discover_images([empty], look, exists)
    assert len(found.instances) == 0 and found.boxes.shape == (0, 4) and found.scores.shape == (0, 4)
    assert discover_images([], look, exists) == []
    (scored,) = score_images([empty], [torch.zeros(0, 4)], look, exists)
    assert len(scored.instances) == 0


def test_split_levels():
    """Three in a row that hide each other: one level parts the row once, two levels part what is left."""
    row = painted_scene(96, 288, [(50, 48, 60, 44), (144, 48, 60, 44), (238, 48, 60, 44)])
    eyes = Eyes(Scenes([row], "cpu"), look, exists, ReasoningSettings())
    whole = Boxes(torch.tensor([[0.0, 0.0, 288.0, 96.0]]).double(), torch.zeros(1, dtype=torch.long))
    found = reason_about_centres(whole, eyes, ReasoningSettings(components=False))
    assert len(found.passed) == 0 and len(found.split) == 4
    left, right, upper, lower = found.split.corners
    assert left[2] == right[0] and upper[3] == lower[1] and left[0] == 0 and lower[3] == 96
    calls = []
    for levels in (0, 1, 2):
        counts = Counts()
        discover_images([row], look, exists, ReasoningSettings(split_levels=levels, rounds=3), counts=counts)
        calls.append(counts.boxes["centre"])
    assert calls[0] < calls[1] < calls[2]


def test_components_are_mapped_into_the_image():
    scene = painted_scene(200, 200, [(140, 60, 30, 30), (140, 150, 30, 20)])
    eyes = Eyes(Scenes([scene], "cpu"), look, exists, ReasoningSettings())
    box = Boxes(torch.tensor([[80.0, 0.0, 200.0, 200.0]]).double(), torch.zeros(1, dtype=torch.long))
    found = reason_about_centres(box, eyes, ReasoningSettings())
    assert len(found.passed) == 1
    expected = torch.tensor([[95.0, 15, 185, 105], [95, 120, 185, 180]]).double()
    assert (found.split.corners - expected).abs().max() < 4
    junk = reason_about_centres(box, eyes, ReasoningSettings(reference_compat=True)).split.corners
    assert junk.shape == (2, 4) and float(junk[:, 2:].max()) <= 129 * 1.25


def test_moves_at_the_edge_and_rejection():
    scenes, settings = Scenes([torch.zeros(3, 100, 100)], "cpu"), ReasoningSettings()
    boxes = Boxes(torch.tensor([[0.0, 10, 50, 60]]).repeat(4, 1).double(), torch.zeros(4, dtype=torch.long))
    wanted = torch.tensor(
        [[5, -1, -1, -1, 1.0], [-1, 5, -1, -1, 1.0], [-17, -1, -1, -1, 1.0], [-1, -1, -1, -1, 0.5]]
    )
    moves = move_boxes(boxes, wanted, scenes, settings)
    assert moves.labels.tolist() == [CONVERGED, MOVING, MOVING, REJECTED]
    assert moves.boxes.corners.dtype == torch.float32
    # Up by 5 of 128 pixels of the crop, times 1.5; the others shrink by half.
    expected = torch.tensor([0.5, -7.5, -0.5, -0.5]) * 50 / 128
    torch.testing.assert_close(moves.boxes.corners[1], boxes.corners[1].float() + expected)
    assert torch.equal(moves.boxes.corners[0], boxes.corners[0].float())


def test_memory_and_same_once():
    first, inverse = same_once(torch.tensor([7, 3, 7, 9, 3]))
    assert first.tolist() == [0, 1, 3] and inverse.tolist() == [0, 1, 0, 2, 1]
    asked = []

    def look_up(rectangles):
        asked.append(len(rectangles))
        return rectangles[:, 1:3].float()

    memory = Memory(Scenes([torch.zeros(3, 9, 9)], "cpu"), look_up)
    rows = torch.tensor([[0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [0, 1, 2, 3, 4]])
    assert memory(rows).tolist() == [[1, 2], [5, 6], [1, 2]]
    more = torch.tensor([[0, 5, 6, 7, 8], [0, 0, 2, 3, 4]])
    assert memory(more).tolist() == [[5, 6], [0, 2]]
    assert asked == [2, 1]


def test_earlier_boxes_win_in_their_own_image():
    corners = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 10], [50, 50, 60, 60]])
    kept = suppress(Boxes(corners, torch.tensor([0, 0, 1, 0])), 0.5)
    assert kept.scene.tolist() == [0, 0, 1]
    assert kept.corners.tolist() == [corners[0].tolist(), corners[3].tolist(), corners[2].tolist()]


def test_turned_boxes_are_dropped():
    corners = torch.tensor([[10.0, 10, 0, 0], [0, 0, 10, 10], [0, 0, 7, 7]])
    assert len(Boxes(corners, torch.zeros(3, dtype=torch.long)).larger_than(50)) == 1


def test_large_images_are_looked_at_smaller():
    scene = functional.interpolate(TWO[None], scale_factor=4, mode="bilinear")[0]
    recorder, counts = Recorder(), Counts()
    settings = ReasoningSettings(max_side=128)
    (found,) = discover_images([scene], look, exists, settings, watch=recorder, counts=counts)
    (small,) = discover_images([TWO], look, exists)
    assert found.instances.size == (384, 512)
    assert counts.boxes["existence"] < len(grid_proposals(384, 512))
    assert len(found.instances) == len(small.instances)
    torch.testing.assert_close(found.instances.boxes / 4, small.instances.boxes, rtol=0, atol=2.5)
    assert recorder.steps()[0].boxes.max() == 512


def test_steps_are_recorded_by_scene():
    recorder = Recorder()
    discover_images([TWO, torch.zeros(3, 30, 30)], look, exists, ReasoningSettings(rounds=4), watch=recorder)
    names = [step.name for step in recorder.steps(0)]
    assert names[0] == "proposals" and names[-1] == "objects" and "boundary, round 4" in names
    assert len(recorder.steps(0)[0].boxes) == len(grid_proposals(96, 128))
    assert len(recorder.steps(1)[1].boxes) == 0


def test_proposals_of_several_sizes():
    scenes = Scenes([torch.zeros(3, 40, 50), torch.zeros(3, 33, 70)], "cpu")
    boxes = all_proposals(scenes)
    assert torch.equal(boxes.corners[boxes.scene == 1], grid_proposals(33, 70))
    assert bool((boxes.corners <= scenes.limits(boxes.scene)).all())


def test_half_precision_runs():
    (found,) = discover_images([TWO], look, exists, ReasoningSettings(precision="bfloat16", rounds=3))
    assert found.instances.size == (96, 128)


def test_settings_refuse_nonsense():
    with pytest.raises(ConfigError, match="split_level"):
        ReasoningSettings().replaced(split_level=2)
    with pytest.raises(ConfigError):
        ReasoningSettings().replaced(rounds=0)
