"""Label maps and clips that the rows work on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.methods.quadmix.clip import Clip

SIZE, BATCH, CLASSES = (1024, 1024), 2, 19


def blobs(seed: int, size: tuple[int, int] = SIZE, batch: int = BATCH, device: str = "cpu") -> Tensor:
    """Label maps (B, H, W) of blobs, all classes."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(batch, CLASSES, size[0] // 32, size[1] // 32, generator=generator)
    return F.interpolate(cells, size=size, mode="bilinear").argmax(1).to(device)


def clip(seed: int, teacher: bool, size: tuple[int, int] = SIZE, device: str = "cpu") -> Clip:
    """Two images with labels, and weight and confidence of a teacher."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, 3, *size, generator=generator).to(device)
    sure = torch.rand(BATCH, *size, generator=generator).to(device) if teacher else None
    return Clip.of_images(images, blobs(seed, size, device=device), sure, sure)
