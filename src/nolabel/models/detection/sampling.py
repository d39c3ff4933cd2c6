"""Matching of boxes to objects, and the choice of the few that a loss looks at."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["LowestIndexSampler", "RandomSampler", "Sampler", "match_boxes", "sample_labels"]


class Sampler(Protocol):
    """Chooses ``count`` of the given indices."""

    def __call__(self, candidates: Tensor, count: int) -> Tensor:
        """Return ``count`` distinct entries of ``candidates`` (K,), or all of them when there are fewer."""
        ...


class RandomSampler:
    """Uniform choice without replacement.

    Args:
        generator: source of randomness; the global one of the candidates' device when ``None``.
    """

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def __call__(self, candidates: Tensor, count: int) -> Tensor:
        """Return ``count`` random entries of ``candidates`` (K,) in random order."""
        device = candidates.device if self.generator is None else self.generator.device
        order = torch.randperm(len(candidates), generator=self.generator, device=device)
        return candidates[order[:count].to(candidates.device)]


class LowestIndexSampler:
    """The first candidates, in order: for comparisons that must not depend on a random stream."""

    def __call__(self, candidates: Tensor, count: int) -> Tensor:
        """Return the first ``count`` entries of ``candidates`` (K,)."""
        return candidates[:count]


def match_boxes(
    iou: Tensor, background_below: float, foreground_from: float, *, keep_best_of_each: bool = False
) -> tuple[Tensor, Tensor]:
    """Give every box the object it overlaps most and a label.

    Args:
        iou: (objects, boxes) overlaps; no objects at all make every box background.
        background_below: best overlaps below this are background.
        foreground_from: best overlaps from here on are foreground; those between are ignored.
        keep_best_of_each: also call foreground every box that attains the largest overlap of some object (ties
            included). An object that no box meets has no best box.

    Returns:
        matched (boxes,) int64 object indices (0 where there is none), labels (boxes,) int8: 1 foreground,
        0 background, -1 ignored.
    """
    if iou.shape[0] == 0:
        matched = torch.zeros(iou.shape[1], dtype=torch.int64, device=iou.device)
        return matched, torch.zeros_like(matched, dtype=torch.int8)
    best, matched = iou.max(dim=0)
    labels = torch.full_like(matched, -1, dtype=torch.int8)
    labels[best < background_below] = 0
    labels[best >= foreground_from] = 1
    if keep_best_of_each:
        best_of_object = iou.max(dim=1, keepdim=True).values
        labels[((iou == best_of_object) & (best_of_object > 0)).any(dim=0)] = 1
    return matched, labels


def sample_labels(
    labels: Tensor, count: int, foreground_fraction: float, sampler: Sampler
) -> tuple[Tensor, Tensor]:
    """Choose up to ``count`` boxes: at most the given fraction foreground, filled up with background.

    Args:
        labels: (boxes,) 1 foreground, 0 background, anything else is never chosen.
        count: how many to choose.
        foreground_fraction: upper limit of the foreground part, 0 .. 1.
        sampler: chooses among the candidates.

    Returns:
        Indices of the chosen foreground and of the chosen background boxes.
    """
    foreground = sampler((labels == 1).nonzero().squeeze(1), int(count * foreground_fraction))
    background = sampler((labels == 0).nonzero().squeeze(1), count - len(foreground))
    return foreground, background
