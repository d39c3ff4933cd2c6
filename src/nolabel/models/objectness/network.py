"""unMORE's objectness network: a vision transformer, DPT's decoder, and a head for each field.

Source: unMORE specification, 4.1 (ICML 2025, section 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from nolabel.models import dpt
from nolabel.models.dpt import Fusion, enlarge_twice
from nolabel.models.objectness.boundary_head import BoundaryForm, BoundaryHead
from nolabel.models.objectness.contract import ObjectnessModule
from nolabel.models.pointwise import linear, use_fast_products

__all__ = ["DPT_SIZES", "DptConfig", "DptObjectness"]


@dataclass(frozen=True)
class DptConfig:
    """Sizes of the network; the defaults are the published ones (DPT-Large, 350 million parameters).

    Attributes:
        width: token length of the transformer.
        depth: its blocks.
        heads: its attention heads.
        patch: side of a patch, pixels.
        positions: side of the grid of position embeddings.
        taps: the four blocks whose tokens the decoder takes, counted from 0.
        reassembled: channels of the four maps made of these tokens, finest first.
        features: channels of the decoder.
        inner: channels inside the heads.
        boundary: form of the boundary head.
    """

    width: int = 1024
    depth: int = 24
    heads: int = 16
    patch: int = 16
    positions: int = 24
    taps: tuple[int, int, int, int] = (5, 11, 17, 23)
    reassembled: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256
    inner: int = 512
    boundary: BoundaryForm = "tanh"


DPT_SIZES = {
    "dpt_large": DptConfig(),
    "dpt_base": DptConfig(
        768, 12, 12, taps=(2, 5, 8, 11), reassembled=(96, 192, 384, 768), features=128, inner=256
    ),
    "dpt_small": DptConfig(
        384, 12, 6, taps=(2, 5, 8, 11), reassembled=(48, 96, 192, 384), features=64, inner=128
    ),
}
"""By name: the published network, and two for the transformers of DINO and DINOv2 that are smaller than ViT-L."""


class DptObjectness(ObjectnessModule):
    """Crops (N, 3, H, W) with sides that are multiples of two patches, RGB in [0, 1]; 128 x 128 in the paper.

    Args:
        config: sizes.
    """

    def __init__(self, config: DptConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DptConfig()
        width, features, inner = config.width, config.features, config.inner
        self.vit = VisionTransformer(
            img_size=config.patch * config.positions,
            patch_size=config.patch,
            embed_dim=width,
            depth=config.depth,
            num_heads=config.heads,
            num_classes=0,
        )
        self.vit.norm = nn.Identity()  # tokens are taken before it
        self.readouts = nn.ModuleList(nn.Linear(2 * width, width) for _ in config.taps)
        self.reassemble = dpt.reassembling(width, config.reassembled)
        self.projections = dpt.projections(config.reassembled, features)
        self.fusions = dpt.fusions(features)
        self.centre_head = nn.Sequential(
            nn.Conv2d(features, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, 2 * inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * inner, 2, 1),
        )
        self.boundary_head = BoundaryHead(features, inner, config.boundary)
        use_fast_products(self)

    def maps(
        self, crops: Tensor, boundary: bool = True, centre: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return boundary (N, H, W) and centre field (N, 2, H, W), each where it is asked for."""
        coarse = self.decode(self.reassembled(crops))
        folded = self.boundary_head.is_linear
        features = self.features(coarse) if centre or (boundary and not folded) else coarse
        distance = None
        if boundary:
            finest = cast(Fusion, self.fusions[0])
            logits = self.boundary_head.folded(coarse, finest.out) if folded else self.boundary_head(features)
            distance = self.boundary_head.activate(logits)[:, 0]
        return distance, self.centre_head(features) if centre else None

    def reassembled(self, crops: Tensor) -> list[Tensor]:
        """Return four maps of tokens: sides H/4, H/8, H/16 and H/32, channels as configured."""
        rows, columns = (side // self.config.patch for side in crops.shape[-2:])
        maps = []
        for tokens, readout, reassemble in zip(
            self._tokens(crops), self.readouts, self.reassemble, strict=True
        ):
            # The class token is the same for all patches of a crop, so its half of the product is made once.
            of_patch, of_class = cast(nn.Linear, readout).weight.split(self.config.width, dim=1)
            shared = F.linear(tokens[:, :1], of_class, cast(nn.Linear, readout).bias)
            patches = F.gelu(linear(tokens[:, 1:], of_patch) + shared)
            maps.append(reassemble(patches.transpose(1, 2).unflatten(2, (rows, columns))))
        return maps

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Fuse the four maps from coarse to fine: (N, features, H / 4, W / 4), before the last block's enlargement."""
        return dpt.fuse(maps, self.projections, self.fusions)

    def features(self, coarse: Tensor) -> Tensor:
        """Enlarge what :meth:`decode` gives to the features of the heads, (N, features, H, W)."""
        return enlarge_twice(cast(Fusion, self.fusions[0]).enlarged(coarse))

    def _tokens(self, crops: Tensor) -> list[Tensor]:
        """Return the tokens (N, 1 + patches, width) after each of the chosen blocks."""
        vit = self.vit
        assert vit.cls_token is not None  # only a timm option can take it away
        patches = vit.patch_embed.proj(crops)
        x = torch.cat(
            [vit.cls_token.expand(len(crops), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1
        ) + self._positions(patches.shape[-2], patches.shape[-1])
        found = []
        for number, block in enumerate(vit.blocks):
            x = block(x)
            if number in self.config.taps:
                found.append(x)
        return found

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings of a grid of patches, resized bilinearly."""
        embedding, side = cast(Tensor, self.vit.pos_embed), self.config.positions
        grid = embedding[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False)
        return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
