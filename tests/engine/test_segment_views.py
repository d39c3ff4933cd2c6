"""Looking at an image several times: sizes and mirrors give the mean of their probabilities."""

import numpy as np
import torch
from PIL import Image

from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.segment import segment_batch
from nolabel.engine.segmentation_inference import InferenceSize, TestViews
from nolabel.engine.segmentor_file import SegmentorModel
from nolabel.labels import CITYSCAPES_19
from nolabel.models.segmentation import Segmentor
from nolabel.viz.semantic_files import SemanticFiles


class Sides(Segmentor):
    """Scores class 0 by the column and class 1 by the number of columns; remembers what it saw."""

    num_logits, stride = 19, 1

    def __init__(self):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape[-2:]))
        rows, columns = images.shape[-2:]
        logits = torch.full((len(images), 19, rows, columns), -9.0)
        logits[:, 0] = torch.linspace(-2, 3, columns)
        logits[:, 1] = columns / 10
        return logits


def test_probabilities_of_all_views_are_averaged():
    network = Sides()
    model = SegmentorModel(network, "sides", CITYSCAPES_19, {}, InferenceSize(fixed=(8, 12)))
    images, options = [torch.rand(3, 8, 12)], PredictionOptions()
    (plain,) = segment_batch(model, images, options)
    (same,) = segment_batch(model, images, options, TestViews())
    assert torch.equal(plain.labels, same.labels)
    network.seen.clear()
    (found,) = segment_batch(model, images, options, TestViews(scales=(0.5, 1.0), flip=True))
    assert network.seen == [(4, 6)] * 2 + [(8, 12)] * 2 and found.size == (8, 12)
    # The mean of a view and its mirror is its own mirror.
    assert torch.equal(found.labels, found.labels.flip(-1))
    assert not torch.equal(plain.labels, plain.labels.flip(-1))
    probabilities = []
    for rows, columns in ((4, 6), (8, 12)):
        logits = torch.nn.functional.interpolate(
            network(torch.zeros(1, 3, rows, columns)), (8, 12), mode="bilinear", align_corners=False
        )
        probabilities += [logits.softmax(1), logits.softmax(1).flip(-1)]
    confidence, labels = torch.stack(probabilities).mean(0).max(1)
    assert torch.equal(found.labels, labels[0])
    torch.testing.assert_close(found.confidence, confidence[0])


def test_files_for_the_servers(tmp_path):

    network = Sides()
    model = SegmentorModel(network, "sides", CITYSCAPES_19, {}, InferenceSize(fixed=(8, 12)))
    (found,) = segment_batch(model, [torch.rand(3, 8, 12)], PredictionOptions())
    found.labels[0, 0] = 255
    with SemanticFiles(tmp_path, CITYSCAPES_19, ("train_ids", "label_ids"), total=1) as files:
        files.add("x", found)
    ids, labels = (
        torch.from_numpy(np.array(Image.open(tmp_path / kind / "x.png"))).long()
        for kind in ("train_ids", "label_ids")
    )
    assert torch.equal(ids, found.labels.long())
    assert labels[0, 0] == 0 and set(labels.flatten().tolist()) <= {0, 7, 8}
    assert torch.equal(labels == 7, ids == 0) and torch.equal(labels == 8, ids == 1)
