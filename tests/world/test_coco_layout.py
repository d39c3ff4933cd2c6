"""The procedural world as COCO: what the files say is what was rendered."""

from __future__ import annotations

import json

import torch
from pycocotools.coco import COCO

from nolabel.labels import CITYSCAPES_19
from nolabel.structures.rle import decode
from nolabel.world import Renderer, Rig, WorldSettings, generate_scene, write_world

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
