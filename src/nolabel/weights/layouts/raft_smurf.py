"""SMURF's RAFT checkpoint (``raft_smurf.pt`` of CUPS or the public TF conversion): names, one permutation.

The names are torchvision's, with or without the prefix ``raft.``. SMURF enumerates the 9x9 correlation window
with the x offset fastest, torchvision with the y offset fastest (spec cups_pseudo 3.2, 3.3).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

PREFIX = "raft."
CORRELATION_WEIGHT = "update_block.motion_encoder.convcorr1.0.weight"
LEVELS = 4
WINDOW = 9


def swap_window_axes(weight: Tensor) -> Tensor:
    """Exchange the two offset axes among the input channels (out, 324, 1, 1) of the correlation layer."""
    out_channels = weight.shape[0]
    window = weight.view(out_channels, LEVELS, WINDOW, WINDOW, 1, 1)
    return window.transpose(2, 3).reshape(out_channels, LEVELS * WINDOW**2, 1, 1)


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of ``nolabel.models.motion.raft.smurf_network`` from the official one."""
    network = {name.removeprefix(PREFIX): value for name, value in state.items()}
    if CORRELATION_WEIGHT in network:
        network[CORRELATION_WEIGHT] = swap_window_axes(network[CORRELATION_WEIGHT])
    return network


def from_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the official names and channel order of a network's state dict (inverse of ``to_network``)."""
    official = dict(state)
    if CORRELATION_WEIGHT in official:
        official[CORRELATION_WEIGHT] = swap_window_axes(official[CORRELATION_WEIGHT])
    return {PREFIX + name: value for name, value in official.items()}
