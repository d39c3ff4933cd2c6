"""Geometry is computed in float32 or float64: half precision resolves neither pixels nor metres."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["common_precision", "full_precision"]


def full_precision(tensor: Tensor) -> Tensor:
    """float64 stays; everything else (bf16, half, integers) becomes float32."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def common_precision(*tensors: Tensor) -> list[Tensor]:
    """All in float64 if any is float64, else in float32."""
    dtype = torch.float64 if any(tensor.dtype == torch.float64 for tensor in tensors) else torch.float32
    return [tensor.to(dtype) for tensor in tensors]
