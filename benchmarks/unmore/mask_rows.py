"""Rows of the first stage: cuts, votes and CRF of one image, features excluded (any network may give them)."""

from __future__ import annotations

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from nolabel.methods.unmore.maskcut import mask_cuts, refine_cuts
from nolabel.methods.unmore.spectral import FeatureGraph, smallest_vectors, smallest_vectors_dense
from nolabel.methods.unmore.votecut import eigenvectors, vote_masks
from nolabel.methods.unmore.votecut_settings import MaskCutSettings, PseudoMaskConfig

SIDES = (30, 34, 34, 30, 60, 60)
"""Grids of VoteCut's six networks."""
WIDTH, SQUARE = 384, 480
PHOTOGRAPH = (375, 500)  # ImageNet's usual size


def blobs(cells: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy features (WIDTH, cells, cells) of a scene of three things on a background, and the things (h, w)."""
    draw = torch.Generator().manual_seed(seed)
    place = torch.linspace(0, 1, cells)
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    things = torch.zeros(cells, cells, dtype=torch.long)
    for number, (y, x, radius) in enumerate(((0.35, 0.35, 0.2), (0.7, 0.7, 0.15), (0.25, 0.8, 0.1)), start=1):
        things[(rows - y).square() + (columns - x).square() < radius**2] = number
    kinds = torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(99))
    noise = 1.5 * torch.randn(WIDTH, cells, cells, generator=draw)
    return kinds[things].permute(2, 0, 1) + noise, things


def photograph(size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8: the things in colours with some noise."""
    things = blobs(60)[1]
    large = torch.nn.functional.interpolate(things[None, None].float(), size)[0, 0].long()
    colours = torch.tensor([[90, 120, 70], [200, 60, 50], [50, 80, 190], [220, 210, 90]])
    noise = torch.randint(-20, 20, (*size, 3), generator=torch.Generator().manual_seed(1))
    return (colours[large] + noise).clamp(0, 255).to(torch.uint8).permute(2, 0, 1).contiguous()


def _graph(bench: Bench) -> FeatureGraph:
    return FeatureGraph.of(blobs(60)[0].flatten(1).T[None].to(bench.device))


def _krylov(bench: Bench) -> Work:
    graph = _graph(bench)
    return lambda: smallest_vectors(graph)[0]


def _dense(bench: Bench) -> Work:
    graph = _graph(bench)
    return lambda: smallest_vectors_dense(graph)[0]


def _scipy(bench: Bench) -> Work:
    affinity = _graph(bench).affinity[0].cpu().numpy()
    degrees = np.diag(affinity.sum(1))
    return lambda: linalg.eigh(degrees - affinity, degrees, subset_by_index=[1, 2])[0]


def _maskcut(bench: Bench) -> Work:
    features, square = blobs(60)[0].to(bench.device), photograph((SQUARE, SQUARE)).to(bench.device)
    settings, crf = MaskCutSettings(), PseudoMaskConfig().crf

    def work() -> list[Tensor]:
        cuts = mask_cuts(features, settings)
        return refine_cuts(cuts.masks, square, square, settings, crf)

    return work


def _vectors(bench: Bench) -> Work:
    features = [blobs(side, seed)[0].to(bench.device) for seed, side in enumerate(SIDES)]
    return lambda: eigenvectors(features)


def _vote(bench: Bench) -> Work:
    vectors = [vector.to(bench.device) for vector in _vectors(bench)()]
    image = photograph(PHOTOGRAPH).to(bench.device)
    return lambda: vote_masks(vectors, image, PseudoMaskConfig()).masks


def _masks(found: list[Tensor] | Tensor) -> str:
    return f"{len(found)} masks"


ROWS = (
    Row("ncut", "second eigenvector of 3600 nodes, block Krylov", _krylov),
    Row("ncut-dense", "the same by a full symmetric factorisation", _dense),
    Row(
        "ncut-scipy",
        "the same as MaskCut does: generalised subset eigh of scipy",
        _scipy,
        original=8.5,
        accelerated=False,
    ),
    # Three solves alone; users of the original report 13.5 s an image with its network, on better machines.
    Row(
        "maskcut",
        "MaskCut of 60x60 cells, 3 cuts, CRF on 480x480",
        _maskcut,
        original=25.5,
        extrapolated=True,
        note=_masks,
    ),
    Row("votecut-vectors", "VoteCut: eigenvectors of six networks, two of 60x60 cells", _vectors),
    Row("votecut-vote", "VoteCut: clusters, votes and CRF of a 375x500 image", _vote, note=_masks),
)
