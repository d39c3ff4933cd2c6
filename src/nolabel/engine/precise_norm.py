"""Precise batch normalisation: statistics of the final weights, measured over many batches.

The running averages that training leaves behind mix statistics of weights that are gone. Source: Wu and Johnson,
Rethinking "Batch" in BatchNorm (2021), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["measure_norms"]


class _Sums:
    """Sums over batches of one normalisation: of means, and of means of squares."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm, self.batches = norm, 0
        self.mean = torch.zeros_like(norm.running_mean, dtype=torch.float64)  # type: ignore[arg-type]
        self.square = torch.zeros_like(self.mean)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = inputs[0].detach().float()
        axes = [axis for axis in range(values.ndim) if axis != 1]
        self.mean += values.mean(dim=axes).double()
        self.square += values.square().mean(dim=axes).double()
        self.batches += 1


@torch.no_grad()
def measure_norms(
    network: nn.Module,
    batches: Iterable[Any],
    run: Callable[[Any], object],
    *,
    reduce: Callable[[Tensor], Tensor] = lambda value: value,
) -> int:
    """Replace the stored statistics of all trained batch normalisations by those over whole batches.

    Args:
        network: in training mode, so that batches are normalised by their own statistics.
        batches: every batch counts the same.
        run: passes a batch through the network.
        reduce: mean over all processes.

    Returns:
        The number of batches.
    """
    sums = [
        _Sums(module)
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    count = 0
    with ExitStack() as stack:
        for one in sums:
            stack.callback(one.norm.register_forward_hook(one).remove)
        for batch in batches:
            run(batch)
            count += 1
    for one in sums:
        if one.batches == 0:
            continue
        mean, square = (reduce(value / one.batches) for value in (one.mean, one.square))
        one.norm.running_mean.copy_(mean)  # type: ignore[union-attr]
        one.norm.running_var.copy_((square - mean.square()).clamp(min=0))  # type: ignore[union-attr]
    return count
