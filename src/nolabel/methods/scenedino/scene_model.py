"""What evaluations ask of a model, whatever is behind it: a trained network, a baseline, the truth of a test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

__all__ = ["SceneModel", "ViewPrediction", "VolumePrediction", "spread"]


@dataclass(frozen=True, eq=False)
class ViewPrediction:
    """What a model says about the image it was given, at that image's size.

    Attributes:
        clusters: by the name of a head (``stego_cluster``, ``direct_cluster``, ``stego_linear``, ``direct_linear``): (H, W)
            int64 raw cluster ids, or classes of a linear probe.
        classes: by the same names: (H, W) int64 train ids, as the model itself maps its clusters.
        distance: (H, W) metres along the ray; None where the model has no geometry.
        features: (C, h, w) features; None where the model gives none.
    """

    clusters: dict[str, Tensor] = field(default_factory=dict)
    classes: dict[str, Tensor] = field(default_factory=dict)
    distance: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True, eq=False)
class VolumePrediction:
    """What a model says about voxels.

    Attributes:
        density: (X, Y, Z) 1 / metre, as it is (not grown); anything where nobody asked.
        classes: (X, Y, Z) int64 train ids; anything where there is no matter in a voxel or its neighbours.
    """

    density: Tensor
    classes: Tensor


class SceneModel(Protocol):
    """From one image to what is seen and what is there."""

    def view(self, image: Tensor, intrinsics: Tensor, *, features: bool = False) -> ViewPrediction:
        """Render the image's own view.

        Args:
            image: (3, H, W) RGB in [0, 1].
            intrinsics: (3, 3) pixels of the image.
            features: whether features are wanted.
        """
        ...

    def volume(
        self, image: Tensor, intrinsics: Tensor, centres: Tensor, needed: Tensor | None = None
    ) -> VolumePrediction:
        """Look at the centres of voxels.

        Args:
            image: (3, H, W) RGB in [0, 1].
            intrinsics: (3, 3) pixels of the image.
            centres: (X, Y, Z, 3) metres, in the camera's frame.
            needed: (X, Y, Z) bool: voxels whose label counts; all by default.
        """
        ...


def spread(count: int, limit: int | None) -> list[int]:
    """At most ``limit`` of ``count`` numbers, evenly spread; all by default."""
    if limit is None or limit >= count:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, limit).round().astype(int)).tolist()
