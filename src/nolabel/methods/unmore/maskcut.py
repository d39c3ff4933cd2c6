"""MaskCut: cut an object from the features, take it away, cut again (CutLER, Wang et al., CVPR 2023; spec unmore 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.methods.unmore.proposals import connected_components, corners_inside
from nolabel.methods.unmore.refine import fill_holes, to_size
from nolabel.methods.unmore.spectral import FeatureGraph, generalised, smallest_vectors
from nolabel.methods.unmore.votecut_settings import CrfSettings, CutSettings, MaskCutSettings
from nolabel.models.dense_crf import binary_dense_crf

__all__ = ["Cuts", "mask_cuts", "refine_cuts"]


@dataclass(frozen=True)
class Cuts:
    """What the cuts of one image found.

    Attributes:
        masks: (N, h, w) bool, disjoint; empty where a cut found nothing new.
        vectors: (N, h, w) float64 generalised eigenvectors behind them.
    """

    masks: Tensor
    vectors: Tensor


def mask_cuts(
    features: Tensor, settings: MaskCutSettings | None = None, cut: CutSettings | None = None
) -> Cuts:
    """Cut a grid of features N times.

    Args:
        features: (C, h, w).
        settings: number of cuts and what counts as found.
        cut: the graphs.
    """
    settings, cut = settings or MaskCutSettings(), cut or CutSettings()
    channels, height, width = features.shape
    cells = features.reshape(channels, -1).T
    covered = torch.zeros(height, width, dtype=torch.bool, device=features.device)
    before: Tensor | None = None
    masks, vectors = [], []
    for _ in range(settings.masks):
        # Without features a cell is like no other.
        graph = FeatureGraph.of((cells * ~covered.reshape(-1, 1))[None], cut.tau, cut.epsilon)
        vector = generalised(graph, smallest_vectors(graph)[1])[0, :, 0].view(height, width)
        mask = _foreground(vector)
        if before is not None:
            shared = float((before & mask).sum() / (before | mask).sum().clamp(min=1))
            if shared > settings.most_overlap or float(mask.float().mean()) <= settings.least_area:
                mask = torch.zeros_like(mask)
        before = mask
        masks.append(mask & ~covered)
        vectors.append(vector)
        covered = covered | mask
    return Cuts(torch.stack(masks), torch.stack(vectors))


def refine_cuts(
    masks: Tensor, image: Tensor, square: Tensor, settings: MaskCutSettings, crf: CrfSettings
) -> list[Tensor]:
    """Refine the cuts of an image on the square image that was cut, and bring them to the image's size.

    Args:
        masks: (N, h, w) bool.
        image: (3, H, W), of which only the size counts.
        square: (3, S, S) uint8 RGB, the image as it was cut.
        settings: ``least_agreement`` of the mask with what the CRF makes of it.
        crf: with ``iterations`` 0 nothing is refined.

    Returns:
        (H, W) bool masks that are left, in the order of the cuts.
    """
    masks = masks[masks.any(-1).any(-1)]
    large = to_size(masks, (int(square.shape[-2]), int(square.shape[-1])))
    if crf.iterations and len(large):
        probabilities = binary_dense_crf(large, square, **crf.model_dump())
        refined = torch.stack([fill_holes(probability > 0.5) for probability in probabilities])
        shared = (large & refined).flatten(1).sum(1) / (large | refined).flatten(1).sum(1)
        large = refined[shared >= settings.least_agreement]
    size = (int(image.shape[-2]), int(image.shape[-1]))
    whole = torch.nn.functional.interpolate(
        large[:, None].float(), size, mode="bicubic", align_corners=False, antialias=True
    )[:, 0]
    return [mask for mask in whole > 0.5 if bool(mask.any())]


def _foreground(vector: Tensor) -> Tensor:
    """The object (h, w) bool in an eigenvector: the connected part of the side that is not the background.

    The side above the mean is the object, unless it holds three corners or not the cell of largest magnitude. Cells
    within rounding of the largest magnitude count as equal: the first one is the seed.
    """
    side = vector > vector.mean()
    seed = _first_largest(vector.abs())
    if int(corners_inside(side[None])) >= 3 or not bool(side.view(-1)[seed]):
        side, vector = ~side, -vector
        seed = _first_largest(vector)
    parts, _ = connected_components(side[None])
    return parts[0] == parts[0].view(-1)[seed]


def _first_largest(values: Tensor) -> int:
    """The first place whose value is the largest one up to rounding."""
    flat = values.reshape(-1)
    largest = flat.max()
    return int((flat >= largest - 1e-9 * largest.abs()).nonzero()[0, 0])
