"""How much frozen features know about classes: k nearest neighbours and a linear classifier on single cells.

Both learn from labelled cells of some pictures and are asked about the cells of others; the features stay as they are.
Source: DINO (Caron et al., ICCV 2021, section 4.1), for cells instead of images.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.labels import VOID

__all__ = ["CellBank", "Likeness", "LinearProbe", "cell_labels", "fit_linear_probe", "neighbour_votes"]

Likeness = Literal["direction", "distance"]
"""What makes two features alike: a small angle (learned features), or a small Euclidean distance (descriptors, whose length
carries meaning)."""

CHUNK = 1024  # queries whose distances to the bank are held at once
PURE = 0.5  # share of a cell that its class must cover
LINEAR_STEPS, LINEAR_DECAY = 100, 1e-3


class CellBank(NamedTuple):
    """Labelled cells.

    Attributes:
        features: (N, C).
        labels: (N,) classes.
    """

    features: Tensor
    labels: Tensor


def cell_labels(labels: Tensor, size: tuple[int, int], num_classes: int) -> Tensor:
    """Return the class that covers at least half of each cell, 255 where none does.

    Args:
        labels: (H, W) classes, 255 void.
        size: (h, w) cells that tile the picture evenly.
        num_classes: C.

    Returns:
        (h, w) int64.
    """
    known = torch.where((labels >= 0) & (labels < num_classes), labels, num_classes)
    shares = F.adaptive_avg_pool2d(F.one_hot(known, num_classes + 1).movedim(-1, 0).float(), size)
    share, found = shares.max(dim=0)
    return torch.where((share >= PURE) & (found < num_classes), found, VOID)


def neighbour_votes(
    bank: CellBank, queries: Tensor, num_classes: int, neighbours: int = 20, likeness: Likeness = "direction"
) -> Tensor:
    """Let the nearest cells of a bank vote, each with the weight exp(-(d / d_k)^2) of its distance d.

    Args:
        bank: N labelled cells.
        queries: (M, C) features.
        num_classes: of the labels.
        neighbours: k, at most N; d_k is the distance of the k-th.
        likeness: ``direction``: distances of unit vectors.

    Returns:
        (M, num_classes) shares of the votes.
    """
    known, asked = bank.features.float(), queries.float()
    if likeness == "direction":
        known, asked = F.normalize(known, dim=1), F.normalize(asked, dim=1)
    neighbours, lengths = min(neighbours, len(known)), known.square().sum(1)
    votes = []
    for part in asked.split(CHUNK):
        squares = lengths - 2 * part @ known.T  # without the query's own length, which changes no order
        nearest = squares.topk(neighbours, largest=False)
        distances = (nearest.values + part.square().sum(1, keepdim=True)).clamp(min=0)
        weights = (-distances / distances[:, -1:].clamp(min=1e-12)).exp()
        share = torch.zeros(len(part), num_classes, device=part.device)
        votes.append(
            share.scatter_add_(1, bank.labels[nearest.indices], weights / weights.sum(1, keepdim=True))
        )
    return torch.cat(votes) if votes else asked.new_zeros(0, num_classes)


class LinearProbe(NamedTuple):
    """A linear classifier of standardised features.

    Attributes:
        mean, deviation: (C,) of the features it learned from.
        weight: (classes, C).
        bias: (classes,).
    """

    mean: Tensor
    deviation: Tensor
    weight: Tensor
    bias: Tensor

    def probabilities(self, features: Tensor) -> Tensor:
        """Return the probabilities (M, classes) of features (M, C)."""
        return F.linear((features.float() - self.mean) / self.deviation, self.weight, self.bias).softmax(1)


def fit_linear_probe(bank: CellBank, num_classes: int) -> LinearProbe:
    """Fit a classifier by multinomial logistic regression with a small decay (L-BFGS from zero: nothing is drawn)."""
    features = bank.features.float()
    mean, deviation = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    standard = (features - mean) / deviation
    weight = torch.zeros(num_classes, features.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(num_classes, device=features.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=LINEAR_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(standard, weight, bias), bank.labels)
        value = value + LINEAR_DECAY * weight.square().sum()
        value.backward()
        return value

    with torch.inference_mode(False), torch.enable_grad():
        optimizer.step(loss)
    return LinearProbe(mean, deviation, weight.detach(), bias.detach())
