"""What a training is about to do, in two lines: how much of what, and after the first steps how long it will take."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import nn
from torch.utils.data import Dataset

from nolabel.engine.progress import duration

__all__ = ["FIRST_STEPS", "expected_time", "training_outlook"]

FIRST_STEPS = 5
"""After so many steps of a call the time of the rest is foretold."""


def training_outlook(
    networks: Mapping[str, nn.Module], dataset: Dataset, *, steps: int, samples_per_step: int, device: str
) -> str:
    """Return steps, samples and parameters of a training as one line.

    Args:
        networks: all of them; only what has gradients counts.
        dataset: the training data.
        steps: optimizer steps of the whole run.
        samples_per_step: over all micro-batches and processes.
        device: where it runs, as torch names it.
    """
    parameters = {id(p): p.numel() for n in networks.values() for p in n.parameters() if p.requires_grad}
    count = len(dataset)  # type: ignore[arg-type]
    passes = steps * samples_per_step / max(count, 1)
    return (
        f"{steps} steps of {samples_per_step} of {count} samples ({passes:.3g} times each), "
        f"{sum(parameters.values()) / 1e6:.1f} million parameters, on {device}"
    )


def expected_time(began: float, done: int, left: int) -> str:
    """Return how long a step takes and how long the rest will.

    Args:
        began: ``time.monotonic()`` before the first of the ``done`` steps.
        done: steps since then.
        left: steps still to do; validations and checkpoints come on top.
    """
    each = (time.monotonic() - began) / done
    return f"{each:.2g} s a step: about {duration(each * left)} to go"
