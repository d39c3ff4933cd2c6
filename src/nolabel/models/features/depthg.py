"""DepthG (Sick et al., CVPR 2024): DINO ViT, segmentation head and cluster probe (spec cups_pseudo 7.1).

Parameter names are ours; ``nolabel.weights.layouts.depthg`` maps the official checkpoint to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from nolabel.models.features.extractor import (
    FeatureExtractor,
    ImageNetNormalised,
    SceneGeometry,
    resize_to_multiple,
)

CHANNELS_PER_HEAD = 64  # of every DINO ViT


class DinoViT(nn.Module):
    """The DINO vision transformer as DepthG uses it: patch tokens of the last block after the final norm.

    Args:
        width: token length E.
        heads: attention heads.
        depth: number of blocks.
        patch: patch side, pixels.
    """

    def __init__(self, width: int = 384, heads: int = 6, depth: int = 12, patch: int = 8) -> None:
        super().__init__()
        self.transformer = VisionTransformer(
            img_size=224,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.patch = patch

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised (B, 3, H, W), sides multiples of the patch, to (B, E, H / patch, W / patch)."""
        rows, columns = images.shape[-2] // self.patch, images.shape[-1] // self.patch
        vit = self.transformer
        assert vit.cls_token is not None  # only a timm option can take it away
        patches = vit.patch_embed.proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([vit.cls_token.expand(len(images), -1, -1), patches], dim=1)
        tokens = vit.norm(vit.blocks(tokens + self._positions(rows, columns)))
        return tokens[:, 1:].transpose(1, 2).reshape(len(images), -1, rows, columns)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding for a grid of tokens; DINO interpolates with scale factors, not with sizes."""
        embedding = self.transformer.pos_embed
        assert embedding is not None  # as above
        side = round((embedding.shape[1] - 1) ** 0.5)
        if rows == columns == side:
            return embedding
        grid = embedding[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        # 0.1 guards against a size one too small by rounding; the factor itself maps the coordinates.
        grid = F.interpolate(
            grid,
            scale_factor=((rows + 0.1) / side, (columns + 0.1) / side),
            mode="bicubic",
            align_corners=False,
            recompute_scale_factor=False,
        )
        return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class SegmentationHead(nn.Module):
    """Per-patch code: a linear map plus a two-layer one, on features with channel dropout while training."""

    def __init__(self, width: int, dim: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.linear = nn.Conv2d(width, dim, 1)
        self.hidden = nn.Conv2d(width, width, 1)
        self.output = nn.Conv2d(width, dim, 1)
        self.dropout = nn.Dropout2d(dropout)

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


class DepthG(FeatureExtractor):
    """The network of a DepthG checkpoint; as an extractor it gives codes for its own cluster probe.

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
        super().__init__()
        self.normalise = ImageNetNormalised()
        self.backbone = DinoViT(width, heads, depth, patch)
        self.head = SegmentationHead(width, dim)
        self.probe = ClusterProbe(num_clusters, dim)
        self.stride, self.channels = patch, dim

    def features_and_code(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return backbone features (B, E, h, w) and codes (B, dim, h, w) of (B, 3, H, W) images in [0, 1]."""
        features = self.backbone(self.normalise(resize_to_multiple(images, self.stride)))
        return features, self.head(features)

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Return the codes (B, dim, h, w)."""
        return self.features_and_code(images)[1]


class ProbeClassifier:
    """A DepthG network's own classes: codes as they are, log-probabilities by its cluster probe."""

    def __init__(self, network: DepthG, sharpness: float = 2.0) -> None:
        self.probe, self.sharpness = network.probe, sharpness

    def project(self, features: Tensor) -> Tensor:
        """Return the codes: the extractor's output itself."""
        return features

    def log_probabilities(self, code: Tensor) -> Tensor:
        """Return the log-probabilities (B, n, h, w) of the probe's clusters."""
        return self.probe.log_probabilities(code, self.sharpness)


def network_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor arguments of :class:`DepthG` off the shapes of its state dict."""
    embedding = state["backbone.transformer.patch_embed.proj.weight"]
    depth = 1 + max(int(n.split(".")[3]) for n in state if n.startswith("backbone.transformer.blocks."))
    clusters, dim = state["probe.clusters"].shape
    width = embedding.shape[0]
    return {
        "width": width,
        "heads": width // CHANNELS_PER_HEAD,
        "depth": depth,
        "patch": embedding.shape[-1],
        "dim": dim,
        "num_clusters": clusters,
    }
