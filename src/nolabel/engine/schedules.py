"""Learning rates and other values over the steps of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["cosine_ramp", "polynomial_decay"]


def cosine_ramp(step: int, steps: int, start: float, end: float, *, warmup: int = 0) -> float:
    """Return a value that goes from ``start`` to ``end`` along half a cosine, after a line from 0 to ``start``.

    Source: DINO (Caron et al., ICCV 2021, section 3 and appendix): learning rate, weight decay, momentum.

    Args:
        step: counts from 0; at ``steps`` and after the value is ``end``.
        steps: length of the training.
        start: value at the end of the warm-up.
        end: value at the end of the training.
        warmup: steps of the line.
    """
    if step < warmup:
        return start * (step + 1) / warmup
    along = min(1.0, (step - warmup) / max(1, steps - warmup))
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * along))


def polynomial_decay(
    steps: int,
    *,
    power: float = 0.9,
    warmup_steps: int = 1000,
    warmup_factor: float = 0.001,
    decay_in_warmup: bool = True,
) -> Callable[[int], float]:
    """Return the factor at every step, for :class:`torch.optim.lr_scheduler.LambdaLR`.

    ``(1 - step / steps) ** power``, times a line from ``warmup_factor`` at step 0 to 1 at ``warmup_steps``.
    Source: detectron2's WarmupPolyLR (Co-Training specification 2.3), mmcv's poly policy with linear warm-up
    (UDASS specification).

    Args:
        steps: length of the training; after it the factor is 0.
        power: of the decay.
        warmup_steps: 0 for none.
        warmup_factor: factor at step 0.
        decay_in_warmup: whether the decay begins at step 0; else it begins at 1 where the warm-up ends, and is 0 at
            ``steps`` all the same (UDASS' video transformer).
    """
    start = 0 if decay_in_warmup else warmup_steps

    def factor(step: int) -> float:
        along_decay = max(0, step - start) / (steps - start) if steps > start else 0.0
        decay = max(0.0, 1.0 - along_decay) ** power
        if step >= warmup_steps:
            return decay
        along = step / warmup_steps
        return (warmup_factor * (1.0 - along) + along) * decay

    return factor
