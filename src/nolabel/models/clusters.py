"""Clusters of dense features: PCA, spherical k-means, and class log-probabilities by cosine.

The fitted clusters are a small module; as a safetensors file they are the whole memory of an unsupervised
semantic model, so every shard and every later run labels with the same classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nolabel.errors import DataError


class FeatureClusters(nn.Module):
    """Projection of features to a code, and cosine similarity of codes to cluster centres.

    Attributes:
        mean: (C,) mean feature.
        projection: (C, D) principal axes, scaled by their whitening.
        lift: () constant appended to each code. 0 compares directions only (learned features); a value beyond
            the usual code length makes cosines follow Euclidean distances (hand-made features, where length
            carries meaning).
        centres: (K, D + 1) unit vectors.
        sharpness: () factor of the cosines in the softmax.
    """

    mean: Tensor
    projection: Tensor
    lift: Tensor
    centres: Tensor
    sharpness: Tensor

    def __init__(self, channels: int, dimensions: int, num_clusters: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("projection", torch.zeros(channels, dimensions))
        self.register_buffer("lift", torch.tensor(0.0))
        self.register_buffer("centres", torch.zeros(num_clusters, dimensions + 1))
        self.register_buffer("sharpness", torch.tensor(1.0))

    @property
    def num_clusters(self) -> int:
        """K, the number of clusters."""
        return len(self.centres)

    def project(self, features: Tensor) -> Tensor:
        """Turn features (B, C, h, w) into codes (B, D, h, w)."""
        weight = self.projection.T[:, :, None, None]
        return F.conv2d(features, weight, -(self.mean @ self.projection))

    def log_probabilities(self, code: Tensor) -> Tensor:
        """Turn codes (B, D, h, w) into log-probabilities (B, K, h, w) of the clusters."""
        length = (code.square().sum(1, keepdim=True) + self.lift.square()).clamp(min=1e-12).sqrt()
        weight = self.centres[:, :-1, None, None]
        cosines = F.conv2d(code, weight, self.lift * self.centres[:, -1]) / length
        return F.log_softmax(self.sharpness * cosines, dim=1)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> FeatureClusters:
        """Rebuild from a state dict (the content of a cluster file)."""
        channels, dimensions = state["projection"].shape
        clusters = cls(channels, dimensions, len(state["centres"]))
        clusters.load_state_dict(state)
        return clusters


def fit_clusters(
    samples: Tensor,
    num_clusters: int,
    generator: torch.Generator,
    *,
    dimensions: int = 64,
    whitening: float = 0.0,
    lift: float = 0.0,
    balance: float = 1.0,
    sharpness: float = 10.0,
    restarts: int = 3,
    iterations: int = 50,
) -> FeatureClusters:
    """Fit projection and clusters to sampled features.

    Args:
        samples: (N, C) features of pixels of many images.
        num_clusters: K.
        generator: source of all randomness.
        dimensions: principal axes kept (at most C).
        whitening: 0 keeps the variances of the axes, 1 makes them equal, between: their power.
        lift: constant appended to the codes, in units of their root mean square length.
        balance: power of a small cluster's size in its weight; see :func:`balanced_spherical_kmeans`.
        sharpness: factor of the cosines in the softmax for ``lift`` 0; grown by 1 + lift^2 otherwise, since
            lifting shrinks the angles.
        restarts: runs of k-means; the one with the largest total cosine is kept.
        iterations: largest number of Lloyd steps of a run.

    Raises:
        DataError: fewer samples than clusters.
    """
    if len(samples) < num_clusters:
        raise DataError(
            f"{len(samples)} feature samples are too few for {num_clusters} clusters",
            hint="sample more frames or ask for fewer clusters",
        )
    samples = samples.double()
    mean = samples.mean(0)
    centred = samples - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(samples))
    keep = min(dimensions, samples.shape[1])
    variances, axes = variances.flip(0)[:keep].clamp(min=1e-12), axes.flip(1)[:, :keep]
    # The sign of an eigenvector is arbitrary; fix it so that files are equal on all machines.
    axes = axes * torch.sign(axes.gather(0, axes.abs().argmax(0, keepdim=True)))
    projection = axes * variances.pow(-whitening / 2)
    codes = centred @ projection
    constant = lift * codes.square().sum(1).mean().sqrt()
    points = F.normalize(torch.cat([codes, constant.expand(len(codes), 1)], dim=1), dim=1).float()

    centres = balanced_spherical_kmeans(points, num_clusters, generator, balance, restarts, iterations)
    clusters = FeatureClusters(samples.shape[1], keep, num_clusters)
    clusters.mean.copy_(mean)
    clusters.projection.copy_(projection)
    clusters.lift.copy_(constant)
    clusters.centres.copy_(centres)
    clusters.sharpness.fill_(sharpness * (1 + lift**2))
    return clusters


def spherical_kmeans(
    points: Tensor,
    num_clusters: int,
    generator: torch.Generator,
    iterations: int = 50,
    weights: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Cluster unit vectors by cosine: k-means++ start, Lloyd steps, empty clusters reseeded at bad points.

    Args:
        points: (N, D) unit vectors.
        num_clusters: K <= N.
        generator: source of the start.
        iterations: largest number of steps; ends early when no assignment changes.
        weights: (N,) how much each point counts; all alike by default.

    Returns:
        (K, D) unit centres, the heaviest first, and the weighted mean cosine of the points to their centres.
    """
    weights = torch.ones_like(points[:, 0]) if weights is None else weights
    centres = _spread_start(points, num_clusters, generator, weights)
    previous = torch.full((len(points),), -1, device=points.device)
    for _ in range(iterations):
        cosines, assigned = (points @ centres.T).max(dim=1)
        if torch.equal(assigned, previous):
            break
        previous = assigned
        members = F.one_hot(assigned, num_clusters).to(points.dtype) * weights[:, None]
        sums = members.T @ points
        empty = (members.sum(0) == 0).nonzero()[:, 0]
        sums[empty] = points[cosines.topk(len(empty), largest=False).indices]
        centres = F.normalize(sums, dim=1)
    cosines, assigned = (points @ centres.T).max(dim=1)
    mass = torch.bincount(assigned, weights=weights.double(), minlength=num_clusters)
    order = mass.argsort(descending=True, stable=True)
    return centres[order], float((cosines * weights).double().sum() / weights.double().sum())


