"""Labels of the next training, and masks as pictures."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from nolabel.methods.unmore.label_files import LabelledImage
from nolabel.methods.unmore.self_training import confident, merged_rounds
from nolabel.methods.unmore.top_one import top_one_mask, write_instance_masks, write_top_one_masks
from nolabel.structures import Instances


def labelled(boxes, scores, name="a/x.jpg", **extra) -> LabelledImage:
    masks = torch.zeros(len(boxes), 10, 10, dtype=torch.bool)
    for mask, (x, y, right, bottom) in zip(masks, boxes, strict=True):
        mask[y:bottom, x:right] = True
    return LabelledImage(
        name, (10, 10), 4, Instances(masks, scores=torch.tensor(scores), size=(10, 10)), extra
    )


def test_confident_keeps_images_without_objects():
    (one,) = confident([labelled([(0, 0, 4, 4), (5, 5, 9, 9)], [0.1, 0.2], weight=[1.0, 2.0])], 0.2)
    assert one.extra == {"weight": [2.0]}
    (none,) = confident([labelled([(0, 0, 4, 4)], [0.1])], 0.2)
    assert len(none.instances) == 0


def test_earlier_labels_stay_where_no_prediction_covers_them():
    old = labelled([(0, 0, 4, 4), (5, 5, 9, 9)], [1.0, 0.9], a=[1, 2], b=[3, 4])
    new = labelled([(0, 0, 4, 5), (6, 6, 9, 9)], [0.8, 0.3], a=[5, 6])
    other = labelled([(1, 1, 2, 2)], [1.0], name="other.jpg")
    merged, untouched = merged_rounds([new], [old, other])
    assert merged.instances.boxes.tolist() == [[0, 0, 4, 5], [5, 5, 9, 9]]
    assert merged.extra == {"a": [5, 2]}
    assert untouched is other


def test_the_best_object_in_one_piece(tmp_path):
    image = labelled([(0, 0, 9, 1), (0, 3, 2, 5)], [0.5, 0.9])
    two = image.instances.dense()
    two[1, 6:10, 6:10] = True  # a second, larger part of the best object
    image = LabelledImage(image.file_name, image.size, 1, Instances(two, scores=image.instances.scores))
    mask = top_one_mask(image)
    assert mask.sum() == 16
    assert mask[6:, 6:].all()
    (path,) = write_top_one_masks([image], tmp_path / "top")
    assert path == tmp_path / "top/a/x.png"
    assert np.unique(np.asarray(Image.open(path))).tolist() == [0, 255]
    (path,) = write_instance_masks([image], tmp_path / "all")
    assert np.array_equal(np.asarray(Image.open(path)), image.instances.id_map().numpy())
    assert not top_one_mask(labelled([], [])).any()
