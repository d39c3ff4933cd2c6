"""Masks as pictures: the best object of each image in one piece, and all objects (spec unmore 2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.methods.unmore.label_files import LabelledImage
from nolabel.methods.unmore.proposals import connected_components
from nolabel.structures.files import write_png

__all__ = ["largest_component", "top_one_mask", "write_instance_masks", "write_top_one_masks"]


def top_one_mask(image: LabelledImage) -> Tensor:
    """The largest connected part (H, W) bool of the object with the highest score, the first of equal ones.

    Empty where the image has no object, or that object no pixel.
    """
    if len(image.instances) == 0:
        return torch.zeros(image.size, dtype=torch.bool)
    return largest_component(image.instances.mask(int(image.instances.scores.argmax())))


def largest_component(mask: Tensor) -> Tensor:
    """The largest part of a mask (H, W) that is connected over edges; the first of equal ones."""
    parts, _ = connected_components(mask[None])
    areas = torch.bincount(parts.flatten())
    areas[0] = 0
    return (parts[0] == areas.argmax()) & mask


def write_top_one_masks(images: Iterable[LabelledImage], out: str | Path) -> list[Path]:
    """Write :func:`top_one_mask` of each image as ``OUT/<its path>.png``, 0 and 255."""
    return [
        write_png(_place(Path(out), image), top_one_mask(image).numpy().astype(np.uint8) * 255)
        for image in images
    ]


def write_instance_masks(images: Iterable[LabelledImage], out: str | Path) -> list[Path]:
    """Write all objects of each image as ``OUT/<its path>.png``: 0 none, 1 + its index where an object is on top.

    16 bit, so that no number of objects overflows; the object with the highest score lies on top.
    """
    return [
        write_png(_place(Path(out), image), image.instances.id_map().numpy().astype(np.uint16))
        for image in images
    ]


def _place(out: Path, image: LabelledImage) -> Path:
    name = Path(image.file_name)
    if name.is_absolute() or ".." in name.parts:
        raise DataError(f"the image name {image.file_name!r} leads out of the folder")
    return out / name.with_suffix(".png")
