"""Void as 255 (files, datasets) and as one label more (inside this method)."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.labels import VOID

__all__ = ["void_as_255", "void_as_label"]


def void_as_label(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (...,) with everything from ``num_classes`` on, 255 too, as ``num_classes``; the type stays."""
    return labels.clamp(max=num_classes)


def void_as_255(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (...,) with everything from ``num_classes`` on as 255; the type stays."""
    return torch.where(labels >= num_classes, torch.full_like(labels, VOID), labels)
