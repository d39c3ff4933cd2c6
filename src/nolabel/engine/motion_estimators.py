"""Motion estimators with their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.engine.segmentor_file import model_path
from nolabel.errors import ConfigError, WeightsError
from nolabel.models.motion import MotionEstimator, build_motion
from nolabel.weights import load_checkpoint
from nolabel.weights.layouts import raft_small, raft_smurf
from nolabel.weights.packaged import embedded_file

__all__ = ["MOTION_KIND", "network_state", "open_estimator"]

MOTION_KIND = "motion"
"""What the card of a network of ``nolabel pretrain motion`` says it is."""
UPDATES = 16

# raft_large: torchvision's names are the network's own.
_LAYOUTS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "raft_smurf": raft_smurf.to_network,
    "raft_large": dict,
    "raft_small": raft_small.to_network,
}


def open_estimator(
    name: str,
    device: torch.device | str = "cpu",
    weights: str | Path | None = None,
    *,
    updates: int | None = None,
    half_precision: bool = False,
) -> MotionEstimator:
    """Build a motion estimator with its registered weights, or with those of a file.

    Args:
        name: see :func:`nolabel.models.motion.build_motion`; ``embedded``: the small network that comes with the package;
            or ``learnt``: what ``weights`` of ``nolabel pretrain motion`` are, whose card says it.
        device: where it computes.
        weights: checkpoint of a network, or run folder of ``nolabel pretrain motion``; the registered one by default.
        updates: recurrent updates of a network; by default what its card says, else 16.
        half_precision: see :class:`nolabel.models.motion.RaftMotion`.

    Raises:
        ConfigError: there is no such estimator, or ``learnt`` without weights.
        WeightsError: its weights are not there, or are of another layout.
    """
    if name == "embedded":
        if weights is not None:
            raise ConfigError("the embedded motion network brings its weights", hint="leave the weights out")
        name, weights = "learnt", embedded_file("motion")
    if name == "learnt":
        if weights is None:
            raise ConfigError(
                "the estimator learnt needs weights",
                hint="give the run folder or file of nolabel pretrain motion",
            )
        state, card = network_state(weights, None)
        name = str(card["architecture"])
    elif name in _LAYOUTS:
        state, card = network_state(weights or name, name)
    else:
        return build_motion(name, device=device)
    return build_motion(name, state, device, updates or int(card.get("updates", UPDATES)), half_precision)


def network_state(weights: str | Path, architecture: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors of a motion network in the network's own names, in float32, and the file's card.

    Args:
        weights: run folder or file of ``nolabel pretrain motion``, official checkpoint, or registered name.
        architecture: its layout, for files without a card; None: a card must say it.

    Raises:
        WeightsError: there is no such file, or it is of another layout.
    """
    checkpoint = load_checkpoint(model_path(weights))
    state, card = checkpoint.state_dict, dict(checkpoint.metadata)
    if card.get("kind") != MOTION_KIND:
        if architecture is None:
            raise WeightsError(
                f"{weights} does not say which motion network it is",
                hint="name the layout: raft_small, raft_smurf or raft_large",
            )
        return _LAYOUTS[architecture](state), {}
    if architecture not in (None, card["architecture"]):
        raise WeightsError(
            f"{weights} is a network of the layout {card['architecture']!r}, not {architecture!r}",
            hint=f"name {card['architecture']}",
        )
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    return state, card
