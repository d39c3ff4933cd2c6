"""The optimiser of every training in this method.

Source: Co-Training specification, 2.3.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from nolabel.engine.schedules import polynomial_decay

__all__ = ["sgd_with_decay"]


def sgd_with_decay(
    network: nn.Module,
    learning_rate: float,
    steps: int,
    *,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    warmup_steps: int = 1000,
) -> tuple[torch.optim.SGD, LambdaLR]:
    """Return SGD and its schedule; normalisations are not decayed.

    Args:
        network: what is trained.
        learning_rate: base rate (0.002 in the published runs, batch 4).
        steps: updates of this training; step the schedule after each.
        momentum, weight_decay: of SGD.
        warmup_steps: of the schedule, see :func:`nolabel.engine.schedules.polynomial_decay`.
    """
    kinds = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
    plain = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, kinds)
        for parameter in module.parameters(recurse=False)
    }
    groups = [
        {"params": [p for p in network.parameters() if id(p) not in plain], "weight_decay": weight_decay},
        {"params": [p for p in network.parameters() if id(p) in plain], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.SGD(groups, lr=learning_rate, momentum=momentum)
    return optimiser, LambdaLR(optimiser, polynomial_decay(steps, warmup_steps=warmup_steps))
