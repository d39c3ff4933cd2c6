"""Neighbourhoods seen lately: where stage 2 finds partners for those of a step (SceneDINO specification, 8)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["NeighbourhoodBuffer"]


class NeighbourhoodBuffer:
    """A ring of neighbourhoods and their mean features.

    Args:
        slots: how many are remembered.
        samples: points of each.
        channels: of their features.
        device: where they are kept.
        reference_compat: look for neighbours among the slots that were never written, too: zeros, as the original does;
            the partners of the first steps then teach that nothing is alike.
    """

    def __init__(
        self,
        slots: int,
        samples: int,
        channels: int,
        device: torch.device | str = "cpu",
        *,
        reference_compat: bool = False,
    ) -> None:
        self.features = torch.zeros(slots, samples, channels, device=device)
        self.means = torch.zeros(slots, channels, device=device)
        self.position = 0
        self.filled = 0
        self.reference_compat = reference_compat

    def __len__(self) -> int:
        return self.filled

    @property
    def slots(self) -> int:
        """How many neighbourhoods are remembered."""
        return len(self.means)

    @torch.no_grad()
    def add(self, features: Tensor) -> Tensor:
        """Remember neighbourhoods (G, samples, channels), and forget the oldest ones; return their means (G, channels).

        Means are unit length. Of more than there are slots the last ones stay.
        """
        means = mean_features(features)
        count = min(len(features), self.slots)
        start = 0 if len(features) >= self.slots else self.position
        where = (start + torch.arange(count, device=self.means.device)) % self.slots
        kept = slice(len(features) - count, None)
        self.features[where] = features[kept].to(self.features)
        self.means[where] = means[kept].to(self.means)
        self.filled = self.slots if start + count >= self.slots else max(self.filled, start + count)
        self.position = (start + count) % self.slots
        return means

    def similar(self, means: Tensor, choice: Tensor, candidates: int = 4) -> Tensor:
        """Find a similar neighbourhood for each of G: one of those whose means are nearest, but for itself.

        Args:
            means: (G, channels) unit length, of neighbourhoods that were just added.
            choice: (G,) int64: which of the candidates, below ``candidates``.
            candidates: that are chosen from.

        Returns:
            (G,) slots.
        """
        searched = self.slots if self.reference_compat else self.filled
        cosines = means @ self.means[:searched].T
        nearest = cosines.topk(min(candidates + 1, searched), dim=-1).indices
        # A buffer of one holds no other neighbourhood: it is its own neighbour.
        place = (choice % max(nearest.shape[1] - 1, 1) + 1).clamp(max=nearest.shape[1] - 1)
        return nearest.gather(1, place[:, None])[:, 0]

    def __getitem__(self, slots: Tensor) -> Tensor:
        """Return neighbourhoods (G, samples, channels)."""
        return self.features[slots]

    def state_dict(self) -> dict[str, Any]:
        """Return everything that is remembered."""
        return {
            "features": self.features[: self.filled].cpu(),
            "means": self.means[: self.filled].cpu(),
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""
        self.filled = len(state["means"])
        self.features[: self.filled] = state["features"].to(self.features)
        self.means[: self.filled] = state["means"].to(self.means)
        self.position = state["position"]


def mean_features(features: Tensor) -> Tensor:
    """The mean (..., C) of vectors (..., n, C), unit length."""
    return F.normalize(features.mean(dim=-2), dim=-1)
