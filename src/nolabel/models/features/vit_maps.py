"""Vision transformers read at several depths, for images of any size: DINO, DINOv2, DINOv2 with registers.

Source: SceneDINO specification, 3.1. Parameter names are timm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.models.features.dino import CHANNELS_PER_HEAD, vit_arguments
from nolabel.models.features.extractor import FeatureExtractor, ImageNetNormalised, SceneGeometry
from nolabel.models.pointwise import use_fast_products

__all__ = ["VIT_VERSIONS", "VitConfig", "VitMaps", "VitVersion", "vit_config", "vit_maps_config"]

VitVersion = Literal["v1", "v1_16", "v2", "reg"]


@dataclass(frozen=True)
class VitConfig:
    """Sizes and kind of a transformer; the defaults are DINO's ViT-B/8 on images of 192 x 640.

    Attributes:
        width: token length.
        depth: blocks.
        patch: side of a patch of the network, pixels.
        stride: pixels of the image per token; where it is not the patch, images are resized by patch / stride first.
        layer_scale: DINOv2's scaling of the residuals.
        registers: extra tokens; with any, the position table has no entry for the class token.
        grid: rows and columns of the position table, which is resampled for images of other sizes.
        taps: blocks whose raw outputs are given besides the last map, counted from 0.
        keys: the last map is made of the keys of the last block instead of the final tokens.
    """

    width: int = 768
    depth: int = 12
    patch: int = 8
    stride: int = 8
    layer_scale: bool = False
    registers: int = 0
    grid: tuple[int, int] = (24, 80)
    taps: tuple[int, ...] = (3, 6, 9)
    keys: bool = False


VIT_VERSIONS: dict[VitVersion, VitConfig] = {
    "v1": VitConfig(),
    "v1_16": VitConfig(patch=16, stride=16, grid=(12, 40)),
    "v2": VitConfig(patch=14, stride=16, grid=(12, 40), layer_scale=True),
    "reg": VitConfig(patch=14, stride=16, grid=(12, 40), layer_scale=True, registers=4),
}
"""DINO with patches of 8 and of 16 pixels, DINOv2, DINOv2 with registers; all of base size, for 192 x 640."""

WIDTHS = {"vit-b": 768, "vit-s": 384, "vit-t": 192}


def vit_config(
    architecture: str = "vit-b",
    version: VitVersion = "v1",
    image_size: tuple[int, int] = (192, 640),
    stride: int | None = None,
    **changes: Any,
) -> VitConfig:
    """Return the configuration of a known transformer.

    Args:
        architecture: ``vit-b``, ``vit-s``, or the tiny ``vit-t``, of which there are no official weights.
        version: see :data:`VIT_VERSIONS`.
        image_size: rows and columns of the images it is made for.
        stride: pixels of the image per token; the published one by default.
        changes: other fields.

    Raises:
        ConfigError: no such transformer, or the image is no whole number of tokens.
    """
    if architecture not in WIDTHS or version not in VIT_VERSIONS:
        raise ConfigError(
            f"there is no transformer {architecture} {version}",
            hint=f"sizes are {', '.join(WIDTHS)}; versions are {', '.join(VIT_VERSIONS)}",
        )
    base = VIT_VERSIONS[version]
    stride = stride or base.stride
    if any(side % stride for side in image_size):
        raise ConfigError(f"image size {image_size}: sides must be multiples of {stride}")
    grid = (image_size[0] // stride, image_size[1] // stride)
    own = {"width": WIDTHS[architecture], "stride": stride, "grid": grid}
    return VitConfig(**{**vars(base), **own, **changes})


class VitMaps(FeatureExtractor):
    """Maps of tokens after chosen blocks and after the last norm.

    There is neither dropout nor drop-path, so that training and evaluation are one. Attention runs fused.

    Args:
        config: sizes and kind.
    """

    def __init__(self, config: VitConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VitConfig()
        self.normalise = ImageNetNormalised()
        rows, columns = config.grid
        self.vit = VisionTransformer(
            img_size=(rows * config.patch, columns * config.patch),
            patch_size=config.patch,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.width // CHANNELS_PER_HEAD,
            num_classes=0,
            init_values=1e-5 if config.layer_scale else None,
            reg_tokens=config.registers,
            no_embed_class=config.registers > 0,
        )
        self.stride, self.channels = config.stride, config.width
        use_fast_products(self)

    def forward(self, images: Tensor, geometry: SceneGeometry | None = None) -> Tensor:
        """Map RGB (B, 3, H, W) in [0, 1] to the last map, unit vectors (B, width, H / stride, W / stride)."""
        return self._read(images, ())[-1]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Map RGB (B, 3, H, W) in [0, 1] to (B, width, H / stride, W / stride): the taps, raw, and the last map."""
        return self._read(images, self.config.taps)

    def _read(self, images: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
        patch, stride = self.config.patch, self.config.stride
        if any(side % stride for side in images.shape[-2:]):
            raise DataError(
                f"images of {images.shape[-2]} x {images.shape[-1]} are no whole number of tokens of {stride} pixels",
                hint="resize or crop them to multiples of that",
            )
        grid = (images.shape[-2] // stride, images.shape[-1] // stride)
        images = self.normalise(images)
        if patch != stride:
            size = (grid[0] * patch, grid[1] * patch)
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True)
        tokens, found, prefix = self._embed(images, grid), [], 1 + self.config.registers

        def as_map(x: Tensor) -> Tensor:
            return x[:, prefix:].transpose(1, 2).unflatten(2, grid)

        blocks: list[Any] = list(self.vit.blocks)
        for number, block in enumerate(blocks):
            if self.config.keys and number == len(blocks) - 1:
                found.append(as_map(block.attn.qkv(block.norm1(tokens)).chunk(3, dim=-1)[1]))
                break
            tokens = block(tokens)
            if number in taps:
                found.append(as_map(tokens))
        else:
            found.append(as_map(self.vit.norm(tokens)))
        found[-1] = F.normalize(found[-1], dim=1)
        return found

    def _embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (B, 1 + registers + n, width) before the first block."""
        vit: Any = self.vit
        patches = vit.patch_embed.proj(images).flatten(2).transpose(1, 2)
        table, registers = vit.pos_embed, self.config.registers
        if grid != tuple(self.config.grid):
            table = resample_abs_pos_embed(table, grid, self.config.grid, 0 if registers else 1)
        first = vit.cls_token.expand(len(images), -1, -1)
        if registers:
            return torch.cat([first, vit.reg_token.expand(len(images), -1, -1), patches + table], dim=1)
        return torch.cat([first, patches], dim=1) + table

    def adapted(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights trained at another image size as this transformer takes them.

        Args:
            state: timm's names, or those of an official DINOv2 file with registers; classifiers are left out.

        Raises:
            WeightsError: there is no position table.
        """
        named = {name: value.float() for name, value in state.items() if not name.startswith("head")}
        if "pos_embed" not in named:
            raise WeightsError("the file holds no vision transformer", hint="give an official DINO file")
        if "register_tokens" in named:  # timm adds the class token's position to the token itself
            named["reg_token"] = named.pop("register_tokens")
            named["cls_token"] = named["cls_token"] + named["pos_embed"][:, :1]
            named["pos_embed"] = named["pos_embed"][:, 1:]
        prefix = 0 if self.config.registers else 1
        if named["pos_embed"].shape[1] != prefix + self.config.grid[0] * self.config.grid[1]:
            named["pos_embed"] = resample_abs_pos_embed(
                named["pos_embed"], list(self.config.grid), num_prefix_tokens=prefix
            )
        return named


def vit_maps_config(
    state: Mapping[str, Tensor], prefix: str, grid: tuple[int, int] | None = None, **changes: Any
) -> VitConfig:
    """Read a configuration off the shapes of a transformer's weights.

    Args:
        state: timm's names under a prefix.
        prefix: of the names.
        grid: rows and columns of the position table; by default those of an image of 192 x 640, or a square.
        changes: other fields.

    Raises:
        WeightsError: the grid does not fit the table, or cannot be told.
    """
    sizes = vit_arguments(state, prefix)
    registers = state[f"{prefix}reg_token"].shape[1] if f"{prefix}reg_token" in state else 0
    cells = state[f"{prefix}pos_embed"].shape[1] - (0 if registers else 1)
    stride = 16 if sizes["patch"] == 14 else sizes["patch"]
    if grid is None:
        side = round(cells**0.5)
        grid = next((g for g in ((192 // stride, 640 // stride), (side, side)) if g[0] * g[1] == cells), None)
    if grid is None or grid[0] * grid[1] != cells:
        raise WeightsError(
            f"the position table has {cells} cells, not those of {grid or 'an image of 192 x 640'}",
            hint="say for which image size the network was made",
        )
    return VitConfig(
        **{
            "width": sizes["width"],
            "depth": sizes["depth"],
            "patch": sizes["patch"],
            "stride": stride,
            "layer_scale": any(name.startswith(f"{prefix}blocks.0.ls1.") for name in state),
            "registers": registers,
            "grid": grid,
            **changes,
        }
    )
