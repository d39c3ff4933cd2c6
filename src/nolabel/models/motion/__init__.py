"""Optical flow and stereo disparity estimators behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from nolabel.errors import ConfigError, WeightsError
from nolabel.models.motion.estimator import MotionEstimator, Reference, StereoMotion
from nolabel.models.motion.learning import MotionLearner
from nolabel.models.motion.opencv import OpenCVMotion
from nolabel.models.motion.raft import NETWORKS, RaftMotion

__all__ = [
    "MotionEstimator",
    "MotionLearner",
    "MotionName",
    "OpenCVMotion",
    "RaftMotion",
    "Reference",
    "StereoMotion",
    "build_motion",
]

MotionName = Literal["raft_smurf", "raft_large", "raft_small", "opencv"]


def build_motion(
    name: MotionName | str,
    weights: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    updates: int = 16,
    half_precision: bool = False,
) -> MotionEstimator:
    """Return a motion estimator.

    Args:
        name: ``raft_smurf``, ``raft_large`` (torchvision's) or ``raft_small`` (need ``weights``), or ``opencv`` (needs
            none, runs on the CPU).
        weights: state dict in the network's own names, see ``nolabel.weights.layouts.<name>.to_network``.
        device: where the network runs.
        updates: recurrent updates of RAFT.
        half_precision: see ``RaftMotion``.

    Raises:
        ConfigError: unknown name.
        WeightsError: a network without weights, or weights that do not fit it.
    """
    if name == "opencv":
        return OpenCVMotion()
    if name not in get_args(MotionName):
        raise ConfigError(
            f"unknown motion estimator {name!r}", hint=f"choose one of {', '.join(get_args(MotionName))}"
        )
    if weights is None:
        raise WeightsError(
            f"the motion network {name!r} needs weights", hint="give its checkpoint, or use motion=opencv"
        )
    network = NETWORKS[name]()
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise WeightsError(
            f"weights do not fit the motion network {name!r}: {str(error)[:500]}",
            hint="give this network's own checkpoint; official names are mapped by nolabel.weights.layouts",
        ) from error
    return RaftMotion(network, updates=updates, half_precision=half_precision).to(device)
