"""From features to classes without labels: STEGO's code, cosine clusters, linear probes (SceneDINO specification, 3.5).

This is the part that inference needs; what trains it is in ``nolabel.methods.scenedino``.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.pointwise import Linear

__all__ = ["ClusterHead", "CodeHead", "PredictionMode", "SemanticHead", "build_probe"]

PredictionMode = Literal["stego_kmeans", "stego_linear", "direct_kmeans", "direct_linear"]
EPSILON = 1e-10  # of the norms in this head


class CodeHead(nn.Module):
    """STEGO's head: a linear map plus a two-layer one, normalised.

    Args:
        features: channels in.
        code: channels out.
        dropout: share of channels dropped while training.
    """

    def __init__(self, features: int = 768, code: int = 64, dropout: float = 0.1) -> None:
        super().__init__()
        self.linear = Linear(features, code)
        self.hidden = Linear(features, features)
        self.output = Linear(features, code)
        self.dropout = dropout

    def forward(self, features: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Code of features (..., features), unit length: (..., code).

        Args:
            features: unit length.
            masks: what to multiply the two paths' codes by, broadcastable to (..., code): dropout drawn by the caller.
        """
        return self.combined(self.linear(features), self.hidden(features), masks)

    def combined(self, linear: Tensor, hidden: Tensor, masks: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Finish the code from what the two first layers give: (..., code) and (..., features)."""
        other = self.output(F.relu(hidden))
        if masks is not None:
            linear, other = linear * masks[0], other * masks[1]
        return F.normalize(linear + other, dim=-1, eps=EPSILON)


class ClusterHead(nn.Module):
    """Cosine similarity to learned centres, each of which stands for a class.

    Args:
        clusters: centres.
        channels: of the features.
        classes: that the clusters stand for; at first one after the other.
    """

    classes: Tensor

    def __init__(self, clusters: int, channels: int, classes: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(clusters, channels))
        self.register_buffer("classes", torch.arange(clusters) % classes)

    def cosines(self, features: Tensor) -> Tensor:
        """Cosine (..., clusters) of unit vectors (..., channels) with each centre."""
        return F.linear(features, F.normalize(self.centres, dim=-1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest cluster (...) of unit vectors (..., channels), and its cosine (...)."""
        cosine, cluster = self.cosines(features).max(dim=-1)
        return cluster, cosine


def build_probe(channels: int, classes: int, *, hidden: bool = False) -> nn.Module:
    """A classifier trained on labels, to see what features hold: linear, or with a layer of twice the width."""
    if not hidden:
        return Linear(channels, classes)
    return nn.Sequential(Linear(channels, 2 * channels), nn.ReLU(), Linear(2 * channels, classes))


class SemanticHead(nn.Module):
    """All that makes classes of features.

    Args:
        features: channels of the features.
        code: channels of the code.
        clusters: of both cluster heads.
        classes: that there are.
        dropout: share of the code's channels dropped while training.
        hidden_probes: probes with a layer between.
    """

    def __init__(
        self,
        features: int = 768,
        code: int = 64,
        clusters: int = 19,
        classes: int = 19,
        dropout: float = 0.1,
        hidden_probes: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = classes
        self.code = CodeHead(features, code, dropout)
        self.code_clusters = ClusterHead(clusters, code, classes)
        self.direct_clusters = ClusterHead(clusters, features, classes)
        self.code_probe = build_probe(code, classes, hidden=hidden_probes)
        self.direct_probe = build_probe(features, classes, hidden=hidden_probes)

    def forward(self, features: Tensor, mode: PredictionMode = "stego_kmeans") -> Tensor:
        """Classes (...) int64 of features (..., channels), any length."""
        features = F.normalize(features, dim=-1, eps=EPSILON)
        if mode.startswith("stego"):
            return self.classify(self.code(features), mode)
        return self.classify(features, mode)

    def classify(self, vectors: Tensor, mode: PredictionMode = "stego_kmeans") -> Tensor:
        """Classes (...) of what the mode looks at: codes for ``stego_*``, unit features for ``direct_*``."""
        stego = mode.startswith("stego")
        if mode.endswith("kmeans"):
            head = self.code_clusters if stego else self.direct_clusters
            return head.classes[head(vectors)[0]]
        return (self.code_probe if stego else self.direct_probe)(vectors).argmax(dim=-1)
