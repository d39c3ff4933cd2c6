"""The head that draws the signed distance to the boundary, and the short cut to its result.

Three of its four forms have nothing but convolutions between the features and the last activation, so that the head is
one 3x3 convolution however many channels it has inside. Since convolutions with 1x1 kernels commute with bilinear
enlargement, the nine taps of that convolution can be taken before the features are enlarged: nine maps are enlarged
instead of hundreds, shifted and added. The result is the same function of the same weights, gradients included.
Source: unMORE specification, 4.1 and 15.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.models.dpt import enlarge_twice

__all__ = ["BoundaryForm", "BoundaryHead"]

BoundaryForm = Literal["tanh", "sine", "none", "relu"]
"""Last activation of a linear head, or ``relu``: ReLUs between the convolutions and no last activation."""


class BoundaryHead(nn.Module):
    """Four convolutions (1x1, 3x3, 1x1, 1x1) from features to one map.

    Args:
        channels: of the features.
        inner: channels after the first two convolutions; twice as many after the third.
        form: see :data:`BoundaryForm`.
    """

    def __init__(self, channels: int = 256, inner: int = 512, form: BoundaryForm = "tanh") -> None:
        super().__init__()
        self.form = form
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(channels, inner, 1),
                nn.Conv2d(inner, inner, 3, padding=1),
                nn.Conv2d(inner, 2 * inner, 1),
                nn.Conv2d(2 * inner, 1, 1),
            ]
        )

    @property
    def is_linear(self) -> bool:
        """Whether :meth:`folded` gives the logits."""
        return self.form != "relu"

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, H, W) to the logits (N, 1, H, W), one convolution after the other."""
        for place, convolution in enumerate(self.convolutions):
            features = convolution(features if self.is_linear or place == 0 else F.relu(features))
        return features

    def activate(self, logits: Tensor) -> Tensor:
        """Apply the last activation."""
        if self.form == "tanh":
            return torch.tanh(logits)
        return torch.sin(logits) if self.form == "sine" else logits

    def taps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Fold the four convolutions of a linear head.

        Returns:
            In float64: weights (9, C) and biases (9,) of the taps, in the order of a 3x3 kernel's cells, and the bias
            of their sum. The bias of a tap counts only where its pixel lies inside the map: the 3x3 convolution sees
            zeros, not the first bias, beyond the border.
        """
        first, middle, third, last = (cast(nn.Conv2d, layer) for layer in self.convolutions)
        pairs = [(c.weight.double(), cast(Tensor, c.bias).double()) for c in (first, middle, third, last)]
        (w0, b0), (w1, b1), (w2, b2), (w3, b3) = ((w.flatten(2), b) for w, b in pairs)
        last_row = w3[0, :, 0]
        combined = last_row @ w2[..., 0]
        of_inner = torch.einsum("o,oik->ki", combined, w1)
        return of_inner @ w0[..., 0], of_inner @ b0, b3[0] + last_row @ b2 + combined @ b1

    def folded(self, coarse: Tensor, out: nn.Conv2d, enlargements: int = 2) -> Tensor:
        """Return the logits of a linear head from the map that its features are made of.

        Args:
            coarse: (N, C, H, W), which a 1x1 convolution and enlargements turn into the features.
            out: that convolution.
            enlargements: how often the sides are doubled.

        Returns:
            (N, 1, H', W') float32, what :meth:`forward` gives for ``enlarge_twice(out(enlarge_twice(coarse)))``.
        """
        weight, bias, constant = self.taps()
        bias = bias + weight @ cast(Tensor, out.bias).double()
        weight = weight @ out.weight.flatten(1).double()
        with torch.autocast(
            coarse.device.type, enabled=False
        ):  # costs nothing, and is the head's whole precision
            maps = F.conv2d(coarse.float(), weight.float()[..., None, None], bias.float())
            for _ in range(enlargements):
                maps = enlarge_twice(maps)
            shifts = torch.eye(9, device=maps.device).view(1, 9, 3, 3)
            return F.conv2d(maps, shifts, constant.float()[None], padding=1)
