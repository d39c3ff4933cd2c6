"""How the panoptic network is optimised in every stage (CUPS, section 3.3; spec cups_model 4.7 and 5.1)."""

from __future__ import annotations

from typing import Literal

import pydantic
import torch
from torch import nn

from nolabel.config import Config

__all__ = ["OptimisationConfig", "make_optimizer", "set_learning_rate"]

NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


class OptimisationConfig(Config):
    """Optimizer, learning rate and weight decay; the defaults are those of stage 2."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or gradient descent with momentum (the original's other choice: learning_rate 0.005, weight_decay 5e-5)."""
    momentum: float = pydantic.Field(0.9, ge=0, lt=1)
    """Of gradient descent; the first beta of AdamW."""
    learning_rate: float = pydantic.Field(1e-4, gt=0)
    """Constant after the warm-up."""
    warmup_steps: int = pydantic.Field(0, ge=0)
    """Steps over which the learning rate rises linearly to its value (published: none)."""
    decay_steps: int = pydantic.Field(0, ge=0)
    """Last steps over which the learning rate falls linearly to zero (published: none)."""
    weight_decay: float = pydantic.Field(1e-5, ge=0)
    """Of all parameters but those of normalisations."""


def make_optimizer(network: nn.Module, config: OptimisationConfig) -> torch.optim.Optimizer:
    """Return the optimizer of what the network trains, without weight decay for normalisations."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in network.modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        (plain if isinstance(module, NORMALISATIONS) else decayed).extend(own)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: OptimisationConfig, step: int, steps: int
) -> None:
    """Set the learning rate of step ``step`` of ``steps``: linear warm-up, constant, linear decay."""
    rise = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    fall = min(1.0, (steps - step) / config.decay_steps) if config.decay_steps else 1.0
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * rise * fall
