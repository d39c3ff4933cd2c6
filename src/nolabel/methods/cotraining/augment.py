"""Augmentation of image and labels: what is done is drawn first, as a list, and then carried out.

Source: Co-Training specification, 2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.config import Config
from nolabel.data.resizing import resize_image, resize_labels
from nolabel.data.sampling import is_varied
from nolabel.engine.segmentation_inference import shortest_edge_size
from nolabel.methods.cotraining.class_crop import ClassCrop, class_window

__all__ = [
    "AugmentConfig",
    "Crop",
    "Flip",
    "Operation",
    "Resize",
    "apply",
    "augment",
    "crop_start",
    "cut_out",
]


@dataclass(frozen=True)
class Resize:
    """Resize to a height and a width."""

    height: int
    width: int

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Resize image (3, H, W) uint8 and labels (H, W)."""
        size = (self.height, self.width)
        return resize_image(image, size), resize_labels(labels, size)


@dataclass(frozen=True)
class Crop:
    """Cut a window out; what reaches beyond the image is not there."""

    top: int
    left: int
    height: int
    width: int

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cut image (3, H, W) and labels (H, W)."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        return image[:, rows, columns], labels[rows, columns]


@dataclass(frozen=True)
class Flip:
    """Mirror: left and right, or upside down."""

    vertical: bool = False

    def __call__(self, image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mirror image (3, H, W) and labels (H, W)."""
        axis = -2 if self.vertical else -1
        return image.flip(axis), labels.flip(axis)


Operation = Resize | Crop | Flip


class CutOut(Config):
    """Rectangles of an image set to black; the labels stay."""

    holes: tuple[int, int] = (1, 3)
    """Range of their number, both ends included."""
    length: tuple[int, int] = (50, 100)
    """Range of their heights and widths, in pixels."""


class AugmentConfig(Config):
    """How an image and its labels are changed before training, in this order."""

    resize: tuple[int, int] | None = None
    """Height and width every image is brought to first."""
    shortest_edges: tuple[int, ...] = ()
    """One of these is drawn as the length of the shorter edge, in pixels; none: no change of scale."""
    longest_edge: int = 4096
    """The longer edge is at most so long, in pixels."""
    crop: tuple[int, int] | None = (512, 1024)
    """Height and width of the window."""
    crop_margin: tuple[float, float] | None = None
    """Part of the height above and below which the window must not reach; None: anywhere."""
    largest_share: float = 1.0
    """Below 1: windows are drawn again, up to ten times, until no class covers so much of their labelled pixels."""
    class_crop: ClassCrop | None = None
    """Look for windows with given classes."""
    flip: float = 0.5
    """Probability of mirroring left and right."""
    flip_vertical: float = 0.0
    """Probability of turning upside down."""
    cut_out: CutOut | None = None
    """Black rectangles."""
    reference_compat: bool = False
    """As executed in co-training: the scale is drawn first and undone by ``resize``, and only a plain crop follows."""


def crop_start(size: int, crop: int, margin: tuple[float, float] | None, uniform: float) -> int:
    """Return the first row (or column) of a window.

    Args:
        size: of the image.
        crop: of the window, at most ``size``.
        margin: parts of the size between which the window has to lie where it fits there; it starts at the first one
            where it does not. (The original lets it begin one row too late in small images: one row is missing.)
        uniform: the draw, in [0, 1).
    """
    last = size - crop
    if margin is None:
        return int(uniform * (last + 1))
    low = min(int(margin[0] * size), last)
    high = min(max(int(margin[1] * size) - crop, low), last)
    return low + int(uniform * (high - low + 1))


def augment(
    image: Tensor, labels: Tensor, config: AugmentConfig, generator: torch.Generator, *, num_classes: int
) -> tuple[Tensor, Tensor, list[Operation]]:
    """Draw what to do with an image and its labels, and do it.

    Args:
        image: (3, H, W) uint8.
        labels: (H, W); ids from ``num_classes`` on are void.
        config: settings.
        generator: source of the draws.
        num_classes: for the rules that look at classes.

    Returns:
        Image, labels, and the operations carried out (without the black rectangles of ``cut_out``).
    """
    operations: list[Operation] = []

    def carry_out(operation: Operation) -> None:
        nonlocal image, labels
        image, labels = operation(image, labels)
        operations.append(operation)

    steps = [_fixed_size, _random_size]
    for step in reversed(steps) if config.reference_compat else steps:
        operation = step(config, (labels.shape[-2], labels.shape[-1]), generator)
        if operation is not None:
            carry_out(operation)
    if config.crop is not None:
        carry_out(_draw_crop(labels, config, generator, num_classes))
    for probability, vertical in ((config.flip, False), (config.flip_vertical, True)):
        if _uniform(generator) < probability:
            carry_out(Flip(vertical))
    if config.cut_out is not None:
        image = cut_out(image, config.cut_out, generator)
    return image, labels, operations


def apply(operations: Sequence[Operation], image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Carry out operations on an image (3, H, W) uint8 and its labels (H, W)."""
    for operation in operations:
        image, labels = operation(image, labels)
    return image, labels


def cut_out(image: Tensor, config: CutOut, generator: torch.Generator) -> Tensor:
    """Blacken rectangles around uniformly drawn centres in an image (3, H, W)."""
    height, width = image.shape[-2:]
    number = _integer(config.holes, generator)
    centre = torch.rand(number, 2, generator=generator) * torch.tensor([height, width])
    low, high = config.length
    half = torch.randint(low, high + 1, (number, 2), generator=generator) / 2
    rows = (torch.arange(height)[None] - centre[:, :1].floor()).abs() < half[:, :1]
    columns = (torch.arange(width)[None] - centre[:, 1:].floor()).abs() < half[:, 1:]
    holes = (rows[:, :, None] & columns[:, None, :]).any(0)
    return image.masked_fill(holes.to(image.device), 0)


def _fixed_size(config: AugmentConfig, size: tuple[int, int], generator: torch.Generator) -> Operation | None:
    return None if config.resize is None else Resize(*config.resize)


def _random_size(
    config: AugmentConfig, size: tuple[int, int], generator: torch.Generator
) -> Operation | None:
    if not config.shortest_edges:
        return None
    edge = config.shortest_edges[_integer((0, len(config.shortest_edges) - 1), generator)]
    return Resize(*shortest_edge_size(size, edge, config.longest_edge))


def _draw_crop(labels: Tensor, config: AugmentConfig, generator: torch.Generator, num_classes: int) -> Crop:
    assert config.crop is not None
    height, width = labels.shape
    rows, columns = min(config.crop[0], height), min(config.crop[1], width)
    # As executed in co-training, the crop is given neither the margin nor the wanted classes.
    margin = None if config.reference_compat else config.crop_margin
    for _ in range(10 if config.largest_share < 1 else 1):
        top = crop_start(height, rows, margin, _uniform(generator))
        crop = Crop(top, crop_start(width, columns, None, _uniform(generator)), rows, columns)
        if config.largest_share >= 1:
            break
        if is_varied(crop(labels[None], labels)[1], num_classes, config.largest_share):
            break
    if config.class_crop is None or config.reference_compat:
        return crop
    window = class_window(labels, (crop.top, crop.left), (rows, columns), config.class_crop, generator)
    return Crop(*window, rows, columns)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def _integer(limits: tuple[int, int], generator: torch.Generator) -> int:
    return int(torch.randint(limits[0], limits[1] + 1, (), generator=generator))
