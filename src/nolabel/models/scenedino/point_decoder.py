"""From what is known about a point to its density and compact features (SceneDINO specification, 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.pointwise import Linear, linear

__all__ = ["PointDecoder"]


class ResidualBlock(nn.Module):
    """x + W1 relu(W0 relu(x)); starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = Linear(width, width), Linear(width, width)
        nn.init.kaiming_normal_(self.first.weight)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (..., width)."""
        return x + self.second(F.relu(self.first(F.relu(x))))


class PointDecoder(nn.Module):
    """A network of two layers, and residual blocks between them where asked for.

    Args:
        map_channels: of the image's features at the point.
        code_channels: of the point's positional code.
        hidden: width.
        features: compact features of a point.
        blocks: residual blocks; the published network has none.
    """

    def __init__(
        self, map_channels: int, code_channels: int, hidden: int = 128, features: int = 64, blocks: int = 0
    ) -> None:
        super().__init__()
        self.map_channels, self.features = map_channels, features
        self.first = Linear(map_channels + code_channels, hidden)
        self.blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))
        self.last = Linear(hidden, 1 + features)
        for layer in (self.first, self.last):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, looked_up: Tensor, code: Tensor) -> tuple[Tensor, Tensor]:
        """Decode points.

        Args:
            looked_up: (..., map_channels) image features at the points.
            code: (..., code_channels).

        Returns:
            density (...) >= 0, 1 / metre, and compact features (..., features).
        """
        hidden = self.after_first(self.first(torch.cat([looked_up, code], dim=-1)))
        density, features = self.last(hidden).split([1, self.features], dim=-1)
        return F.softplus(density[..., 0]), features

    def after_first(self, x: Tensor) -> Tensor:
        """Finish the hidden vector (..., hidden) from what the first layer gives."""
        for block in self.blocks:
            x = block(x)
        return F.relu(x)

    @property
    def map_matrix(self) -> Tensor:
        """The part of the first layer that meets the image's features, (hidden, map_channels)."""
        return self.first.weight[:, : self.map_channels]

    def add_code(self, mapped: Tensor, code: Tensor) -> Tensor:
        """Hidden vectors of points whose image features the matrix has met already.

        Args:
            mapped: (..., hidden) = ``map_matrix`` times image features.
            code: (..., code_channels).
        """
        weight = self.first.weight[:, self.map_channels :]
        return self.after_first(mapped + linear(code, weight, self.first.bias))

    def density(self, hidden: Tensor) -> Tensor:
        """Density (...) of hidden vectors (..., hidden)."""
        return F.softplus(F.linear(hidden, self.last.weight[:1], self.last.bias[:1])[..., 0])

    def compact_features(self, hidden: Tensor, mass: Tensor | None = None) -> Tensor:
        """Compact features of hidden vectors, or of weighted sums of them.

        Args:
            hidden: (..., hidden).
            mass: (...) sum of the weights of such a sum; 1 by default.

        Returns:
            (..., features).
        """
        bias = self.last.bias[1:]
        product = linear(hidden, self.last.weight[1:])
        return product + (bias if mass is None else mass[..., None] * bias)
