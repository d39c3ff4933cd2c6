"""unMORE's reasoning, scoring and the files between its stages (golden unmore/reasoning, scoring, jsons)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from golden.support import case_parameters, cases, load_json, load_npz
from nolabel.methods.unmore.discover import discover_images, score_images
from nolabel.methods.unmore.discovery_files import read_scored_objects
from nolabel.methods.unmore.label_files import read_label_file, write_label_file
from nolabel.methods.unmore.merging import merge_labels
from nolabel.methods.unmore.reasoning.boundary import CONVERGED, MOVING, REJECTED, move_boxes, wanted_moves
from nolabel.methods.unmore.reasoning.centre import anti_centre, erode, reason_about_centres
from nolabel.methods.unmore.reasoning.components import component_boxes, enlarged
from nolabel.methods.unmore.reasoning.crops import Boxes, Scenes
from nolabel.methods.unmore.reasoning.find import all_proposals
from nolabel.methods.unmore.reasoning.grid import grid_proposals
from nolabel.methods.unmore.reasoning.looking import Eyes
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.selection import select_objects
from nolabel.models.objectness.contract import ObjectnessMaps
from nolabel.structures.rle import decode

pytestmark = pytest.mark.golden


# --- the oracle networks of the README ----------------------------------------------------------------------


def look(crops, *, boundary=True, centre=True):
    """Fields that are painted into the image's channels."""
    return ObjectnessMaps(2 * crops[:, 0] - 1 if boundary else None, 2 * crops[:, 1:] - 1 if centre else None)


def exists(crops):
    """The part of the crop that is object."""
    return (crops[:, 0] > 0.5).float().mean((1, 2))


def published(**changes):
    """The original's settings, its components as executed."""
    return ReasoningSettings(reference_compat=True, max_side=None).replaced(**changes)


def eyes(scenes, settings=None):
    return Eyes(Scenes(scenes, "cpu"), look, exists, settings or published())


def on_scene(corners):
    return Boxes(torch.from_numpy(np.asarray(corners)), torch.zeros(len(corners), dtype=torch.long))


def read_scene(folder, number):
    return torch.from_numpy(load_npz(folder / f"scene_{number}.npz")["image"]).float()


@pytest.fixture(name="folder")
def reasoning_folder():
    found = cases("unmore", "reasoning/cases*.json")
    if not found:
        pytest.skip("no golden cases unmore/reasoning")
    return found[0].parent


# --- reasoning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", case_parameters("unmore", "reasoning/proposals*.npz"))
def test_proposals(path):
    for name, recorded in load_npz(path).items():
        height, width = (int(part) for part in name.split("_")[1:])
        np.testing.assert_array_equal(grid_proposals(height, width).numpy(), recorded)


