"""How good a network is on labelled images, by the standard definition: void predictions are errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from nolabel.data.labelled import LabelledDataset
from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.segment import segment_batch
from nolabel.engine.segmentor_file import SegmentorModel
from nolabel.metrics.semantic import SemanticQuality, SemanticScores

__all__ = ["NetworkScorer", "label_image", "score_network"]


def label_image(model: SegmentorModel, image: Tensor) -> Tensor:
    """Label one image (3, H, W) in [0, 1] at its size: (H, W) int64 on the CPU, 255 for void."""
    (found,) = segment_batch(model, [image.as_subclass(Tensor)], PredictionOptions())
    return found.labels


def score_network(model: SegmentorModel, dataset: LabelledDataset) -> SemanticScores:
    """Score a network on all images of a data set with labels in its space; its mode is put back."""
    quality = SemanticQuality(dataset.space.num_classes)
    training = model.network.training
    model.network.eval()
    for index in range(len(dataset)):
        sample = dataset[index]
        quality.update(label_image(model, sample["image"]), sample["semantic"].as_subclass(Tensor))
    model.network.train(training)
    scores: SemanticScores = quality.compute()
    return scores


@dataclass(frozen=True)
class NetworkScorer:
    """Scores networks: ``miou``, ``accuracy``, and the IoU of every class, in [0, 1]. It can travel to a process.

    Attributes:
        dataset: labelled images.
        device: where networks that are on the CPU are taken to.
    """

    dataset: LabelledDataset
    device: str = "cpu"

    def __call__(self, model: SegmentorModel) -> dict[str, float]:
        """Score one."""
        if model.device.type == "cpu":
            model.network.to(self.device)
        scores = score_network(model, self.dataset)
        values = {"miou": scores.miou, "accuracy": scores.accuracy}
        values |= {f"iou/{n}": float(v) for n, v in zip(self.dataset.space.names, scores.iou, strict=True)}
        return {name: float(value) for name, value in values.items() if not math.isnan(value)}
