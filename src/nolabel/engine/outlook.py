"""What a training is about to do, in two lines: how much of what, and after the first steps how long it will take."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import nn
from torch.utils.data import Dataset

from nolabel.engine.progress import duration

__all__ = ["FIRST_STEPS", "expected_time", "sample_summary", "training_outlook"]

FIRST_STEPS = 5
"""After so many steps of a call the time of the rest is foretold."""


def training_outlook(networks: Mapping[str, nn.Module], steps: int, samples: str, device: str) -> str:
    """Return steps, samples and parameters of a training as one line.

    Args:
        networks: all of them; only what has gradients counts.
        steps: optimizer steps of the whole run.
        samples: what a step is made of (:func:`sample_summary`).
        device: where it runs, as torch names it.
    """
    parameters = {id(p): p.numel() for n in networks.values() for p in n.parameters() if p.requires_grad}
    return f"{steps} steps of {samples}, {sum(parameters.values()) / 1e6:.1f} million parameters, on {device}"


def sample_summary(dataset: Dataset, steps: int, samples_per_step: int) -> str:
    """Return how many samples a step takes of how many, and how often each is seen in all steps."""
    count = len(dataset)  # type: ignore[arg-type]
    return (
        f"{samples_per_step} of {count} samples ({steps * samples_per_step / max(count, 1):.3g} times each)"
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
