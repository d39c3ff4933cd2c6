"""Mix Transformer (MiT): a hierarchy of attention over tokens, the backbone of SegFormer and DAFormer.

Source: SegFormer (Xie et al., NeurIPS 2021), section 3.1; UDASS image specification, 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from nolabel.models.pointwise import Linear

__all__ = ["MIX_TRANSFORMERS", "MixTransformer", "MixTransformerConfig"]


@dataclass(frozen=True)
class MixTransformerConfig:
    """Sizes of a Mix Transformer; the defaults are MiT-B5. One number for each of the four stages.

    Attributes:
        channels: width of the tokens.
        depths: number of blocks.
        heads: of the attention.
        reductions: keys and values are taken from a map smaller by this factor along each axis.
        expansion: hidden channels of the feed-forward part, as a multiple of the width.
        drop_path: chance that the last block is skipped for an image in training; it rises linearly from 0.
    """

    channels: tuple[int, int, int, int] = (64, 128, 320, 512)
    depths: tuple[int, int, int, int] = (3, 6, 40, 3)
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    reductions: tuple[int, int, int, int] = (8, 4, 2, 1)
    expansion: int = 4
    drop_path: float = 0.1


MIX_TRANSFORMERS = {
    "mit_tiny": MixTransformerConfig((16, 32, 64, 96), (1, 1, 2, 1), (1, 2, 4, 6)),
    "mit_b0": MixTransformerConfig((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": MixTransformerConfig(depths=(2, 2, 2, 2)),
    "mit_b2": MixTransformerConfig(depths=(3, 4, 6, 3)),
    "mit_b3": MixTransformerConfig(depths=(3, 4, 18, 3)),
    "mit_b4": MixTransformerConfig(depths=(3, 8, 27, 3)),
    "mit_b5": MixTransformerConfig(),
}
"""Sizes by name: the six published ones, and one of 0.4 million parameters for two processor cores."""


def as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """View tokens (B, H * W, C) as a map (B, C, H, W), which then lies channels last; nothing is copied."""
    return tokens.transpose(1, 2).unflatten(2, size)


def as_tokens(features: Tensor) -> Tensor:
    """View a map (B, C, H, W) as tokens (B, H * W, C)."""
    return features.flatten(2).transpose(1, 2)


class ReducedAttention(nn.Module):
    """Attention of every token to the tokens of a smaller map."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.ratio = heads, reduction
        self.query = Linear(channels, channels)
        self.key_value = Linear(channels, 2 * channels)
        self.projection = Linear(channels, channels)
        if reduction > 1:
            self.reduction = nn.Conv2d(channels, channels, reduction, reduction)
            self.reduced_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens (B, H * W, C) of a map of ``size`` (H, W) to tokens of the same shape."""
        sources = self.reduced_norm(self._reduced(tokens, size)) if self.ratio > 1 else tokens
        query = self.query(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(sources).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Never holds the (B, heads, H * W, h * w) weights in memory, and keeps its sums in float32.
        attended = F.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, self.projection(attended.transpose(1, 2).flatten(2)))

    def _reduced(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        features = as_map(tokens, size)
        if min(size) < self.ratio:  # an image of less than 32 pixels: at least one token
            features = F.pad(features, (0, max(self.ratio - size[1], 0), 0, max(self.ratio - size[0], 0)))
        return as_tokens(self.reduction(features))


class MixFeedForward(nn.Module):
    """Two linear layers with a 3x3 depthwise convolution between them, which tells tokens where they are."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand = Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.contract = Linear(hidden, channels)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens (B, H * W, C) of a map of ``size`` (H, W) to tokens of the same shape."""
        mixed = as_tokens(self.depthwise(as_map(self.expand(tokens), size)))
        return cast(Tensor, self.contract(F.gelu(mixed)))


class Block(nn.Module):
    """Attention and feed-forward part, each around a shortcut that an image may take alone in training."""

    def __init__(self, channels: int, heads: int, reduction: int, expansion: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attention = ReducedAttention(channels, heads, reduction)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.feed_forward = MixFeedForward(channels, channels * expansion)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Map tokens (B, H * W, C) of a map of ``size`` (H, W) to tokens of the same shape."""
        tokens = tokens + self.drop_path(self.attention(self.norm1(tokens), size))
        return cast(Tensor, tokens + self.drop_path(self.feed_forward(self.norm2(tokens), size)))


class PatchEmbedding(nn.Module):
    """Tokens from overlapping patches of a map."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, channels, kernel_size, stride, kernel_size // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Map (B, in, H, W) to tokens (B, h * w, channels) and their (h, w), the ceiling of H and W over the stride."""
        features = self.projection(features)
        return self.norm(as_tokens(features)), (features.shape[-2], features.shape[-1])


class Stage(nn.Module):
    """Patch embedding, blocks and a normalisation."""

    def __init__(self, embedding: PatchEmbedding, blocks: list[Block], channels: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, channels, h, w)."""
        tokens, size = self.embedding(features)
        for block in self.blocks:
            tokens = block(tokens, size)
        return as_map(self.norm(tokens), size)


class MixTransformer(nn.Module):
    """The four stages of a Mix Transformer.

    Attributes:
        channels: of its four maps.
        strides: pixels per cell of its four maps.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, config: MixTransformerConfig | None = None) -> None:
        super().__init__()
        config = config or MixTransformerConfig()
        self.channels = config.channels
        chances = iter(torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist())
        self.stages = nn.ModuleList()
        for stage, (channels, depth) in enumerate(zip(config.channels, config.depths, strict=True)):
            before = config.channels[stage - 1] if stage else 3
            heads, reduction = config.heads[stage], config.reductions[stage]
            blocks = [
                Block(channels, heads, reduction, config.expansion, next(chances)) for _ in range(depth)
            ]
            embedding = PatchEmbedding(before, channels, *((3, 2) if stage else (7, 4)))
            self.stages.append(Stage(embedding, blocks, channels))
        self.apply(_initialise)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map normalised images (B, 3, H, W) to maps at strides 4, 8, 16 and 32, each axis rounded up."""
        maps, features = [], images
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return maps


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(cast(Tensor, module.bias))
