"""The loss of STEGO and its descendants: codes correlate where what teaches them does (Hamilton et al., ICLR 2022, 3.2)."""

from __future__ import annotations

from torch import Tensor

__all__ = ["centred", "pair_loss"]


def pair_loss(code_correlation: Tensor, teaching: Tensor, shift: float) -> Tensor:
    """``-max(C, 0) * (F - shift)`` for every pair; only codes that agree at all are pulled or pushed."""
    return -code_correlation.clamp(min=0) * (teaching - shift)


def centred(correlation: Tensor, places: tuple[int, ...] = (-1,)) -> Tensor:
    """Subtract the mean over the second places (these axes) of each first one, keeping the overall mean ("pointwise")."""
    lowered = correlation - correlation.mean(dim=places, keepdim=True)
    return lowered - lowered.mean() + correlation.mean()
