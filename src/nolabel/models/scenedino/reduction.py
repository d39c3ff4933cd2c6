"""Between compact features, those of a vision transformer, and its cells (SceneDINO specification, 3.4)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.pointwise import Linear

__all__ = [
    "Expansion",
    "LinearExpansion",
    "NoExpansion",
    "SalienceDownsampler",
    "build_expansion",
    "cells_of",
    "shrink",
]


class Expansion(nn.Module):
    """Compact features to unit vectors as long as the transformer's.

    Args:
        compact: channels in.
        hidden: width of the layer between.
        channels: channels out.
    """

    def __init__(self, compact: int = 64, hidden: int = 128, channels: int = 768) -> None:
        super().__init__()
        self.first = Linear(compact, hidden)
        self.last = Linear(hidden, channels)
        self.channels = channels

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., compact) to (..., channels), unit length."""
        return F.normalize(self.last(self.hidden(features)), dim=-1)

    def hidden(self, features: Tensor) -> Tensor:
        """The vectors (..., hidden) of which the last layer makes the features before they are normalised."""
        return F.relu(self.first(features))

    @property
    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (channels, hidden) and bias (channels,) of the last layer."""
        return self.last.weight, self.last.bias


class LinearExpansion(nn.Module):
    """One linear layer that starts as the identity, and the norm.

    Args:
        compact: channels in.
        channels: channels out.
    """

    def __init__(self, compact: int = 64, channels: int = 768) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(channels, compact))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.channels = channels

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., compact) to (..., channels), unit length."""
        return F.normalize(F.linear(features, self.weight, self.bias), dim=-1)

    def hidden(self, features: Tensor) -> Tensor:
        """As :meth:`Expansion.hidden`: the features themselves."""
        return features

    @property
    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (channels, compact) and bias (channels,)."""
        return self.weight, self.bias


class NoExpansion(nn.Module):
    """The field gives features of full length; only their norm is taken.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, features: Tensor) -> Tensor:
        """Scale (..., channels) to unit length."""
        return F.normalize(features, dim=-1)


def build_expansion(
    kind: Literal["mlp", "orthogonal-linear", "none"], compact: int, channels: int, hidden: int = 128
) -> Expansion | LinearExpansion | NoExpansion:
    """Make the expansion of this kind; see the classes."""
    if kind == "mlp":
        return Expansion(compact, hidden, channels)
    return LinearExpansion(compact, channels) if kind == "orthogonal-linear" else NoExpansion(channels)


class SalienceDownsampler(nn.Module):
    """One vector for a cell of pixels: their mean by learned salience (FeatUp's attention down-sampler).

    Args:
        channels: of the features.
        patch: side of a cell, pixels.
    """

    def __init__(self, channels: int = 768, patch: int = 8) -> None:
        super().__init__()
        self.patch = patch
        self.salience = nn.Linear(channels, 1)
        nn.init.kaiming_normal_(self.salience.weight)
        nn.init.zeros_(self.salience.bias)
        self.weight = nn.Parameter(1 + 0.01 * torch.randn(patch, patch))
        self.bias = nn.Parameter(0.01 * torch.randn(patch, patch))

    def forward(self, patches: Tensor) -> Tensor:
        """Average cells (..., patch, patch, channels) to (..., channels), unit length."""
        return self.explained(patches)[0]

    def explained(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`forward`, with what decided.

        Returns:
            features (..., channels), salience (..., patch, patch), weights (..., patch, patch) that sum to 1.
        """
        salience = self.salience(patches)[..., 0]
        weights = (salience * self.weight + self.bias).flatten(-2).softmax(dim=-1)
        mean = (weights[..., None] * patches.flatten(-3, -2)).sum(dim=-2)
        return F.normalize(mean, dim=-1), salience, weights.unflatten(-1, (self.patch, self.patch))


def cells_of(image: Tensor, patch: int) -> Tensor:
    """Cut an image (..., H, W, C) into cells (..., H / patch, W / patch, patch, patch, C)."""
    rows, columns = image.shape[-3] // patch, image.shape[-2] // patch
    cut = image.unflatten(-3, (rows, patch)).unflatten(-2, (columns, patch))
    return cut.movedim(-3, -4)


def shrink(image: Tensor, patch: int) -> Tensor:
    """The plain down-sampler: bilinear, no filter, no norm; (..., H, W, C) to (..., H / patch, W / patch, C)."""
    height, width, channels = image.shape[-3:]
    flat = image.reshape(-1, height, width, channels).permute(0, 3, 1, 2)
    small = F.interpolate(flat, size=(height // patch, width // patch), mode="bilinear", align_corners=False)
    return small.permute(0, 2, 3, 1).reshape(*image.shape[:-3], *small.shape[-2:], channels)
