"""What trained motion networks are on disk: tensors, and a card that says layout, updates and where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torchvision.models.optical_flow import RAFT

from nolabel.engine.motion_estimators import MOTION_KIND, network_state
from nolabel.errors import WeightsError
from nolabel.models.motion.raft import NETWORKS
from nolabel.structures.files import write_json
from nolabel.weights import save_safetensors

__all__ = ["save_motion", "start_motion"]


def start_motion(architecture: str, initial: Path | None) -> RAFT:
    """Build the network that a training starts from.

    Args:
        architecture: ``raft_small``, ``raft_smurf`` or ``raft_large``.
        initial: run folder, file or registered name; random weights without.

    Raises:
        WeightsError: no such file, or tensors of another layout.
    """
    network = NETWORKS[architecture]()
    if initial is not None:
        state, _ = network_state(initial, architecture)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(
                f"{initial} does not fit the motion network {architecture!r}: {str(error)[:300]}",
                hint="set network.architecture to the file's own",
            ) from error
    return network


def save_motion(
    network: RAFT, path: Path, architecture: str, updates: int, *, half: bool = False, **about: Any
) -> Path:
    """Write a network and its card, which also lies beside it as JSON.

    Args:
        network: a torchvision RAFT.
        path: a ``.safetensors`` file.
        architecture: its layout.
        updates: recurrent updates that it was trained for.
        half: store float16, half the size; it computes in float32 all the same.
        about: more for the card.
    """
    state: Mapping[str, torch.Tensor] = network.state_dict()
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    card = {"kind": MOTION_KIND, "architecture": architecture, "updates": updates, **about}
    write_json(path.with_suffix(".json"), card)
    return save_safetensors(path, state, card)
