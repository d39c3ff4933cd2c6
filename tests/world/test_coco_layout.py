"""The procedural world as COCO: what the files say is what was rendered."""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from PIL import Image
from pycocotools.coco import COCO

from nolabel.labels import CITYSCAPES_19
from nolabel.structures.rle import decode
from nolabel.world import Renderer, Rig, WorldSettings, generate_scene, write_world
from nolabel.world.photographs import around_object

RIG = Rig((64, 128))


def test_masks_are_the_rendered_things_and_more_scenes_join_the_file(tmp_path):
    settings = {"layout": "coco", "rig": RIG, "frames": 2, "seed": 5}
    write_world(tmp_path, WorldSettings(scenes=1, **settings))
    few = json.loads((tmp_path / "annotations.json").read_text())
    assert write_world(tmp_path, WorldSettings(scenes=2, **settings)) == 1
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 2, 3, 4]
    assert content["annotations"][: len(few["annotations"])] == few["annotations"]
    assert {entry["name"] for entry in content["categories"]} == {
        CITYSCAPES_19.names[i] for i in CITYSCAPES_19.things
    }

    frame = Renderer(generate_scene(6), "real", RIG).frame(1 / RIG.fps)
    rows = [row for row in content["annotations"] if row["image_id"] == 4]
    assert len(rows) == len(frame.instance.unique()) - 1 > 0
    for row in rows:
        mask = decode({**row["segmentation"], "counts": row["segmentation"]["counts"].encode()})
        assert torch.equal(mask, frame.instance == frame.instance[mask][0])
        assert (frame.semantic[mask] == row["category_id"] - 1).all()

    coco = COCO(tmp_path / "annotations.json")
    assert len(coco.getAnnIds()) == len(content["annotations"])
    assert all((tmp_path / "images" / image["file_name"]).is_file() for image in content["images"])


def test_photographs_show_a_thing_and_its_exact_mask(tmp_path):
    write_world(tmp_path, WorldSettings(layout="photographs", rig=Rig((128, 256)), scenes=4, frames=1))
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert len(content["images"]) == 4
    for image in content["images"]:
        with Image.open(tmp_path / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        shares = [
            row["area"] / (image["height"] * image["width"])
            for row in content["annotations"]
            if row["image_id"] == image["id"]
        ]
        assert max(shares) > 0.05


def test_a_window_around_a_thing_is_cut_from_all_maps_alike():
    frame = Renderer(generate_scene(6), "real", RIG).frame(0)
    window = around_object(frame, torch.Generator().manual_seed(1))
    height, width = window.instance.shape
    assert 48 <= height == width <= 64
    row, column = (round(float(v)) for v in frame.matrix[[1, 0], 2] - window.matrix[[1, 0], 2])
    part = (slice(row, row + height), slice(column, column + width))
    assert torch.equal(window.image, frame.image[:, *part])
    assert torch.equal(window.instance, frame.instance[part]) and (window.instance > 0).any()
    empty = replace(frame, instance=torch.zeros_like(frame.instance))
    assert around_object(empty, torch.Generator()) is empty
