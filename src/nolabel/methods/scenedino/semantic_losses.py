"""STEGO's correlation losses on 3D neighbourhoods (SceneDINO specification, 8): the code agrees where the features do.

For each neighbourhood the features, and the code, of all its points are compared with those of another one: of itself, of
one with a similar mean, of any one. Pairs whose features agree more than a shift are pulled together, the others apart.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.models.correlation_loss import centred, pair_loss

__all__ = ["CorrelationTerm", "StegoConfig", "StegoInputs", "correlate", "stego_losses"]


class CorrelationTerm(Config):
    """One of the three comparisons."""

    weight: float = Field(ge=0)
    """Of its loss."""
    shift: float
    """Correlation of features that neither attracts nor repels."""


class StegoConfig(Config):
    """The three comparisons; the published numbers by default."""

    own: CorrelationTerm = CorrelationTerm(weight=0.08146997886146659, shift=0.43610463774158115)
    """With itself."""
    neighbour: CorrelationTerm = CorrelationTerm(weight=0.4156436438453117, shift=0.18458300726748128)
    """With a neighbourhood whose mean feature is similar."""
    random: CorrelationTerm = CorrelationTerm(weight=0.6702352279261414, shift=0.8709334888837256)
    """With any neighbourhood."""
    pointwise: bool = False
    """Centre the feature correlations of each point before they teach."""


class StegoInputs(NamedTuple):
    """Unit vectors of two sides, (G, n, C) each.

    Attributes:
        features: C channels of features.
        code: of the code.
    """

    features: Tensor
    code: Tensor


def correlate(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (G, n, m) of unit vectors (G, n, C) with (G, m, C)."""
    return one @ other.mT


def stego_losses(
    own: StegoInputs, neighbour: StegoInputs, other: StegoInputs, config: StegoConfig | None = None
) -> dict[str, Tensor]:
    """The weighted losses of the three comparisons.

    Args:
        own: the neighbourhoods.
        neighbour: for each, a similar one.
        other: for each, any one.
        config: weights and shifts.

    Returns:
        ``own``, ``neighbour``, ``random``.
    """
    config = config or StegoConfig()
    losses = {}
    for name, side in (("own", own), ("neighbour", neighbour), ("random", other)):
        term: CorrelationTerm = getattr(config, name)
        features = correlate(own.features, side.features)
        code = correlate(own.code, side.code)
        teaching = centred(features) if config.pointwise else features
        losses[name] = term.weight * pair_loss(code, teaching, term.shift).float().mean()
    return losses
