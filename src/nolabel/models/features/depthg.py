"""DepthG (Sick et al., CVPR 2024): frozen features, segmentation head and cluster probe (spec cups_pseudo 7.1).

Parameter names are ours; ``nolabel.weights.layouts.depthg`` maps the official checkpoint to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nolabel.models.features.dino import DinoViT, vit_arguments
from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry
from nolabel.models.pointwise import use_fast_products


class SegmentationHead(nn.Module):
    """Per-patch code: a linear map plus a two-layer one, on features with channel dropout while training."""

    def __init__(self, width: int, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.linear = nn.Conv2d(width, dim, 1)
        self.hidden = nn.Conv2d(width, width, 1)
        self.output = nn.Conv2d(width, dim, 1)
        self.dropout = nn.Dropout2d(dropout)
        use_fast_products(self)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, E, h, w) to codes (B, dim, h, w)."""
        linear = self.linear(self.dropout(features))
        return linear + self.output(F.relu(self.hidden(self.dropout(features))))


class ClusterProbe(nn.Module):
    """Cosine similarity to learned cluster centres.

    Attributes:
        clusters: (n, dim) centres, any length.
    """

    def __init__(self, num_clusters: int, dim: int) -> None:
        super().__init__()
        self.clusters = nn.Parameter(torch.randn(num_clusters, dim))

    def cosines(self, code: Tensor) -> Tensor:
        """Cosine (B, n, h, w) of each code (B, dim, h, w) with each centre."""
        return torch.einsum("bchw,nc->bnhw", F.normalize(code, dim=1), F.normalize(self.clusters, dim=1))

    def log_probabilities(self, code: Tensor, sharpness: float = 2.0) -> Tensor:
        """Log-probabilities (B, n, h, w) of the clusters; ``sharpness`` multiplies the cosines (alpha)."""
        return F.log_softmax(sharpness * self.cosines(code), dim=1)

    def loss(self, code: Tensor, sharpness: float | None = None) -> tuple[Tensor, Tensor]:
        """Clustering loss: the mean negated cosine to the nearest centre, or to the soft assignment.

        Returns:
            The loss () and the assignments (B, n, h, w): one-hot, or softmax of ``sharpness`` cosines.
        """
        cosines = self.cosines(code)
        if sharpness is None:
            assigned = F.one_hot(cosines.argmax(dim=1), cosines.shape[1]).movedim(-1, 1).to(cosines.dtype)
        else:
            assigned = (sharpness * cosines).softmax(dim=1)
        return -(assigned * cosines).sum(dim=1).mean(), assigned


class CodeNetwork(FeatureExtractor):
    """Any feature extractor with a segmentation head and a cluster probe; as an extractor it gives the codes.

    Args:
        backbone: gives the features; whether windows and geometry are used is its choice.
        dim: code length.
        num_clusters: centres of the probe.
    """

    def __init__(self, backbone: FeatureExtractor, dim: int, num_clusters: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = SegmentationHead(backbone.channels, dim)
        self.probe = ClusterProbe(num_clusters, dim)
        self.stride, self.channels = backbone.stride, dim
        self.uses_windows, self.uses_geometry = backbone.uses_windows, backbone.uses_geometry

    def features_and_code(
        self, images: Tensor, geometry: SceneGeometry | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return backbone features (B, E, h, w) and codes (B, dim, h, w) of (B, 3, H, W) images in [0, 1]."""
        features = self.backbone(images, geometry)
        return features, self.head(features)

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the codes (B, dim, h, w)."""
        return self.features_and_code(images, geometry)[1]


class DepthG(CodeNetwork):
    """The network of a DepthG checkpoint: a DINO ViT with head and probe.

    Args:
        width: ViT width: 384 (ViT-S/8) or 768 (ViT-B/8).
        heads: attention heads of the ViT.
        depth: blocks of the ViT.
        patch: patch side, pixels.
        dim: code length.
        num_clusters: centres of the probe.
    """

    def __init__(
        self,
        width: int = 384,
        heads: int = 6,
        depth: int = 12,
        patch: int = 8,
        dim: int = 70,
        num_clusters: int = 27,
    ) -> None:
        super().__init__(DinoViT(width, heads, depth, patch), dim, num_clusters)


class ProbeClassifier:
    """A code network's own classes: codes as they are, log-probabilities by its cluster probe."""

    def __init__(self, network: CodeNetwork, sharpness: float = 2.0) -> None:
        self.probe, self.sharpness = network.probe, sharpness

    def project(self, features: Tensor) -> Tensor:
        """Return the codes: the extractor's output itself."""
        return features

    def log_probabilities(self, code: Tensor) -> Tensor:
        """Return the log-probabilities (B, n, h, w) of the probe's clusters."""
        return self.probe.log_probabilities(code, self.sharpness)


def network_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor arguments of :class:`DepthG` off the shapes of its state dict."""
    clusters, dim = state["probe.clusters"].shape
    return {**vit_arguments(state, "backbone.transformer."), "dim": dim, "num_clusters": clusters}
