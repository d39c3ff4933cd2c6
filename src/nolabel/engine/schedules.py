"""Learning rates over the steps of a training, as factors of the base rate."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["polynomial_decay"]


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
