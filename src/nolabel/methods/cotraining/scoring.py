"""How good a network is on labelled images, by the standard definition: void predictions are errors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nolabel.data.labelled import LabelledDataset
from nolabel.data.resizing import resize_image, resize_labels, to_bytes
from nolabel.methods.cotraining.model_file import CoTrainingModel
from nolabel.methods.cotraining.predict import InferenceSize, predict
from nolabel.methods.cotraining.void import void_as_255
from nolabel.metrics.semantic import SemanticQuality, SemanticScores

__all__ = ["label_image", "score_network", "scorer"]


@torch.no_grad()
def label_image(
    model: CoTrainingModel, image: Tensor, size: InferenceSize | None = None, native: bool = True
) -> Tensor:
    """Label one image.

    Args:
        model: the network.
        image: (3, H, W) in [0, 1].
        size: at what size it is looked at; the model's own by default.
        native: labels at the size of the image, even where ``size`` fixes another.

    Returns:
        (H, W) uint8 on the CPU, 255 for void.
    """
    size, hw = size or model.size, (image.shape[-2], image.shape[-1])
    pixels = resize_image(to_bytes(image.as_subclass(Tensor)), size.of_network(hw))
    device = next(model.network.parameters()).device
    labels, _ = predict(model.network, (pixels[None] / 255).to(device), size.of_labels(hw))
    found = void_as_255(labels[0], model.space.num_classes).cpu()
    return resize_labels(found, hw) if native and tuple(found.shape) != hw else found


def score_network(
    model: CoTrainingModel, dataset: LabelledDataset, size: InferenceSize | None = None
) -> SemanticScores:
    """Score a network on all images of a data set with labels in its space; its mode is put back."""
    quality = SemanticQuality(dataset.space.num_classes)
    training = model.network.training
    model.network.eval()
    for index in range(len(dataset)):
        sample = dataset[index]
        labels = label_image(model, sample["image"], size)
        quality.update(labels.long(), sample["semantic"].as_subclass(Tensor))
    model.network.train(training)
    scores: SemanticScores = quality.compute()
    return scores


def scorer(
    dataset: LabelledDataset, size: InferenceSize | None = None, device: str = "cpu"
) -> Callable[[CoTrainingModel], dict[str, float]]:
    """Return a function that scores networks: ``miou``, ``accuracy``, and the IoU of every class, in [0, 1]."""

    def score(model: CoTrainingModel) -> dict[str, float]:
        if next(model.network.parameters()).device.type == "cpu":
            model.network.to(device)
        scores = score_network(model, dataset, size)
        values = {"miou": scores.miou, "accuracy": scores.accuracy}
        values |= {f"iou/{n}": float(v) for n, v in zip(dataset.space.names, scores.iou, strict=True)}
        return {name: float(value) for name, value in values.items() if not math.isnan(value)}

    return score
