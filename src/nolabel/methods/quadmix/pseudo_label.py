"""Pseudo labels of a teacher with their confidence and weight (UDASS specification, image 2.4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from nolabel.config import Config

__all__ = ["PseudoLabelConfig", "PseudoLabels", "pseudo_labels"]


class PseudoLabelConfig(Config):
    """How much pseudo labels count."""

    threshold: float | None = Field(0.968, ge=0, le=1)
    """An image weighs as much as the share of its pixels with at least this probability; None: 1."""
    ignore_top: int = Field(0, ge=0)
    """First rows that weigh nothing, in pixels."""
    ignore_bottom: int = Field(0, ge=0)
    """Last rows that weigh nothing, in pixels."""
    reference_compat: bool = False
    """As executed: one weight for the whole batch instead of one for each image."""


class PseudoLabels(NamedTuple):
    """Labels (B, H, W) int64, the largest probability (B, H, W) and the weight of each pixel (B, H, W)."""

    labels: Tensor
    confidence: Tensor
    weight: Tensor


def pseudo_labels(logits: Tensor, config: PseudoLabelConfig, valid: Tensor | None = None) -> PseudoLabels:
    """Turn a teacher's scores into labels.

    Args:
        logits: (B, C, H, W) at the size of the images.
        config: settings.
        valid: (B, H, W) 0 where the image is not to be trusted (its margins).
    """
    # The probability of the best class without those of the others: one map instead of C.
    best, labels = logits.float().max(dim=1)
    confidence = (best - logits.float().logsumexp(dim=1)).exp()
    if config.threshold is None:
        share = torch.ones(len(logits), 1, 1, device=logits.device)
    else:
        sure = (confidence >= config.threshold).float()
        share = sure.mean(dim=(1, 2), keepdim=True)
        if config.reference_compat:
            share = share.mean().expand_as(share)
    weight = share.expand(labels.shape).clone()
    weight[:, : config.ignore_top] = 0
    weight[:, labels.shape[1] - config.ignore_bottom :] = 0
    if valid is not None:
        weight = weight * (valid > 0)
    return PseudoLabels(labels, confidence, weight)
