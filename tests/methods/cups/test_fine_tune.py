"""Fine-tuning on a few labelled images: what classes inherit, which images count, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import nolabel
from nolabel.cli import app
from nolabel.config import load_config
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19, LabelClass, LabelSpace
from nolabel.methods.cups import augment
from nolabel.methods.cups.class_layers import clusters_of_classes, for_classes
from nolabel.methods.cups.fine_tune import FineTuneConfig, FineTuning, match_clusters
from nolabel.methods.cups.labelled_images import choose_images, open_for_training
from nolabel.methods.cups.model_file import MODEL_FILE, CupsModel, load_model, save_model
from nolabel.methods.cups.panoptic_training import run_training
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig
from nolabel.models.panoptic.targets import PanopticTarget
from nolabel.world import Rig, WorldSettings, write_world

SPACE = LabelSpace(
    "made_up",
    (
        LabelClass("car", (1, 2, 3), True),
        LabelClass("road", (4, 5, 6), False),
        LabelClass("sky", (7, 8, 9), False),
        LabelClass("cat", (9, 8, 7), True),
    ),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    settings = WorldSettings(layout="cityscapes", scenes=3, frames=2, split="train", rig=Rig(size=(64, 128)))
    write_world(root, settings)
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = PanopticCascadeMaskRCNN(PanopticConfig.tiny(2, 3)).eval()
    return save_model(CupsModel(network), tmp_path_factory.mktemp("start") / MODEL_FILE)


def network(things: int, stuff: int, seed: int = 0) -> PanopticCascadeMaskRCNN:
    torch.manual_seed(seed)
    return PanopticCascadeMaskRCNN(PanopticConfig.tiny(things, stuff)).eval()


def test_a_class_finds_the_clusters_that_stand_for_it() -> None:
    # Stuff clusters 0, 1, 2 and thing clusters 0, 1; a thing cluster never stands for stuff.
    stuff, things = clusters_of_classes((1, 2, 1, 0, 255), 3, SPACE)
    assert (stuff, things) == ([[0, 2], [1]], [[0], []])
    assert clusters_of_classes(None, 3, SPACE) == ([[], []], [[], []])


def test_renamed_clusters_are_predicted_as_before_in_their_new_order() -> None:
    before = network(2, 3)
    after = for_classes(before, before.config, [[2], [0], [1]], [[1], [0]], seed=1).eval()
    image = torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = before.extract([image])
        old, new = (n.sem_seg_head(features.pyramid)[0] for n in (before, after))
        torch.testing.assert_close(new, old[[0, 3, 1, 2]])
        boxes = [torch.tensor([[4.0, 4.0, 40.0, 40.0], [0.0, 0.0, 60.0, 60.0]])]
        levels = features.region_levels
        old_scores, new_scores = (n.roi_heads.run_stage(1, levels, boxes).logits for n in (before, after))
        torch.testing.assert_close(new_scores, old_scores[:, [1, 0, 2]])
        old_masks = before.roi_heads.mask_logits(levels, boxes, [torch.tensor([1, 0])])
        new_masks = after.roi_heads.mask_logits(levels, boxes, [torch.tensor([0, 1])])
        torch.testing.assert_close(new_masks, old_masks)


def test_merged_clusters_are_averaged_and_new_classes_begin_anew() -> None:
    before = network(2, 3)
    after = for_classes(before, before.config, [[0, 2], []], [[], [0]], seed=5)
    old, new = before.state_dict(), after.state_dict()
    weight = "sem_seg_head.predictor.weight"
    torch.testing.assert_close(new[weight][1], (old[weight][1] + old[weight][3]) / 2)
    assert not any(torch.allclose(new[weight][2], row) for row in old[weight])
    masks = "roi_heads.mask_head.predictor.weight"
    torch.testing.assert_close(
        new[masks][0], old[masks].mean(dim=0)
    )  # masks of a new class look like any mask
    torch.testing.assert_close(new[masks][1], old[masks][0])
    again = for_classes(before, before.config, [[0, 2], []], [[], [0]], seed=5).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in new.items())


def test_images_are_drawn_by_seed_and_larger_draws_contain_smaller_ones(world: Path, tmp_path: Path) -> None:
    images = open_for_training(world, space=None)
    assert images.space == CITYSCAPES_19
    names = [choose_images(images, count, seed=3).names for count in (1, 2, 3)]
    assert set(names[0]) < set(names[1]) < set(names[2]) == set(images.names)
    assert {tuple(choose_images(images, 1, seed=seed).names) for seed in range(20)} > {tuple(names[0])}
    listed = tmp_path / "list.txt"
    listed.write_text(f"somewhere/{images.names[2]}.png\n\n{images.names[0]}\n")
    assert choose_images(images, listed=listed).names == [images.names[0], images.names[2]]
    with pytest.raises(ConfigError, match="exclude each other"):
        choose_images(images, 1, listed=listed)
    with pytest.raises(DataError, match="4 labelled images were asked for"):
        choose_images(images, 4)
    listed.write_text("nobody\n")
    with pytest.raises(DataError, match="names 'nobody'"):
        choose_images(images, listed=listed)


@pytest.mark.parametrize("size", [None, (48, 64), (400, 400)])
def test_image_and_labels_are_changed_alike(size: tuple[int, int] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    instances = torch.zeros(64, 96, dtype=torch.long)
    instances[10:50, 20:60] = 1
    target = PanopticTarget(
        boxes=torch.tensor([[20.0, 10.0, 60.0, 50.0]]),
        classes=torch.tensor([0]),
        instances=instances,
        semantic=torch.where(instances > 0, 0, 1),
    )
    image = instances.float().expand(3, -1, -1)
    for _ in range(20):
        changed, labels = augment.flip_scale_and_crop(image, target, generator, (0.5, 2.0), size)
        height, width = changed.shape[-2:]
        assert labels.semantic.shape == (height, width)
        assert height <= (size or (64, 96))[0] and width <= (size or (64, 96))[1]
        inside = labels.instances > 0
        assert (
            (changed[0] > 0.5) == inside
        ).float().mean() > 0.93  # bilinear and nearest differ at the border


def test_the_command_gives_a_network_that_knows_the_classes(world: Path, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = [
        *("cups", "fine-tune", "--from", start.parent, "--data", world, "--out", out, "--images", "2"),
        *("--validate", world, "fit.steps=2", "fit.batch_size=1", "fit.accelerator=cpu", "fit.log_every=1"),
        *("validation.split=train", "picture_every=2"),
    ]
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    chosen = json.loads((out / "images.json").read_text())
    assert len(chosen) == 2
    pipeline = nolabel.load("cups", out, device="cpu")
    assert pipeline.space == CITYSCAPES_19
    assert pipeline.model.lookup()[:19].tolist() == [*CITYSCAPES_19.stuff, *CITYSCAPES_19.things]
    assert pipeline(torch.rand(3, 64, 128)).space == CITYSCAPES_19
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert any("validation/pq" in entry for entry in log)
    assert [path.name for path in (out / "pictures").iterdir()] == ["step_000002.png"]


def test_heads_alone_can_be_trained(world: Path, start: Path, tmp_path: Path) -> None:
    images = choose_images(open_for_training(world, space="cityscapes_7"), 1)
    before = load_model(start)
    overrides = ["fit.steps=1", "fit.accelerator=cpu", "only_train_heads=true", "class_layers=new"]
    task = FineTuning(images, before, load_config(FineTuneConfig, overrides=overrides), tmp_path)
    after = run_training(task, progress=False).network.state_dict()
    same = {
        name: torch.equal(value, after[name])
        for name, value in before.network.state_dict().items()
        if value.shape == after[name].shape
    }
    assert all(equal for name, equal in same.items() if name.startswith("backbone."))
    assert not same["roi_heads.box_head.0.fc1.weight"]


def test_clusters_are_matched_on_the_labelled_images(world: Path, start: Path) -> None:
    images = choose_images(open_for_training(world, space=None), 2)
    matched = match_clusters(load_model(start), images)
    assert len(matched) == 5
    assert set(matched[:3]) <= {*CITYSCAPES_19.stuff, 255} and set(matched[3:]) <= {
        *CITYSCAPES_19.things,
        255,
    }


def test_a_space_without_a_registered_name_is_kept_in_the_file(tmp_path: Path) -> None:
    model = CupsModel(network(2, 2)).aligned((1, 2, 0, 3), SPACE)
    assert load_model(save_model(model, tmp_path / MODEL_FILE)).space == SPACE
