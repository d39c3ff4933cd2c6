"""DINO and DINOv2 transformers at one square input size, as VoteCut and MaskCut read them (spec unmore 2.1).

DINO gives the keys of its last block, whose cosines separate objects best; DINOv2 its final normalised patch tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from nolabel.errors import WeightsError
from nolabel.models.features.dino import vit_arguments
from nolabel.models.features.extractor import FeatureExtractor, ImageNetNormalised, SceneGeometry
from nolabel.models.pointwise import use_fast_products

__all__ = ["SquareVit"]


class SquareVit(FeatureExtractor):
    """A vision transformer for images of one square size.

    Args:
        width: token length.
        heads: attention heads.
        depth: number of blocks.
        patch: patch side, pixels.
        cells: patches of a side of the image.
        layer_scale: DINOv2's scaling of the residuals.
        keys: give the keys of the last block, heads side by side, instead of the final tokens.
    """

    def __init__(
        self, width: int, heads: int, depth: int, patch: int, cells: int, layer_scale: bool, keys: bool
    ) -> None:
        super().__init__()
        self.normalise = ImageNetNormalised()
        self.network = VisionTransformer(
            img_size=cells * patch,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            init_values=1e-5 if layer_scale else None,
        )
        self.stride, self.channels, self.cells, self.keys = patch, width, cells, keys
        use_fast_products(self)

    @property
    def side(self) -> int:
        """Side of the images, pixels."""
        return self.cells * self.stride

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Map RGB (B, 3, side, side) in [0, 1] to (B, channels, cells, cells)."""
        vit = self.network
        if self.keys:
            tokens = vit.norm_pre(vit.patch_drop(vit._pos_embed(vit.patch_embed(self.normalise(images)))))
            *earlier, last = vit.blocks
            for block in earlier:
                tokens = block(tokens)
            attending: Any = last
            tokens = attending.attn.qkv(attending.norm1(tokens)).chunk(3, dim=-1)[1]
        else:
            tokens = vit.forward_features(self.normalise(images))
        grid = tokens[:, 1:].transpose(1, 2)
        return grid.reshape(len(images), -1, self.cells, self.cells)

    @classmethod
    def from_official(cls, state: Mapping[str, Tensor], side: int) -> SquareVit:
        """Build the network an official file holds, its size read off the weights.

        Args:
            state: names as ``nolabel.weights.layouts.dino`` gives them.
            side: pixels; the images' side is the largest multiple of the patch that is not above it.

        Raises:
            WeightsError: the file holds no DINO or DINOv2 ViT (without registers).
        """
        state = {name: value.float() for name, value in state.items() if not name.startswith("head")}
        try:
            sizes = vit_arguments(state, "")
            second = any(name.endswith("ls1.gamma") for name in state)
            cells = side // sizes["patch"]
            network = cls(**sizes, cells=cells, layer_scale=second, keys=not second)
            state["pos_embed"] = _resized(state["pos_embed"], cells, dino=not second)
            network.network.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(
                f"the weights are no DINO or DINOv2 ViT: {str(error)[:300]}",
                hint="give an official file of DINO, or of DINOv2 without registers",
            ) from error
        return network


def _resized(embedding: Tensor, cells: int, *, dino: bool) -> Tensor:
    """Resize a position embedding (1, 1 + n, C) to a grid: DINO by factors, which shifts it a little, DINOv2 to size."""
    side = round((embedding.shape[1] - 1) ** 0.5)
    if cells == side:
        return embedding
    grid = embedding[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if dino:
        factor = (cells + 0.1) / side
        grid = F.interpolate(grid, scale_factor=factor, mode="bicubic", recompute_scale_factor=False)
    else:
        grid = F.interpolate(grid, size=(cells, cells), mode="bicubic")
    return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
