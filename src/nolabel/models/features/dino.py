"""The DINO vision transformer in its official layout (Caron et al., ICCV 2021; spec cups_pseudo 7.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from nolabel.errors import WeightsError
from nolabel.models.features.extractor import (
    FeatureExtractor,
    ImageNetNormalised,
    SceneGeometry,
    resize_to_multiple,
)
from nolabel.models.pointwise import use_fast_products

CHANNELS_PER_HEAD = 64  # of every DINO ViT


class DinoViT(FeatureExtractor):
    """Patch tokens of the last block after the final norm, with position embeddings resized as DINO resizes them.

    Attention runs fused (``scaled_dot_product_attention``): no matrix of all pairs of tokens is kept.

    Args:
        width: token length E.
        heads: attention heads.
        depth: number of blocks.
        patch: patch side, pixels.
    """

    def __init__(self, width: int = 384, heads: int = 6, depth: int = 12, patch: int = 8) -> None:
        super().__init__()
        self.normalise = ImageNetNormalised()
        self.transformer = VisionTransformer(
            img_size=224,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.stride, self.channels = patch, width
        use_fast_products(self)

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Map RGB (B, 3, H, W) in [0, 1] to (B, E, H / patch, W / patch), sides rounded to whole patches."""
        images = self.normalise(resize_to_multiple(images, self.stride))
        rows, columns = images.shape[-2] // self.stride, images.shape[-1] // self.stride
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

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor]) -> DinoViT:
        """Build the network an official file holds (names as ``nolabel.weights.layouts.dino`` gives them).

        Raises:
            WeightsError: the file holds no DINO ViT.
        """
        named = {
            f"transformer.{name}": value for name, value in state.items() if not name.startswith("head.")
        }
        try:
            network = cls(**vit_arguments(named, "transformer."))
            network.load_state_dict(named)
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the weights are no DINO ViT: {str(error)[:300]}",
                hint="give an official DINO ViT file, or name the timm model the weights belong to",
            ) from error
        return network


def vit_arguments(state: Mapping[str, Tensor], prefix: str) -> dict[str, Any]:
    """Read the constructor arguments of :class:`DinoViT` off the shapes of its weights under a prefix."""
    embedding = state[f"{prefix}patch_embed.proj.weight"]
    blocks = f"{prefix}blocks."
    depth = 1 + max(int(name[len(blocks) :].split(".")[0]) for name in state if name.startswith(blocks))
    width = embedding.shape[0]
    return {
        "width": width,
        "heads": width // CHANNELS_PER_HEAD,
        "depth": depth,
        "patch": embedding.shape[-1],
    }
