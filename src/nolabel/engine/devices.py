"""Which device work runs on."""

from __future__ import annotations

import torch

__all__ = ["pick_device"]


def pick_device(device: str | None) -> str:
    """Return the device meant by ``auto`` or None (an accelerator where there is one), or the one named."""
    if device not in (None, "auto"):
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
