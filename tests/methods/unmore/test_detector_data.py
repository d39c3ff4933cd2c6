"""Training data of the detector: what is drawn, pasted, grouped and left out."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nolabel.errors import DataError
from nolabel.methods.unmore.coco_star import (
    category_statistics,
    masks_for_boxes,
    masks_of_file,
    merge_labels,
    without_classes,
)
from nolabel.methods.unmore.detector_copy_paste import PasteDraw, copy_and_paste, draw_paste, paste_objects
from nolabel.methods.unmore.detector_data import open_detector_data, shortest_edge_size
from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.methods.unmore.detector_settings import CopyPasteConfig, DetectorDataConfig
from nolabel.methods.unmore.label_files import LabelledImage, read_label_file, write_label_file
from nolabel.methods.unmore.merging import PictureFolders
from nolabel.methods.unmore.merging import merge_labels as unmore_merge
from nolabel.structures import Instances

SMALL = DetectorDataConfig(short_sides=(32,), long_side=64, mirror=0.0)


def square(height, width, *boxes):
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def sample(*boxes, shade=0, height=40, width=60):
    image = torch.full((3, height, width), shade, dtype=torch.uint8)
    return DetectorSample.from_masks(image, square(height, width, *boxes), torch.full((len(boxes),), 0.5))


def folder(tmp_path, records):
    """Write pictures and labels: (file name, height, width, boxes)."""
    images = []
    for number, (name, height, width, boxes) in enumerate(records, start=1):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((height, width, 3), 10 * number, np.uint8)).save(path)
        objects = Instances(
            square(height, width, *boxes), scores=torch.full((len(boxes),), 0.5), size=(height, width)
        )
        key = f"imagenet_{number}" if name.endswith(".JPEG") else f"coco_{number}"
        images.append(LabelledImage(name, (height, width), key, objects))
    return tmp_path / "images", write_label_file(tmp_path / "labels.json", images)


def test_a_pasted_object_covers_what_lies_under_it():
    target, source = sample((0, 0, 20, 20), shade=50), sample((10, 10, 40, 30), shade=200)
    found = paste_objects(target, source, PasteDraw((0,), 0.5, 10, 5))
    # Half the size, shifted by (10, 5): the square lies at x 15..30, y 10..20.
    assert found.boxes[1].tolist() == [15, 10, 30, 20]
    assert (found.image[:, 12, 20] == 200).all() and (found.image[:, 2, 2] == 50).all()
    assert not (found.masks[0] & found.masks[1]).any()
    assert target.masks[0].sum() == 400  # the given sample is as it was


def test_an_object_that_would_hide_half_of_another_is_not_pasted():
    target, source = sample((0, 0, 10, 10)), sample((0, 0, 60, 40))
    assert paste_objects(target, source, PasteDraw((0,), 0.5, 0, 0)) is target


def test_images_without_objects_take_and_give_nothing_wrong():
    empty, full = sample(), sample((10, 10, 30, 30), shade=200)
    generator = torch.Generator().manual_seed(0)
    pasted, unchanged = copy_and_paste([empty, full], CopyPasteConfig(), generator)
    assert unchanged is full  # its source is empty
    assert len(pasted.scores) == 1 and pasted.scores[0] == 0.5
    ratio = 0.5
    draw = PasteDraw((0,), ratio, 7, 3)
    right = paste_objects(empty, full, draw)
    wrong = paste_objects(empty, full, draw, reference_compat=True)
    assert right.boxes[0].tolist() == [12, 8, 22, 18]
    assert wrong.boxes[0].tolist() == [8, 12, 18, 22]  # x has the shift of y


def test_draws_are_those_of_the_generator_and_stay_inside():
    draws = [
        draw_paste(4, (40, 60), CopyPasteConfig(), torch.Generator().manual_seed(seed)) for seed in range(200)
    ]
    assert draws == [
        draw_paste(4, (40, 60), CopyPasteConfig(), torch.Generator().manual_seed(seed)) for seed in range(200)
    ]
    assert {len(draw.objects) for draw in draws} == {1, 2, 3}  # never all of several
    assert all(0.3 <= d.ratio <= 1 and d.left + int(d.ratio * 60) <= 60 for d in draws)
    assert draw_paste(4, (40, 60), CopyPasteConfig(rate=0.0), torch.Generator()) is None


def test_boxes_masks_and_pictures_are_scaled_and_mirrored_together(tmp_path):
    images, labels = folder(tmp_path, [("a.png", 64, 128, [(0, 0, 32, 64)])])
    data = open_detector_data(images, labels, SMALL.replaced(mirror=1.0))
    found = data[0]
    assert found.image.shape == (3, 32, 64)
    assert found.boxes.tolist() == [[48, 0, 64, 32]]
    assert torch.equal(found.masks[0], square(32, 64, (48, 0, 64, 32))[0])
    assert not bool(found.trusted)


def test_scenes_are_repeated_and_shapes_share_batches(tmp_path):
    records = [(f"n/{i}.JPEG", 40, 60, [(5, 5, 20, 20)]) for i in range(5)]
    records += [(f"{i}.jpg", 60, 40, [(5, 5, 20, 20)]) for i in range(2)]
    images, labels = folder(tmp_path, records)
    data = open_detector_data(images, labels, SMALL, batch_size=2)
    assert len(data) == 5 + 5 * 2
    assert bool(data[0].trusted)
    order = data.epoch_order(torch.Generator().manual_seed(0))
    assert len(order) == 4 + 10
    wide = [data.images[data.entries[index]].size[1] > 50 for index in order]
    assert all(first == second for first, second in zip(wide[::2], wide[1::2], strict=True))
    assert order != data.epoch_order(torch.Generator().manual_seed(1))


def test_images_without_objects_are_left_out_or_trained_on(tmp_path):
    images, labels = folder(tmp_path, [("a.png", 40, 60, []), ("b.png", 40, 60, [(5, 5, 20, 20)])])
    assert len(open_detector_data(images, labels, SMALL)) == 1
    both = open_detector_data(images, labels, SMALL.replaced(only_non_empty=False))
    assert len(both) == 2 and both[0].masks.shape == (0, 32, 48) and both[0].boxes.shape == (0, 4)
    with pytest.raises(DataError, match="has an object"):
        open_detector_data(images, labels, SMALL.replaced(least_score=0.9))


def test_missing_and_foreign_pictures_are_named(tmp_path):
    images, labels = folder(tmp_path, [("train/a.png", 40, 60, [(5, 5, 20, 20)])])
    assert len(open_detector_data(images / "train", labels, SMALL)) == 1  # by its last part
    Image.new("RGB", (30, 30)).save(images / "train" / "a.png")
    with pytest.raises(DataError, match="30 x 30, its labels are for 40 x 60"):
        open_detector_data(images, labels, SMALL)[0]
    with pytest.raises(DataError, match=r"not in .*: train/a.png"):
        (tmp_path / "other").mkdir()
        open_detector_data(tmp_path / "other", labels, SMALL)


def test_pictures_of_the_same_name_are_told_apart_or_refused(tmp_path):
    """Photographs and scenes are often both called 000001.png: taking the first would teach wrong masks in silence."""
    objects = {"photographs": (5, 5, 20, 20), "scenes": (8, 8, 30, 30)}
    labels = {}
    for number, (name, box) in enumerate(objects.items()):
        images, labels[name] = folder(tmp_path / name, [("a.png", 40 + 8 * number, 60, [box])])
    folders = PictureFolders("scenes/images", "photographs/images")
    photographed, seen = (read_label_file(path) for path in labels.values())
    merged = list(unmore_merge(seen, photographed, folders=folders))
    told_apart = open_detector_data(tmp_path, merged, SMALL)
    assert [told_apart[i].image.shape[-2:] for i in range(2)] == [(32, 48), (32, 40)]
    images = [tmp_path / name / "images" for name in objects]
    with pytest.raises(DataError, match=r"a\.png is in several folders: .*photographs.*scenes"):
        open_detector_data(images, list(unmore_merge(seen, photographed)), SMALL)


def test_input_sizes_are_those_of_detectron2():
    assert shortest_edge_size((480, 640), 800, 1333) == (800, 1067)
    assert shortest_edge_size((427, 640), 800, 1333) == (800, 1199)
    assert shortest_edge_size((300, 1000), 800, 1333) == (400, 1333)
    assert shortest_edge_size((640, 480), 240, 1333) == (320, 240)


def coco(*annotations, categories=((1, "cat"),)):
    rows = [
        {"id": number, "image_id": 7, "category_id": category, "bbox": list(box)}
        for number, (category, box) in enumerate(annotations)
    ]
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "height": 20, "width": 30}],
        "annotations": rows,
        "categories": [{"id": number, "name": name} for number, name in categories],
    }


def test_extra_labels_join_cocos(tmp_path):
    original = coco((1, (0, 0, 5, 5)))
    original["annotations"][0] |= {"segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]], "area": 25, "iscrowd": 0}
    drawn = coco((1, (10, 5, 10, 10)), (2, (0, 0, 8, 8)), categories=((1, "stone"), (2, "cat")))
    for number, box in enumerate([(12, 6, 18, 14), (1, 1, 7, 6)]):
        picture = square(20, 30, box)[0].numpy().astype(np.uint8) * 255
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    masked = masks_for_boxes(drawn, masks_of_file(tmp_path))
    assert masked["annotations"][0]["bbox"] == [12, 6, 6, 8]
    assert masked["annotations"][0]["original_bbox"] == [10, 5, 10, 10]
    (tmp_path / "masks.json").write_text(json.dumps(masked))
    merged = merge_labels(original, masked)
    assert [row["id"] for row in merged["annotations"]] == [1, 2, 3]
    assert [row["category_id"] for row in merged["annotations"]] == [1, 2, 1]  # the extra cat is COCO's cat
    assert merged["annotations"][1]["area"] == 48
    assert category_statistics(merged)[0] == {"id": 1, "name": "cat", "count": 2}
    assert {row["category_id"] for row in without_classes(merged)["annotations"]} == {1}
    with pytest.raises(DataError, match="lacks the masks"):
        masks_for_boxes(coco(*[(1, (0, 0, 5, 5))] * 3), masks_of_file(tmp_path))
