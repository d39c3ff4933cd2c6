"""Parameters of a network in groups with rates of their own, chosen by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import nn

from nolabel.config import Config

__all__ = ["ParameterRule", "parameter_groups", "scale_rates"]


class ParameterRule(Config):
    """What holds for the parameters of some names."""

    pattern: str
    """Regular expression; it is searched in the names."""
    rate: float = Field(1.0, ge=0)
    """Factor of the learning rate."""
    decay: float = Field(1.0, ge=0)
    """Factor of the weight decay."""
    scheduled: bool = True
    """Whether the rate follows the schedule; else it stays what it is at the first step."""
    repeats: int = Field(1, ge=1)
    """Updates of a step, for optimizers that know of it (:class:`nolabel.methods.quadmix.optimizers.RepeatedSGD`)."""


def parameter_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    rules: Sequence[ParameterRule],
    learning_rate: float,
    weight_decay: float,
) -> list[dict[str, Any]]:
    """Sort parameters into the fewest groups for an optimizer; frozen parameters are left out.

    Args:
        parameters: names and parameters (``network.named_parameters()``).
        rules: of those whose pattern is in the name the first one counts; where none is, the base values do.
        learning_rate, weight_decay: base values.

    Returns:
        Groups with ``params`` (names and parameters, in the given order), ``lr``, ``base_rate`` (the same),
        ``weight_decay``, ``scheduled`` and ``repeats``.
    """
    base = ParameterRule(pattern="")
    groups: dict[tuple[float, float, bool, int], dict[str, Any]] = {}
    for name, parameter in parameters:
        if not parameter.requires_grad:
            continue
        rule = next((rule for rule in rules if re.search(rule.pattern, name)), base)
        rate, decay = learning_rate * rule.rate, weight_decay * rule.decay
        group = groups.setdefault(
            (rate, decay, rule.scheduled, rule.repeats),
            {
                "params": [],
                "lr": rate,
                "base_rate": rate,
                "weight_decay": decay,
                "scheduled": rule.scheduled,
                "repeats": rule.repeats,
            },
        )
        group["params"].append((name, parameter))
    return list(groups.values())


def scale_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the rates of a step: the base rate of every group that is scheduled, times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_rate"] * (factor if group["scheduled"] else 1.0)
