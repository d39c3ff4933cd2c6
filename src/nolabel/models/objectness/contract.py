"""What reasoning about objects needs from networks, whatever is inside them (unMORE specification, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = ["ExistenceModule", "ExistenceNetwork", "ObjectnessMaps", "ObjectnessModule", "ObjectnessNetwork"]


@dataclass(frozen=True)
class ObjectnessMaps:
    """What an objectness network sees in N crops of side S.

    Attributes:
        boundary: (N, S, S) signed distance to the object's boundary in [-1, 1], above 0 inside and 1 at the object's
            innermost pixel; None where it was not asked for.
        centre: (N, 2, S, S) unit vectors (row, column) that point away from the object's centre, about 0 outside
            objects; None where it was not asked for.
    """

    boundary: Tensor | None
    centre: Tensor | None


class ObjectnessNetwork(Protocol):
    """Draws the boundary and the centre field of the one object of a crop."""

    def __call__(self, crops: Tensor, *, boundary: bool = True, centre: bool = True) -> ObjectnessMaps:
        """Look at crops (N, 3, 128, 128), RGB in [0, 1], not normalised; heads not asked for are not computed."""
        ...


class ExistenceNetwork(Protocol):
    """Tells whether a crop holds an object."""

    def __call__(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, 128, 128), RGB in [0, 1], not normalised, to probabilities (N,)."""
        ...


class ObjectnessModule(nn.Module):
    """Base of the objectness networks: subclasses write :meth:`maps`."""

    def maps(
        self, crops: Tensor, boundary: bool = True, centre: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return what :class:`ObjectnessMaps` holds as plain tensors, in its order."""
        raise NotImplementedError

    def forward(self, crops: Tensor, *, boundary: bool = True, centre: bool = True) -> ObjectnessMaps:
        """Look at crops (N, 3, S, S), RGB in [0, 1]; heads that are not asked for are not computed."""
        return ObjectnessMaps(*self.maps(crops, boundary, centre))


class ExistenceModule(nn.Module):
    """Base of the existence networks: subclasses write :meth:`logits`."""

    def logits(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], to logits (N,) of there being an object."""
        raise NotImplementedError

    def forward(self, crops: Tensor) -> Tensor:
        """Map crops (N, 3, S, S), RGB in [0, 1], to probabilities (N,)."""
        return torch.sigmoid(self.logits(crops))