@pytest.mark.parametrize("path", case_parameters("unmore", "reasoning/fields_in*.npz"))
def test_fields(path):
    given = {name: torch.from_numpy(array) for name, array in load_npz(path).items()}
    recorded = load_npz(path.with_name(path.name.replace("_in", "_out")))
    anti = anti_centre(given["center_fields"])
    np.testing.assert_allclose(anti.numpy(), recorded["anti_center"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(erode(given["sdf"] > 0).numpy(), recorded["eroded"].astype(bool))
    outwards = np.array([-1, -1, 1, 1])
    deltas = wanted_moves(given["sdf"])[:, :4].numpy() * outwards
    np.testing.assert_allclose(deltas, recorded["deltas_x1y1x2y2"], rtol=0, atol=1e-4)
    sides = (given["boxes"][:, 2:] - given["boxes"][:, :2]).repeat(1, 2).numpy()
    moved = given["boxes"].numpy() + deltas * sides / given["sdf"].shape[-1]
    np.testing.assert_allclose(moved, recorded["moved_boxes"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("path", case_parameters("unmore", "reasoning/components*.json"))
def test_components(path):
    recorded = load_json(path)
    masks = torch.from_numpy(load_npz(path.with_name("fields_in.npz"))["sdf"]) > 0
    boxes, owner = component_boxes(masks)
    single = torch.bincount(owner, minlength=len(masks)) == 1
    assert single.int().tolist() == recorded["indicator"]
    assert boxes[single[owner]].tolist() == recorded["single"]
    several = boxes[~single[owner]]
    assert several.tolist() == recorded["multi"]
    grown = next(name for name in recorded if name.startswith("enlarged"))
    height, width = (int(part) for part in grown.rsplit("_", 1)[1].split("x"))
    limits = torch.tensor([width, height, width, height]).expand(len(several), 4)
    assert enlarged(several, limits).tolist() == recorded[grown]


def test_centre_reasoning(folder):
    number = load_json(folder / "cases.json")["step_scene"]
    recorded = load_npz(folder / f"center_{number}.npz")
    sight = eyes([read_scene(folder, number)])
    boxes = all_proposals(sight.scenes)
    existence = sight.probabilities(sight.scenes.rectangles(boxes))
    np.testing.assert_allclose(existence.numpy(), recorded["existence"], rtol=0, atol=1e-6)
    kept = boxes[existence >= published().existence_threshold]
    np.testing.assert_array_equal(kept.corners.numpy(), recorded["kept"])
    for components, name in ((True, "split_with_cc"), (False, "split_without_cc")):
        found = reason_about_centres(kept, sight, published(components=components))
        np.testing.assert_allclose(found.passed.corners.numpy(), recorded["passed"], rtol=0, atol=1e-3)
        np.testing.assert_allclose(found.split.corners.numpy(), recorded[name], rtol=0, atol=1e-3)


def test_boundary_rounds(folder):
    number = load_json(folder / "cases.json")["step_scene"]
    recorded = load_npz(folder / f"rounds_{number}.npz")
    sight, settings = eyes([read_scene(folder, number)]), published()
    boxes = on_scene(recorded["boxes_0"])
    rounds = sorted(int(name.split("_")[1]) for name in recorded if name.startswith("label_"))
    for r in rounds:
        boxes = boxes.larger_than(settings.smallest_area)
        np.testing.assert_allclose(boxes.corners.numpy(), recorded[f"in_{r}"], rtol=0, atol=1e-2)
        wanted = torch.cat(
            [wanted_moves(maps.boundary) for maps in sight.maps(sight.scenes.rectangles(boxes), "rounds")]
        )
        moves = move_boxes(boxes, wanted, sight.scenes, settings)
        np.testing.assert_array_equal(moves.labels.numpy(), recorded[f"label_{r}"].astype(int))
        assert set(moves.labels.tolist()) <= {REJECTED, MOVING, CONVERGED}
        gone = moves.labels == REJECTED
        corners = torch.where(gone[:, None], 0.0, moves.boxes.corners)
        np.testing.assert_allclose(corners.numpy(), recorded[f"out_{r}"], rtol=0, atol=1e-2)
        boxes = replace(moves.boxes, corners=corners)


@pytest.mark.slow
@pytest.mark.parametrize("path", case_parameters("unmore", "reasoning/cases*.json"))
def test_whole_chains(path):
    for chain in load_json(path)["chains"]:
        recorded = load_json(path.with_name(chain["discovery"]))
        scenes = [read_scene(path.parent, number) for number in chain["scenes"]]
        found = discover_images(scenes, look, exists, published(components=chain["analyze_cc"]))
        for number, discovery in zip(chain["scenes"], found, strict=True):
            expected = torch.tensor(recorded.get(str(number), [])).reshape(-1, 4)
            torch.testing.assert_close(discovery.boxes, expected, rtol=0, atol=0.05)


# --- scoring -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", case_parameters("unmore", "reasoning/cases*.json"))
def test_scores_of_recorded_boxes(path):
    checked = 0
    for chain in load_json(path)["chains"]:
        if chain["scoring"] is None:
            continue
        boxes = load_json(path.with_name(chain["discovery"]))
        recorded = load_json(path.parent.parent / "scoring" / chain["scoring"])
        numbers = [number for number in chain["scenes"] if str(number) in boxes]
        scenes = [read_scene(path.parent, number) for number in numbers]
        given = [torch.tensor(boxes[str(number)]).reshape(-1, 4) for number in numbers]
        for number, discovery in zip(
            numbers, score_images(scenes, given, look, exists, published()), strict=True
        ):
            check_objects(discovery, [record for record in recorded if record["image_id"] == number])
            checked += 1
    assert checked


def check_objects(discovery, records):
    """Scores to 1e-4, masks but for single pixels at their borders."""
    assert len(discovery.instances) == len(records)
    names = ("existence_score", "center_score", "boundary_score", "area_score")
    for i, record in enumerate(records):
        assert discovery.scores[i].tolist() == pytest.approx([record[name] for name in names], abs=1e-4)
        assert float(discovery.instances.scores[i]) == pytest.approx(record["score"], abs=1e-4)
        counts = {**record["segmentation"], "counts": record["segmentation"]["counts"].encode()}
        different = int((discovery.instances.mask(i) != decode(counts)).sum())
        assert different <= max(2, 0.002 * int(discovery.instances.areas[i]))
        x1, y1, x2, y2 = discovery.instances.boxes[i].tolist()
        assert [x1, y1, x2 - x1, y2 - y1] == pytest.approx(record["bbox"], abs=1)


# --- files between the stages --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", case_parameters("unmore", "jsons/scored*.json"))
def test_selected_objects(path):
    folder = path.parent
    images = read_scored_objects(path, folder / "coco_images.json")
    recorded = load_json(folder / "selected_training_annotations.json")
    assert [image.id for image in images] == [record["id"] for record in recorded["images"]]
    check_annotations([select_objects(image) for image in images], recorded["annotations"])


@pytest.mark.parametrize("path", case_parameters("unmore", "jsons/merged*.json"))
def test_merged_labels(path, tmp_path):
    folder = path.parent
    scenes = [
        select_objects(image)
        for image in read_scored_objects(folder / "scored.json", folder / "coco_images.json")
    ]
    merged = list(merge_labels(scenes, read_label_file(folder / "votecut.json")))
    recorded = load_json(path)
    check_annotations(merged, recorded["annotations"])
    write_label_file(tmp_path / "merged.json", merged)
    written = load_json(tmp_path / "merged.json")
    assert written["images"] == recorded["images"]
    assert written["categories"] == recorded["categories"]
    check_annotations(read_label_file(tmp_path / "merged.json"), recorded["annotations"])


def check_annotations(images, records):
    """The same objects in the same order, number for number; their own ids count from 1 and not from 0."""
    found = [(image, i) for image in images for i in range(len(image.instances))]
    assert len(found) == len(records)
    for number, ((image, i), record) in enumerate(zip(found, records, strict=True)):
        objects = image.instances
        x1, y1, x2, y2 = objects.boxes[i].tolist()
        assert record["id"] == number
        assert image.id == record["image_id"]
        assert [x1, y1, x2 - x1, y2 - y1] == record["bbox"]
        assert objects.masks[i]["counts"].decode() == record["segmentation"]["counts"]
        assert list(objects.size) == record["segmentation"]["size"]
        assert float(objects.scores[i]) == float(np.float32(record["score"]))
        known = {
            "id",
            "image_id",
            "category_id",
            "bbox",
            "segmentation",
            "score",
            "area",
            "iscrowd",
            "weight",
        }
        assert {name: column[i] for name, column in image.extra.items()} == {
            name: value for name, value in record.items() if name not in known
        }
