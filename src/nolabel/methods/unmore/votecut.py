"""Masks of one image by VoteCut or MaskCut, from the features of given networks (spec unmore 2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.methods.unmore.grid_features import GridFeatures, square_image
from nolabel.methods.unmore.label_files import LabelledImage
from nolabel.methods.unmore.maskcut import mask_cuts, refine_cuts
from nolabel.methods.unmore.proposals import vote_proposals
from nolabel.methods.unmore.refine import refine_mask
from nolabel.methods.unmore.spectral import FeatureGraph, smallest_vectors
from nolabel.methods.unmore.votecut_settings import CutSettings, PseudoMaskConfig
from nolabel.methods.unmore.voting import cluster_proposals, pairwise_iou, vote_mask
from nolabel.structures import Instances

__all__ = ["FoundMasks", "cut_masks", "eigenvectors", "find_masks", "vote_masks"]


@dataclass(frozen=True)
class FoundMasks:
    """The objects of one image, best first.

    Attributes:
        masks: (N, H, W) bool.
        scores: (N,) in (0, 1].
        columns: ``cluster_size`` (proposals that agreed) and ``crf_success`` of VoteCut.
    """

    masks: Tensor
    scores: Tensor
    columns: dict[str, list[float]]

    def labelled(self, file_name: str, identity: int | str) -> LabelledImage:
        """As an entry of a label file."""
        size = (int(self.masks.shape[-2]), int(self.masks.shape[-1]))
        instances = Instances(self.masks.cpu(), scores=self.scores.cpu(), size=size)
        return LabelledImage(file_name, size, identity, instances, self.columns)


def eigenvectors(features: Sequence[Tensor], cut: CutSettings | None = None) -> list[Tensor]:
    """The second smallest eigenvector of each network's graph; graphs of one size are solved together.

    Args:
        features: (C, h, w) of each network.
        cut: the graphs.

    Returns:
        (h, w) float64 each.
    """
    cut = cut or CutSettings()
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, grid in enumerate(features):
        groups[tuple(grid.shape[1:])].append(index)
    found: dict[int, Tensor] = {}
    for shape, members in groups.items():
        cells = (features[i].flatten(1).T[None] for i in members)
        graphs = [FeatureGraph.of(grid, cut.tau, cut.epsilon) for grid in cells]
        graph = FeatureGraph(torch.cat([one.neighbours for one in graphs]), cut.epsilon)
        vectors = smallest_vectors(graph)[1][..., 0]
        found |= {i: vector.view(shape) for i, vector in zip(members, vectors, strict=True)}
    return [found[index] for index in range(len(features))]


def vote_masks(vectors: Sequence[Tensor], image: Tensor, config: PseudoMaskConfig) -> FoundMasks:
    """Let the proposals of all eigenvectors vote, and refine what they agree on (VoteCut).

    Args:
        vectors: (h, w) of each network.
        image: (3, H, W) uint8 RGB, on the device that refines.
        config: settings ``vote`` and ``crf``.

    Returns:
        Masks by falling number of proposals that agreed; the score is that number over the largest one.
    """
    vote = config.vote
    proposals = vote_proposals(vectors, vote.clusters, vote.grid)
    clusters = cluster_proposals(pairwise_iou(proposals), vote.alike, reference_compat=vote.reference_compat)[
        : vote.most_masks
    ]
    clusters.sort(key=len, reverse=True)
    refined = [
        refine_mask(vote_mask(proposals, cluster, vote.share).to(image.device), image, config.crf)
        for cluster in clusters
    ]
    sizes = [len(cluster) for cluster in clusters]
    return FoundMasks(
        _stacked([one.mask for one in refined], image),
        torch.tensor(sizes, dtype=torch.float64) / max(sizes, default=1),
        {"cluster_size": [float(size) for size in sizes], "crf_success": [one.refined for one in refined]},
    )


def cut_masks(features: Tensor, image: Tensor, side: int, config: PseudoMaskConfig) -> FoundMasks:
    """Cut one network's features again and again (MaskCut); all masks have score 1.

    Args:
        features: (C, h, w).
        image: (3, H, W) uint8 RGB.
        side: of the square image that the features are of.
        config: settings ``maskcut``, ``cut`` and ``crf``.
    """
    cuts = mask_cuts(features, config.maskcut, config.cut)
    square = square_image(image, side).to(features.device)
    masks = refine_cuts(cuts.masks, image, square, config.maskcut, config.crf)
    return FoundMasks(_stacked(masks, image), torch.ones(len(masks)), {})


def find_masks(networks: Sequence[GridFeatures], image: Tensor, config: PseudoMaskConfig) -> FoundMasks:
    """Run the configured method on an image (3, H, W) uint8 with networks in the order of the settings."""
    if config.method == "maskcut":
        return cut_masks(networks[0].of(image), image, networks[0].side, config)
    return vote_masks(eigenvectors([network.of(image) for network in networks], config.cut), image, config)


def _stacked(masks: list[Tensor], image: Tensor) -> Tensor:
    return torch.stack(masks) if masks else torch.zeros(0, *image.shape[-2:], dtype=torch.bool)
