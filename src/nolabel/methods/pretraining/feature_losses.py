"""What the student is to say: the teacher's outputs, sharpened and kept from collapsing (DINO, section 3.1).

Also how one sees that they did collapse.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Balancing",
    "Collapse",
    "OutputStatistics",
    "collapse_of",
    "cross_entropy",
    "sinkhorn",
    "statistics_of",
]

Collapse = Literal["constant", "uniform"]
"""``constant``: everything gets one output. ``uniform``: every output is the same for everything, all alike."""

NARROW_SPREAD = 0.05
CONSTANT_MARGINAL = 0.1
UNIFORM_ENTROPY = 0.99


class Balancing(nn.Module):
    """Turns a teacher's outputs into targets.

    Attributes:
        centre: (K,) running mean of the outputs, which is taken off before the softmax.

    Args:
        prototypes: K.
        method: ``centre`` or ``sinkhorn``.
        momentum: how much of the centre stays.
        iterations: of Sinkhorn's algorithm.
    """

    centre: Tensor

    def __init__(self, prototypes: int, method: str, momentum: float, iterations: int) -> None:
        super().__init__()
        self.method, self.momentum, self.iterations = method, momentum, iterations
        self.register_buffer("centre", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, outputs: Tensor, temperature: float) -> Tensor:
        """Return the targets (..., K) of outputs (..., K), each a distribution; the centre follows the outputs."""
        outputs = outputs.float()
        if self.method == "sinkhorn":
            return sinkhorn(outputs.flatten(0, -2), temperature, self.iterations).view_as(outputs)
        targets = F.softmax((outputs - self.centre) / temperature, dim=-1)
        mean = _summed(
            torch.cat([outputs.flatten(0, -2).sum(0), outputs.new_tensor([outputs[..., 0].numel()])])
        )
        self.centre.lerp_(mean[:-1] / mean[-1], 1 - self.momentum)
        return targets


@torch.no_grad()
def sinkhorn(outputs: Tensor, temperature: float, iterations: int) -> Tensor:
    """Return assignments of N samples to K prototypes that use all prototypes alike, over all processes.

    Source: SwAV (Caron et al., NeurIPS 2020, section 3.1), DINOv2.

    Args:
        outputs: (N, K) cosines.
        temperature: of the softmax before the balancing.
        iterations: of rows and columns in turn.

    Returns:
        (N, K), each row a distribution.
    """
    logits = outputs.float() / temperature
    plan = (logits - _largest(logits.max())).exp()
    samples = _summed(plan.new_tensor(float(len(plan))))
    for _ in range(iterations):
        plan = plan / (_summed(plan.sum(0)) * plan.shape[1]).clamp(min=1e-30)
        plan = plan / (plan.sum(1, keepdim=True) * samples).clamp(min=1e-30)
    return plan * samples


def cross_entropy(targets: Tensor, outputs: Tensor, temperature: float) -> Tensor:
    """Mean cross entropy () of a student's outputs (..., K) and targets (..., K)."""
    return -(targets * F.log_softmax(outputs.float() / temperature, dim=-1)).sum(-1).mean()


class OutputStatistics(NamedTuple):
    """How a teacher's outputs are spread; each ().

    Attributes:
        entropy: mean entropy of a target, as a share of the largest possible: 1 is uniform, 0 one prototype.
        marginal: entropy of the mean target, likewise: near 0 all targets are one prototype.
        spread: standard deviation of the features' directions over cells, times the root of their length: 1 is as wide as
            it can be, 0 where all features are one.
    """

    entropy: Tensor
    marginal: Tensor
    spread: Tensor


@torch.no_grad()
def statistics_of(targets: Tensor, features: Tensor) -> OutputStatistics:
    """Measure targets (..., K) and the features (N, C, h, w) behind them."""
    flat, largest = targets.float().flatten(0, -2), math.log(targets.shape[-1])
    mean = flat.mean(0)
    directions = F.normalize(features.float(), dim=1)
    spread = directions.transpose(0, 1).flatten(1).std(1).mean() * features.shape[1] ** 0.5
    return OutputStatistics(
        torch.special.entr(flat).sum(-1).mean() / largest, torch.special.entr(mean).sum() / largest, spread
    )


def collapse_of(entropy: float, marginal: float, spread: float) -> Collapse | None:
    """Tell from :class:`OutputStatistics` whether, and how, the outputs have collapsed."""
    if entropy > UNIFORM_ENTROPY:
        return "uniform"
    if marginal < CONSTANT_MARGINAL or spread < NARROW_SPREAD:
        return "constant"
    return None


def _summed(value: Tensor) -> Tensor:
    """Sum over all processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value


def _largest(value: Tensor) -> Tensor:
    """Largest over all processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value, op=torch.distributed.ReduceOp.MAX)
    return value
