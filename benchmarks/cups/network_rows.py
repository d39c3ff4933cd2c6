"""Rows of the panoptic network: prediction, training, augmentation, panoptic quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.cups.scene import load_scene
from nolabel.labels import LABEL_SPACES
from nolabel.methods.cups.targets import build_target
from nolabel.methods.cups.train import NetworkTraining, TrainConfig
from nolabel.metrics import PanopticQuality
from nolabel.models.detection import ImageFeatures
from nolabel.models.panoptic import (
    PanopticCascadeMaskRCNN,
    PanopticConfig,
    PanopticPrediction,
    PanopticTarget,
)

NETWORK_SIZE, SCENE_SIZE = (512, 1024), (640, 1280)
STUFF, THINGS = range(22), range(22, 27)


def lively_network(config: PanopticConfig, device: str) -> PanopticCascadeMaskRCNN:
    """Return a network with random weights whose heads find 100 objects, as in the original's measurement."""
    torch.manual_seed(0)
    model = PanopticCascadeMaskRCNN(config)
    with torch.no_grad():
        for predictor in model.roi_heads.box_predictor:
            predictor.cls_score.weight.mul_(40)
            predictor.bbox_pred.weight.mul_(10)  # more, and most boxes end outside the image
        model.proposal_generator.rpn_head.objectness_logits.weight.mul_(20)
    return model.eval().to(device)


def random_image(size: tuple[int, int], device: str) -> Tensor:
    """Return noise (1, 3, H, W) in [0, 1]."""
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)


def prediction(bench: Bench) -> Work:
    """The whole network on one image."""
    model = lively_network(PanopticConfig(confidence_threshold=0.05), bench.device)
    image = random_image(NETWORK_SIZE, bench.device)
    return lambda: model.predict(image)[0]


def detected(result: PanopticPrediction) -> str:
    """Say how many objects were found."""
    return f"{len(result.instances)} detections"


def backbone(bench: Bench) -> Work:
    """ResNet and pyramid on one image."""
    model = lively_network(PanopticConfig(), bench.device)
    image = random_image(NETWORK_SIZE, bench.device)

    @torch.inference_mode()
    def work() -> ImageFeatures:
        return model.extract(image)

    return work


def blocks(height: int, width: int, device: str) -> PanopticTarget:
    """Return a target with eight square objects."""
    side = height // 8
    semantic = torch.zeros(height, width, dtype=torch.int64)
    instances = torch.zeros_like(semantic)
    for number in range(8):
        top, left = number // 4 * 2 * side, number % 4 * 3 * side
        instances[top : top + side, left : left + side] = number + 1
        semantic[top : top + side, left : left + side] = THINGS[number % len(THINGS)]
    return build_target(semantic.to(device), instances.to(device), things=THINGS, stuff=STUFF)


def training_step(config: PanopticConfig, batch: int, size: tuple[int, int], bench: Bench) -> Work:
    """Forward and backward pass of a batch."""
    model = lively_network(config, bench.device).train()
    images = random_image(size, bench.device).expand(batch, -1, -1, -1)
    targets = [blocks(*size, bench.device)] * batch

    def work() -> None:
        model.zero_grad()
        sum(model(images, targets).values()).backward()

    return work


def augmentation(bench: Bench) -> Work:
    """Flip, crop, copy-paste, resolution jitter and colours of a published batch: 16 images of 640x1280."""
    scene = load_scene(bench.scenes, SCENE_SIZE, bench.device)
    semantic = torch.where(scene.instances > 0, THINGS[0], STUFF[0])
    target = build_target(semantic, scene.instances, things=THINGS, stuff=STUFF)
    batch = [(scene.sample["left_0"], target)] * 16
    task = NetworkTraining([], TrainConfig(), Path(), len(THINGS), len(STUFF))  # type: ignore[arg-type]
    return lambda: task.augment(batch, 0, torch.Generator().manual_seed(0))


def augmented(result: list[tuple[Tensor, PanopticTarget]]) -> str:
    """Say what the batch became."""
    size = "x".join(map(str, result[0][0].shape[-2:]))
    return f"{sum(len(target) for _, target in result)} objects, {size}"


def random_map(
    generator: torch.Generator, size: tuple[int, int], classes: int, things: set[int], instances: int
) -> Tensor:
    """Return a panoptic map (1, H, W, 2) of blobs, with 5 % void and scattered single wrong pixels."""

    def blobs(values: int, cell: int) -> Tensor:
        coarse = torch.randint(values, (1, 1, size[0] // cell, size[1] // cell), generator=generator)
        return F.interpolate(coarse.float(), size)[0, 0].long()

    category = blobs(classes, 64)
    noise = torch.rand(*size, generator=generator)
    scattered = torch.randint(classes, size, generator=generator)
    category = torch.where(noise < 0.02, scattered, category)
    category = torch.where(blobs(20, 32) == 0, 255, category)
    is_thing = torch.isin(category, torch.tensor(sorted(things)))
    return torch.stack([category, (blobs(instances, 32) + 1) * is_thing], dim=-1)[None]


def panoptic_quality(bench: Bench) -> Work:
    """Update and compute for one pair of the size of Cityscapes, 27 clusters, about 60 objects."""
    space = LABEL_SPACES["cityscapes_27"]
    generator = torch.Generator().manual_seed(0)
    size, clusters, stuff = (1024, 2048), 27, 17
    prediction = random_map(generator, size, clusters, set(range(stuff, clusters)), 60).to(bench.device)
    target = random_map(generator, size, space.num_classes, set(space.things), 60).to(bench.device)

    def work() -> Any:
        metric = PanopticQuality(clusters, stuff, space).to(bench.device)
        metric.update(prediction, target)
        return metric.compute()

    return work


NETWORK_ROWS = (
    Row(
        "network",
        "panoptic network, 512x1024, 1000 proposals",
        prediction,
        10.7,
        note=detected,
    ),
    Row("backbone", "ResNet-50 and feature pyramid, 512x1024", backbone, 3.3),
    Row(
        "train-tiny",
        "training step of the tiny network, 4 images of 160x320",
        lambda bench: training_step(PanopticConfig.tiny(), 4, (160, 320), bench),
    ),
    Row(
        "train",
        "training step of the published network, one image of 640x1280",
        lambda bench: training_step(PanopticConfig(), 1, SCENE_SIZE, bench),
    ),
    Row(
        "augment",
        "copy-paste, jitter and colours of 16 images of 640x1280",
        augmentation,
        scene=SCENE_SIZE,
        note=augmented,
    ),
    Row("pq", "panoptic quality of one 1024x2048 pair", panoptic_quality, 0.18 + 19.3),
)
