"""The simplest segmentation without labels: k-means on colours, no instances. Everything else has to beat it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor

__all__ = ["ColourClusters"]


class ColourClusters:
    """Clusters of CIELAB colours.

    Args:
        centres: (K, 3) float64 L, a, b.
    """

    def __init__(self, centres: NDArray[np.float64]) -> None:
        self.centres = centres

    @classmethod
    def fit(
        cls, images: Sequence[Tensor], clusters: int, *, seed: int = 0, pixels: int = 2000
    ) -> ColourClusters:
        """Fit ``clusters`` centres to ``pixels`` random pixels of each image (3, H, W) in [0, 1]."""
        random = np.random.default_rng(seed)
        samples = np.concatenate([random.choice(_lab(image), pixels) for image in images])
        centres, _ = kmeans2(samples, clusters, iter=30, minit="++", rng=random)
        return cls(centres)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the cluster (H, W) int64 of every pixel of an image (3, H, W)."""
        labels, _ = vq(_lab(image), self.centres)
        return torch.from_numpy(labels.reshape(image.shape[-2:]).astype(np.int64))


def _lab(image: Tensor) -> NDArray[np.float64]:
    pixels = np.ascontiguousarray(torch.as_tensor(image).permute(1, 2, 0).numpy(), dtype=np.float32)
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
