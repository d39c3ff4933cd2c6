"""What the predicted fields are compared with their targets by (unMORE specification, 5; ICML 2025, 3.2)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.config import Config
from nolabel.methods.unmore.targets import ObjectTargets

__all__ = ["ObjectnessLossConfig", "objectness_losses"]


class ObjectnessLossConfig(Config):
    """Terms of the loss; each is a mean over all elements and has weight 1."""

    centre: Literal["l1", "l2"] = "l2"
    """How centre fields are compared."""
    boundary: Literal["l1", "l2"] = "l1"
    """How boundary fields, and their slopes, are compared."""
    slope: bool = True
    """Also compare the differences of neighbouring pixels of the boundary field."""
    mask: bool = True
    """Also take the sigmoid of the boundary field as the probability of being inside (binary cross entropy). The field
    lies in (-1, 1), so this term never falls below about 0.31."""


def objectness_losses(
    boundary: Tensor, centre: Tensor, targets: ObjectTargets, config: ObjectnessLossConfig
) -> dict[str, Tensor]:
    """Compare predictions with targets.

    Args:
        boundary: (N, S, S) predicted.
        centre: (N, 2, S, S) predicted.
        targets: of the same crops; all of them count, see :attr:`ObjectTargets.usable`.
        config: which terms.

    Returns:
        Scalars: ``centre``, ``boundary``, ``slope`` and ``mask`` as far as asked for, and ``loss``, their sum.
    """
    boundary, centre = boundary.float(), centre.float()
    distance = F.l1_loss if config.boundary == "l1" else F.mse_loss
    of_centre = F.l1_loss if config.centre == "l1" else F.mse_loss
    terms = {
        "centre": of_centre(centre, targets.centre),
        "boundary": distance(boundary, targets.boundary),
    }
    if config.slope:
        terms["slope"] = distance(_slopes(boundary), _slopes(targets.boundary))
    if config.mask:
        terms["mask"] = F.binary_cross_entropy_with_logits(boundary, targets.mask.float())
    return {"loss": torch.stack(list(terms.values())).sum(), **terms}


def _slopes(field: Tensor) -> Tensor:
    """Differences to the next row and the next column, where both exist: (N, 2, S - 1, S - 1)."""
    corner = field[:, :-1, :-1]
    return torch.stack([field[:, 1:, :-1] - corner, field[:, :-1, 1:] - corner], dim=1)
