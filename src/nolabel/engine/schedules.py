"""Learning rates over the steps of a training, as factors of the base rate."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["polynomial_decay"]


def polynomial_decay(
    steps: int, *, power: float = 0.9, warmup_steps: int = 1000, warmup_factor: float = 0.001
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
    """

    def factor(step: int) -> float:
        decay = max(0.0, 1.0 - step / steps) ** power
        if step >= warmup_steps:
            return decay
        along = step / warmup_steps
        return (warmup_factor * (1.0 - along) + along) * decay

    return factor
