"""The correlation losses: code should agree where features agree, and where depth agrees (spec cups_pseudo 11.2).

STEGO (Hamilton et al., ICLR 2022) section 3.2 for features, DepthG (Sick et al., CVPR 2024) section 3.3 for depth.
Every term is ``-max(C, 0) * (F - shift)``, averaged: C is the correlation of the codes, F that of what teaches them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.methods.cups.depthg.sampling import derangement
from nolabel.models.correlation_loss import centred, pair_loss


class Shifts(NamedTuple):
    """The correlations that neither attract nor repel, by term."""

    intra: float
    inter: float
    negative: float
    depth: float


class PairLoss(NamedTuple):
    """One term over all pairs of places: axes (image, row, column, row', column').

    Attributes:
        loss: its mean is minimised.
        correlation: of the codes; of the depths for the depth term. To watch only.
    """

    loss: Tensor
    correlation: Tensor


class CorrelationLosses(NamedTuple):
    """All terms; the negatives are stacked along the image axis, set after set. ``depth`` may be absent."""

    intra: PairLoss
    inter: PairLoss
    negative: PairLoss
    depth: PairLoss | None


def sample_at(maps: Tensor, coordinates: Tensor) -> Tensor:
    """Read maps (B, C, h, w) bilinearly: result (B, C, S, S) at [i, j] is the place coordinates[:, j, i]."""
    grid = coordinates.transpose(1, 2)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=True)


def correlate(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of all pairs of cells of (B, C, h, w) and (B, C, k, l): (B, h, w, k, l)."""
    one, two = F.normalize(first, dim=1), F.normalize(second, dim=1)
    cosines = one.flatten(2).transpose(1, 2) @ two.flatten(2)
    return cosines.view(len(first), *first.shape[2:], *second.shape[2:])


def depth_similarity(depth: Tensor) -> tuple[Tensor, Tensor]:
    """How alike the distances of two places are: the nearer over the farther, 1 where they are equal.

    A ratio, because what is one object at 5 m and at 50 m differs in its spread of depths by as much.

    Args:
        depth: (B, 1, S, S) >= 0, 0 = unknown.

    Returns:
        (B, S, S, S, S) in [0, 1], and whether both distances are known.
    """
    flat = depth.flatten(1)
    one, two = flat[:, :, None], flat[:, None]
    known = (one > 0) & (two > 0)
    ratio = torch.minimum(one, two) / torch.maximum(one, two).clamp(min=1e-6)
    shape = (len(depth), *depth.shape[2:], *depth.shape[2:])
    return torch.where(known, ratio, 0.0).view(shape), known.view(shape)


def depth_loss(code: Tensor, depth: Tensor, coordinates: Tensor, shift: float) -> PairLoss:
    """Codes of one image agree where distances agree.

    The similarity of two places counts relative to its mean over the image, so that half of the pairs attract and
    half repel whatever the scene; ``shift`` moves that balance. Pairs of unknown depth count nothing.

    Args:
        code: (B, D, S, S) at ``coordinates``.
        depth: (B, 1, h, w) >= 0, 0 = unknown.
        coordinates: (B, S, S, 2) in [-1, 1].
        shift: see the module.
    """
    # Nearest cells: a mean over the edge of an object is the distance of nothing.
    grid = coordinates.transpose(1, 2)
    places = F.grid_sample(depth, grid, mode="nearest", padding_mode="border", align_corners=True)
    similarity, known = depth_similarity(places)
    pairs = known.flatten(1).sum(dim=1).clamp(min=1)[:, None, None, None, None]
    relative = similarity - similarity.sum(dim=(1, 2, 3, 4), keepdim=True) / pairs
    return PairLoss(known * pair_loss(correlate(code, code), relative, shift), similarity)


def reference_depth_loss(code: Tensor, depth: Tensor, shift: float) -> PairLoss:
    """The depth term as the original computes it.

    The depth map is resized, not read at the code's places, and normalised over its only channel, which makes it 1
    wherever depth is known: the term then pulls all pairs together.
    """
    resized = F.interpolate(depth, size=code.shape[2:], mode="bilinear", align_corners=True)
    similarity = correlate(resized, resized)
    return PairLoss(pair_loss(correlate(code, code), similarity, shift), similarity)


def correlation_losses(
    features: tuple[Tensor, Tensor],
    codes: tuple[Tensor, Tensor],
    depth: Tensor | None,
    coordinates: tuple[Tensor, Tensor],
    permutations: Tensor,
    shifts: Shifts,
    *,
    pointwise: bool = False,
    reference_compat: bool = False,
) -> CorrelationLosses:
    """Compute all terms of a batch.

    Args:
        features: (B, E, h, w) of the images and of their positives; no gradient flows into them.
        codes: (B, D, h, w) of both.
        depth: (B, 1, H, W) of the images, 0 = unknown; None leaves the depth term out.
        coordinates: (B, S, S, 2) in [-1, 1], of images and of positives.
        permutations: (n, B) which other image of the batch is the negative of each, n times; an image that is its
            own negative gets the next one.
        shifts: of the terms.
        pointwise: centre the feature correlations, see :func:`centred`.
        reference_compat: the depth term of the original, see :func:`reference_depth_loss`.
    """
    here, there = coordinates
    feature, code = sample_at(features[0], here), sample_at(codes[0], here)

    def term(other_feature: Tensor, other_code: Tensor, shift: float) -> PairLoss:
        with torch.no_grad():
            teaching = correlate(feature, other_feature)
            if pointwise:
                teaching = centred(teaching, (3, 4))
        correlation = correlate(code, other_code)
        return PairLoss(pair_loss(correlation, teaching, shift), correlation)

    intra = term(feature, code, shifts.intra)
    inter = term(sample_at(features[1], there), sample_at(codes[1], there), shifts.inter)
    negatives = []
    for permutation in permutations:
        others = derangement(permutation)
        negatives.append(
            term(sample_at(features[0][others], there), sample_at(codes[0][others], there), shifts.negative)
        )
    negative = PairLoss(*(torch.cat(parts) for parts in zip(*negatives, strict=True)))
    near = None
    if depth is not None:
        near = (
            reference_depth_loss(code, depth, shifts.depth)
            if reference_compat
            else depth_loss(code, depth, here, shifts.depth)
        )
    return CorrelationLosses(intra, inter, negative, near)
