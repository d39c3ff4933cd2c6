"""Motion estimators with their weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nolabel.models.motion import MotionEstimator, build_motion
from nolabel.weights import find_weights, load_checkpoint
from nolabel.weights.layouts import raft_small, raft_smurf

__all__ = ["open_estimator"]


def open_estimator(
    name: str, device: torch.device | str = "cpu", weights: str | Path | None = None
) -> MotionEstimator:
    """Build a motion estimator with its registered weights, or with those of a file.

    Args:
        name: see :func:`nolabel.models.motion.build_motion`.
        device: where it computes.
        weights: checkpoint of a network; the registered one by default.

    Raises:
        ConfigError: there is no such estimator.
        WeightsError: its weights are not there.
    """
    if name not in ("raft_smurf", "raft_small", "raft_large"):
        return build_motion(name, device=device)
    file = find_weights(name) if weights is None else weights
    state: dict[str, Tensor] = load_checkpoint(file).state_dict
    layouts = {"raft_smurf": raft_smurf, "raft_small": raft_small}
    return build_motion(name, layouts[name].to_network(state) if name in layouts else state, device)