def balanced_spherical_kmeans(
    points: Tensor,
    num_clusters: int,
    generator: torch.Generator,
    balance: float,
    restarts: int,
    iterations: int,
) -> Tensor:
    """Cluster in two steps: many small clusters, then clusters of those, each weighted by size ** ``balance``.

    Plain k-means spends its centres on the most frequent surfaces (ten clusters of facade, none of poles); with
    ``balance`` below 1 the rare but distinct ones count more.

    Returns:
        (K, D) unit centres.
    """
    small = min(len(points), 10 * num_clusters)
    if balance == 1 or small <= num_clusters:
        runs = [spherical_kmeans(points, num_clusters, generator, iterations) for _ in range(restarts)]
        return max(runs, key=lambda run: run[1])[0]
    seeds, _ = spherical_kmeans(points, small, generator, iterations=15)
    sizes = torch.bincount((points @ seeds.T).argmax(dim=1), minlength=small)
    seeds, sizes = seeds[sizes > 0], sizes[sizes > 0]
    weights = sizes.to(points.dtype).pow(balance)
    runs = [spherical_kmeans(seeds, num_clusters, generator, iterations, weights) for _ in range(restarts)]
    return max(runs, key=lambda run: run[1])[0]


def _spread_start(points: Tensor, num_clusters: int, generator: torch.Generator, weights: Tensor) -> Tensor:
    """Choose starting centres by k-means++: far and heavy points are the likely ones."""
    chosen: list[Tensor] = []
    distance = torch.ones_like(weights)
    for _ in range(num_clusters):
        mass = (distance.clamp(min=0) * weights).double().cumsum(0)
        draw = torch.rand(1, generator=generator, dtype=torch.float64).to(mass.device) * mass[-1]
        place = int(torch.searchsorted(mass, draw).clamp(max=len(points) - 1))
        chosen.append(points[place])
        distance = torch.minimum(distance, 1 - points @ chosen[-1])
    return torch.stack(chosen)
