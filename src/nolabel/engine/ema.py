"""Teachers that are moving averages of their students."""

from __future__ import annotations

import torch
from torch import nn

from nolabel.errors import TrainingError

__all__ = ["ramped_rate", "update_average"]


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, rate: float) -> None:
    """Move the parameters of ``average`` towards those of ``network``: a <- rate * a + (1 - rate) * n.

    Buffers (statistics of normalisations) stay as they are. Source: CUPS specification 5.2.

    Args:
        average: the teacher, changed in place.
        network: the student, of the same structure.
        rate: how much of the teacher stays, 0 .. 1.

    Raises:
        TrainingError: the two networks have different parameters.
    """
    students = dict(network.named_parameters())
    teachers = dict(average.named_parameters())
    if students.keys() != teachers.keys():
        different = sorted(students.keys() ^ teachers.keys())
        raise TrainingError(
            f"teacher and student differ in {len(different)} parameters: {', '.join(different[:3])}"
        )
    values = [students[name].to(teacher) for name, teacher in teachers.items()]
    torch._foreach_lerp_(list(teachers.values()), values, 1.0 - rate)


def ramped_rate(step: int, rate: float) -> float:
    """Return how much of a teacher stays at a step: min(1 - 1 / (step + 1), rate).

    0 at step 0, where the teacher becomes a copy of its student. Source: UDASS specification (image) 2.3.

    Args:
        step: counts from 0.
        rate: the largest value, 0 .. 1.
    """
    return min(1.0 - 1.0 / (step + 1), rate)
