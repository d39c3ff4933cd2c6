"""Losses of the trainings: cross entropy with pixel weights, over several resolutions, and the baselines' losses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.labels import VOID

__all__ = ["entropy_loss", "least_squares_loss", "pixel_accuracy", "pixel_cross_entropy", "resolution_loss"]


def pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    mean_over: Literal["all", "labelled"] = "all",
) -> Tensor:
    """Return the mean of the weighted cross entropy of pixels; computed in float32.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) integers; what is no class (255, 250, -1) is void and costs nothing.
        weights: (B, H, W), 0 .. 1; ones by default.
        mean_over: ``all``: the divisor is the number of all pixels, void ones and those of weight 0 included, so that
            a batch with few sure pixels teaches little (UDASS specification, image, 2.2). ``labelled``: of those with
            a label (video, 5.3); 0 where there are none.
    """
    logits, labels = logits.float(), labels.long()
    valid = (labels >= 0) & (labels < logits.shape[1])
    losses = F.cross_entropy(logits, labels.where(valid, VOID), ignore_index=VOID, reduction="none")
    if weights is not None:
        losses = losses * weights
    return losses.mean() if mean_over == "all" else losses.sum() / valid.sum().clamp(min=1)


def resolution_loss(
    logits: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    weights: Mapping[str, Tensor | None],
    *,
    shares: Mapping[str, float],
    factor: float = 1.0,
    reference_compat: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a network with several resolutions: their cross entropies, each with its share.

    This is the loss of HRDA, and with ``factor`` the consistency loss of MIC, whose labels and weights are the
    teacher's. Source: UDASS specification (image) 2.2 (7), 2.8.

    Args:
        logits: by resolution ("fused", "detail", "context"), (B, C, h, w) of any size.
        labels: by resolution, (B, H, W): the detail's are cut to its window.
        weights: by resolution, (B, H, W) or None.
        shares: by resolution (published: fused 0.9, detail 0.1); those of 0 or not named are left out.
        factor: of the whole.
        reference_compat: ``factor`` counts for the fused resolution only.

    Returns:
        The loss, and its parts by resolution.
    """
    parts = {}
    for name, share in shares.items():
        if share == 0 or name not in logits:
            continue
        target = labels[name]
        size = (target.shape[-2], target.shape[-1])
        enlarged = F.interpolate(logits[name].float(), size, mode="bilinear", align_corners=False)
        scale = share if reference_compat and name != "fused" else share * factor
        parts[name] = scale * pixel_cross_entropy(enlarged, target, weights[name])
    return torch.stack(list(parts.values())).sum(), parts


def pixel_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of right pixels, 0 .. 1; void counts as wrong, as in mmsegmentation's log."""
    return (logits.max(1).indices == labels).float().mean()


def entropy_loss(logits: Tensor) -> Tensor:
    """Return the mean entropy of the pixels' classes, 0 .. 1 (MinEnt; UDASS specification, image, 2.12).

    Args:
        logits: (B, C, H, W).
    """
    probabilities = logits.float().softmax(1)
    entropy = -(probabilities * (probabilities + 1e-30).log2()).sum(1)
    return entropy.mean() / math.log2(logits.shape[1])


def least_squares_loss(scores: Tensor, domain: Literal["source", "target"]) -> Tensor:
    """Return how far a discriminator's scores are from a domain's number, 0 for source and 1 for target.

    Source: UDASS specification (image) 2.12 (AdvSeg).
    """
    return (scores.float() - (0.0 if domain == "source" else 1.0)).square().mean()
