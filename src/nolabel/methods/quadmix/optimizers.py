"""Optimizers and learning rates of the trainings.

Source: UDASS specification, image 2.10 and 2.12, video 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nolabel.config import Config
from nolabel.engine.parameter_groups import ParameterRule, parameter_groups
from nolabel.engine.schedules import polynomial_decay

__all__ = [
    "REFERENCE_VIDEO_RULES",
    "OptimizerConfig",
    "RepeatedSGD",
    "build_optimizer",
    "rate_schedule",
]

OUTSIDE_BACKBONE = r"^(?!.*\bbackbone\b)"

REFERENCE_VIDEO_RULES = (
    ParameterRule(pattern=r"^fusion\b", rate=10),
    ParameterRule(pattern=OUTSIDE_BACKBONE, rate=10, scheduled=False),
    ParameterRule(pattern=r"\bshortcut\b", repeats=4),
    ParameterRule(pattern=r"\bres\d\b", repeats=3),
)
"""The video CNN as executed: the heads' rate never falls, and a weight is updated as often in a step as modules enclose
it."""


class OptimizerConfig(Config):
    """Which optimizer, and its rate over the steps."""

    name: Literal["adamw", "sgd"] = "adamw"
    """``adamw`` (betas 0.9, 0.999) or ``sgd``."""
    learning_rate: float = Field(6e-5, gt=0)
    """Base rate."""
    weight_decay: float = Field(0.01, ge=0)
    """Base weight decay."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Of SGD."""
    head_rate: float = Field(10.0, gt=0)
    """Factor of the rate outside the backbone: heads with their normalisations, fusion of frames."""
    decay_norms: bool = False
    """Whether the backbone's normalisations decay, too (ResNets)."""
    power: float = Field(1.0, ge=0)
    """Of the polynomial decay."""
    decay_steps: int | None = Field(None, gt=0)
    """Step at which the rate is 0; the training's last by default."""
    warmup_steps: int = Field(1500, ge=0)
    """Steps in which the rate rises."""
    warmup_factor: float = Field(1e-6, ge=0, le=1)
    """Part of the rate at step 0."""
    decay_in_warmup: bool = True
    """Whether the decay begins at step 0, or where the warm-up ends."""

    @property
    def rules(self) -> tuple[ParameterRule, ...]:
        """What holds for which parameters."""
        heads = ParameterRule(pattern=OUTSIDE_BACKBONE, rate=self.head_rate)
        return (heads,) if self.decay_norms else (heads, ParameterRule(pattern="norm", decay=0))


class RepeatedSGD(torch.optim.Optimizer):
    """SGD with momentum that updates the weights of a group ``repeats`` times in a step, with one gradient.

    The video CNN's original lists a weight once for each module around it, which makes its optimizer do that. Every
    update decays by the weight as it then is, and all but those of the first step go on with one momentum; in the first
    step every update starts without (UDASS specification, video, 5.1).

    Args:
        groups: of :func:`~nolabel.engine.parameter_groups.parameter_groups`.
        learning_rate: default of groups without.
        momentum: of all groups.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], learning_rate: float, momentum: float) -> None:
        defaults = {"lr": learning_rate, "momentum": momentum, "weight_decay": 0.0, "repeats": 1}
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update the weights."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            fresh = [weight for weight in weights if not self.state[weight]]
            known = [weight for weight in weights if self.state[weight]]
            for chosen, start in ((fresh, True), (known, False)):
                if chosen:
                    self._update(chosen, group, start)
        return loss

    def _update(self, weights: list[Tensor], group: dict[str, Any], start: bool) -> None:
        gradients: list[Any] = [weight.grad for weight in weights]
        buffers: list[Tensor] = [] if start else [self.state[weight]["momentum_buffer"] for weight in weights]
        for _ in range(group["repeats"]):
            changes = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
            if start:
                buffers = changes
            else:
                torch._foreach_mul_(buffers, group["momentum"])
                torch._foreach_add_(buffers, changes, alpha=1)
            torch._foreach_add_(weights, buffers, alpha=-group["lr"])
        for weight, buffer in zip(weights, buffers, strict=True):
            self.state[weight]["momentum_buffer"] = buffer


def build_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]],
    config: OptimizerConfig,
    rules: Sequence[ParameterRule] | None = None,
) -> torch.optim.Optimizer:
    """Build the optimizer of named parameters (``network.named_parameters()``).

    Set its rates with :func:`~nolabel.engine.parameter_groups.scale_rates` and :func:`rate_schedule`.

    Args:
        parameters: names and parameters.
        config: settings.
        rules: instead of those of the settings (``REFERENCE_VIDEO_RULES``).
    """
    chosen = config.rules if rules is None else rules
    groups = parameter_groups(parameters, chosen, config.learning_rate, config.weight_decay)
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999))
    if any(group["repeats"] > 1 for group in groups):
        return RepeatedSGD(groups, config.learning_rate, config.momentum)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def rate_schedule(config: OptimizerConfig, steps: int) -> Callable[[int], float]:
    """Return the factor of the rates at every step of a training.

    Args:
        config: settings.
        steps: of the training.
    """
    return polynomial_decay(
        config.decay_steps or steps,
        power=config.power,
        warmup_steps=config.warmup_steps,
        warmup_factor=config.warmup_factor,
        decay_in_warmup=config.decay_in_warmup,
    )
