"""RAFT's recurrent units for many updates with one context: what does not change is convolved once."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow.raft import ConvGRU, RecurrentBlock

__all__ = ["FixedContextGru", "fixed_context_units"]


class FixedContextGru:
    """A convolutional GRU whose input is a context that stays, and motion features that change.

    A convolution of stacked channels is the sum of the convolutions of its parts, so a third of RAFT's recurrent
    convolutions is left out of all updates; update and reset gate are one convolution.

    Args:
        unit: torchvision's unit, with input channels (hidden, context, motion).
        context: (B, D, h, w).
    """

    def __init__(self, unit: ConvGRU, context: Tensor) -> None:
        update, reset, candidate = (cast(nn.Conv2d, c) for c in (unit.convz, unit.convr, unit.convq))
        self._padding = cast("tuple[int, int]", update.padding)
        before = update.out_channels
        after = before + context.shape[1]

        def parts(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
            changing = torch.cat([weight[:, :before], weight[:, after:]], dim=1)
            return changing, F.conv2d(context, weight[:, before:after], bias, padding=self._padding)

        gate_bias = None if update.bias is None else torch.cat([update.bias, cast(Tensor, reset.bias)])
        self._gates = parts(torch.cat([update.weight, reset.weight]), gate_bias)
        self._candidate = parts(candidate.weight, candidate.bias)

    def __call__(self, hidden: Tensor, motion: Tensor) -> Tensor:
        """Return the next hidden state (B, H, h, w)."""
        update, reset = self._convolve(self._gates, hidden, motion).sigmoid_().chunk(2, dim=1)
        candidate = self._convolve(self._candidate, reset * hidden, motion).tanh_()
        return torch.lerp(hidden.to(candidate.dtype), candidate, update)

    def _convolve(self, parts: tuple[Tensor, Tensor], hidden: Tensor, motion: Tensor) -> Tensor:
        weight, constant = parts
        stacked = torch.cat([hidden, motion], dim=1)
        return F.conv2d(stacked, weight, padding=self._padding).add_(constant)


def fixed_context_units(block: RecurrentBlock, context: Tensor) -> list[FixedContextGru]:
    """Return the one or two units of a recurrent block, in the order of their use."""
    units = (block.convgru1, block.convgru2)
    return [FixedContextGru(unit, context) for unit in units if isinstance(unit, ConvGRU)]
