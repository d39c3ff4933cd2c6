"""All rows by name, in the order of the table; originals from shared/original_timings.md."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from nolabel.data.colour_transfer import lab_statistics, transfer
from nolabel.engine.segmentation_inference import Prediction
from nolabel.methods.cotraining.class_mix import classes_on_demand, mix
from nolabel.methods.cotraining.exchange import fuse_labels, images_with_class
from nolabel.methods.cotraining.pseudo_labels import drop_unsure, score_images
from nolabel.methods.cotraining.thresholds import class_thresholds
from nolabel.models.segmentation import build_segmentor

NUM_LABELS, NUM_IMAGES, SIZE = 20, 20, (512, 1024)


def predictions(count: int, size: tuple[int, int], device: str, seed: int = 0) -> list[Prediction]:
    """Label maps of blobs with confidences between 0.2 and 1, the more the higher."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        cells = torch.rand(1, NUM_LABELS - 1, size[0] // 32, size[1] // 32, generator=generator)
        labels = torch.nn.functional.interpolate(cells, size=size, mode="bilinear")[0].argmax(0)
        confidence = 1 - 0.8 * torch.rand(size, generator=generator) ** 2
        found.append(Prediction(labels.to(device, torch.uint8), confidence.to(device)))
    return found


def pseudo_label_images(images: list[Prediction], reference_compat: bool) -> list[Tensor]:
    """Run the whole stage in memory."""
    limits = class_thresholds(images, NUM_LABELS, 0.5)
    result = []
    for labels, confidence in images:
        kept = drop_unsure(labels, confidence, limits)
        score_images(kept[None], confidence[None], limits, reference_compat=reference_compat)
        result.append(kept)
    return result


def prepare_labels(bench: Bench) -> Work:
    """Thresholds, pseudo-labels and scores."""
    images = predictions(NUM_IMAGES, SIZE, bench.device)
    return lambda: pseudo_label_images(images, False)


def prepare_executed_labels(bench: Bench) -> Work:
    """The same with the scores of the original as executed."""
    images = predictions(NUM_IMAGES, SIZE, bench.device)
    return lambda: pseudo_label_images(images, True)


def prepare_fusion(bench: Bench) -> Work:
    """Fusion of both branches' maps, and which class is in which image."""
    first, second = (
        torch.stack(pseudo_label_images(predictions(NUM_IMAGES, SIZE, bench.device, seed), False))
        for seed in (0, 1)
    )

    def work() -> None:
        for mine, yours in zip(first, second, strict=True):
            for fused in fuse_labels(mine, yours, NUM_LABELS - 1):
                images_with_class(fused[None], NUM_LABELS, 5000)

    return work


def prepare_mix(bench: Bench) -> Work:
    """One pair through ClassMix on demand."""
    (source, _), (target, _) = predictions(2, SIZE, bench.device)
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8).to(bench.device)
    thresholds = torch.linspace(0.5, 0.95, NUM_LABELS)
    return lambda: mix(
        images[:1], source[None], images[1:], target[None], classes_on_demand(source[None], thresholds)
    )


def prepare_transfer(bench: Bench) -> Work:
    """One GTA5 image to the statistics of another, which are kept."""
    generator = torch.Generator().manual_seed(0)
    image, other = torch.randint(0, 256, (2, 3, 1052, 1914), dtype=torch.uint8, generator=generator).to(
        bench.device
    )
    statistics = lab_statistics(other)
    return lambda: transfer(image, statistics)


def prepare_forward(bench: Bench) -> Work:
    """The published network on one image."""
    network = build_segmentor("deeplab_v3_plus", NUM_LABELS).eval().to(bench.device)
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0)).to(bench.device)

    def work() -> Tensor:
        with torch.inference_mode():
            return network.full_size_logits(image)

    return work


def prepare_tiny_step(bench: Bench) -> Work:
    """Forward and backward of the small network, batch 4."""
    network = build_segmentor("tiny", NUM_LABELS).train().to(bench.device)
    images = torch.rand(4, 3, 192, 384, generator=torch.Generator().manual_seed(0)).to(bench.device)

    def work() -> None:
        network.zero_grad()
        network.full_size_logits(images).square().mean().backward()

    return work


ALL = (
    Row("labels", "thresholds, pseudo-labels, scores: 20 images 512x1024", prepare_labels, 3.4),
    Row("labels-executed", "the same with co-training's executed scores", prepare_executed_labels, 5.7),
    Row("fusion", "label fusion and class statistics, 20 pairs 512x1024", prepare_fusion, 2.1),
    Row("class-mix", "ClassMix on demand, one pair 512x1024", prepare_mix, 0.20),
    Row("lab", "LAB transfer of one image 1052x1914", prepare_transfer, 1.98),
    Row("deeplab", "DeepLabV3+ R-103 forward, 512x1024", prepare_forward, 21.4),
    Row("tiny-step", "tiny network, forward and backward, 4 x 192x384", prepare_tiny_step),
)
ROWS = {row.name: row for row in ALL}
