"""Objectness: targets and losses of a published batch, and the boundary head with and without its short cut."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.cups.row import Bench, Row, Work
from nolabel.methods.unmore.objectness_losses import ObjectnessLossConfig, objectness_losses
from nolabel.methods.unmore.targets import object_targets
from nolabel.models.objectness import BoundaryHead, build_existence, build_objectness, enlarge_twice

BATCH, CANVAS, SIDE, COARSE = 20, 400, 128, 32


def blobs(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks (20, 400, 400) and crops of them."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.rand(BATCH, 1, 5, 5, generator=generator)
    masks = F.interpolate(cells, size=(CANVAS, CANVAS), mode="bilinear")[:, 0] > 0.5
    start = torch.randint(0, CANVAS // 2, (BATCH, 2), generator=generator)
    side = torch.randint(CANVAS // 4, CANVAS // 2, (BATCH, 2), generator=generator)
    return masks.to(device), torch.cat([start, side], dim=1).to(device)


def prepare_targets(bench: Bench) -> Work:
    """All fields of a batch."""
    masks, crops = blobs(bench.device)
    return lambda: object_targets(masks, crops, SIDE)


def prepare_losses(bench: Bench) -> Work:
    """All terms and their gradients."""
    targets = object_targets(*blobs(bench.device), SIDE)
    boundary = torch.zeros_like(targets.boundary, requires_grad=True)
    centre = torch.zeros_like(targets.centre, requires_grad=True)

    def work() -> None:
        objectness_losses(boundary, centre, targets, ObjectnessLossConfig())["loss"].backward()

    return work


def prepare_head(bench: Bench, folded: bool) -> Work:
    """The published head on one crop, from the decoder's map."""
    torch.manual_seed(0)
    head, out = BoundaryHead().to(bench.device), torch.nn.Conv2d(256, 256, 1).to(bench.device)
    coarse = torch.rand(1, 256, COARSE, COARSE, device=bench.device)

    def work() -> torch.Tensor:
        with torch.no_grad():
            return head.folded(coarse, out) if folded else head(enlarge_twice(out(enlarge_twice(coarse))))

    return work


def prepare_network(bench: Bench, centre: bool) -> Work:
    """The published network on two crops."""
    network = build_objectness("dpt_large").eval().to(bench.device)
    crops = torch.rand(2, 3, SIDE, SIDE, device=bench.device)

    def work() -> object:
        with torch.no_grad():
            return network(crops, centre=centre)

    return work


def prepare_existence(bench: Bench) -> Work:
    """The published network on 16 crops."""
    network = build_existence().eval().to(bench.device)
    crops = torch.rand(16, 3, SIDE, SIDE, device=bench.device)

    def work() -> torch.Tensor:
        with torch.no_grad():
            return network(crops)

    return work


# Seconds of the original: unMORE specification, 15 (wall, for networks).
ROWS = (
    Row("targets", "boundary and centre fields of 20 masks 400x400 and crops", prepare_targets),
    Row("field-losses", "all losses of 20 crops 128x128, with gradients", prepare_losses),
    Row("head", "boundary head folded, one crop", lambda b: prepare_head(b, True), 1.45),
    Row(
        "head-plain",
        "boundary head convolution by convolution, one crop",
        lambda b: prepare_head(b, False),
        1.45,
    ),
    Row(
        "boundary", "DPT-Large, boundary of two crops", lambda b: prepare_network(b, False), 15.3, large=True
    ),
    Row(
        "fields", "DPT-Large, both fields of two crops", lambda b: prepare_network(b, True), 15.3, large=True
    ),
    Row("existence", "ResNet-50 existence of 16 crops", prepare_existence, 1.8),
)
