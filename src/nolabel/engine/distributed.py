"""The little that several training processes must say to one another, beyond what Fabric does."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

__all__ = ["gather_objects", "is_first_process", "quiet_fabric"]


def is_first_process() -> bool:
    """Tell, before anything is launched, whether this is the process that writes files."""
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):  # torchrun, SLURM, Fabric's own launcher
        if os.environ.get(name):
            return int(os.environ[name]) == 0
    return True


def gather_objects(value: Any, processes: int) -> list[Any]:
    """Return every process's value, in the order of ranks."""
    if processes == 1:
        return [value]
    gathered: list[Any] = [None] * processes
    torch.distributed.all_gather_object(gathered, value)
    return gathered


def quiet_fabric() -> None:
    """Keep Fabric's advertisements and devices' lists off the screen."""
    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
