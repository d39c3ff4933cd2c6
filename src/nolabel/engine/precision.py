"""Mixed precision that leaves what networks are given as it is."""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric.plugins.precision import MixedPrecision

__all__ = ["Autocast", "precision_plugins"]


class Autocast(MixedPrecision):
    """Matrix products and convolutions in bfloat16; inputs are not rounded.

    Lightning's own plugin rounds all inputs of a network to bfloat16 first. Where inputs are more than pictures, that
    harms: a box corner at 515.3 pixels becomes 516, a car 40.1 metres away moves by ten centimetres, and a camera's
    rotation is no rotation any more. Autocast rounds what it multiplies in any case.
    """

    def convert_input(self, data: Any) -> Any:
        """Return the inputs of a network."""
        return data


def precision_plugins(precision: str, accelerator: str) -> dict[str, Any]:
    """Return what Fabric takes for a precision of :class:`~nolabel.engine.fit_config.FitConfig`.

    Args:
        precision: ``32-true`` or ``bf16-mixed``.
        accelerator: Fabric's name of the kind of device; ``auto`` is CUDA where there is any.
    """
    if precision != "bf16-mixed":
        return {"precision": precision}
    found = "cuda" if torch.cuda.is_available() else "cpu"
    kind = {"auto": found, "gpu": found}.get(accelerator, accelerator)
    return {"plugins": [Autocast("bf16-mixed", kind)]}
