"""Limits on gradients beyond the one norm over all parameters that the training loop itself offers."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["clip_each_tensor"]


def clip_each_tensor(optimizer: torch.optim.Optimizer, max_norm: float) -> None:
    """Let an optimizer scale the gradient of each parameter tensor down to ``max_norm`` before each of its steps.

    It is done when the optimizer steps, that is after gradients were accumulated and averaged over processes. Source:
    detectron2's ``CLIP_TYPE: norm`` (unMORE specification 9).
    """

    def clip(stepping: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [
            parameter.grad
            for group in stepping.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not gradients:
            return
        norms = torch.stack(torch._foreach_norm(gradients))
        factors = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, list(factors.unbind()))

    optimizer.register_step_pre_hook(clip)
