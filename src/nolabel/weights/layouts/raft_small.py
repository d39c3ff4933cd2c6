"""RAFT-small checkpoints of princeton-vl/RAFT: their names as torchvision's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

PREFIX = "module."  # princeton-vl saves the data-parallel wrapper

# (official piece, torchvision piece), applied in this order to every name
RENAMED_PIECES = (
    ("fnet.conv1.", "feature_encoder.convnormrelu.0."),
    ("cnet.conv1.", "context_encoder.convnormrelu.0."),
    ("fnet.conv2.", "feature_encoder.conv."),
    ("cnet.conv2.", "context_encoder.conv."),
    ("fnet.", "feature_encoder."),
    ("cnet.", "context_encoder."),
    ("update_block.encoder.convc1.", "update_block.motion_encoder.convcorr1.0."),
    ("update_block.encoder.convf1.", "update_block.motion_encoder.convflow1.0."),
    ("update_block.encoder.convf2.", "update_block.motion_encoder.convflow2.0."),
    ("update_block.encoder.conv.", "update_block.motion_encoder.conv.0."),
    ("update_block.gru.", "update_block.recurrent_block.convgru1."),
)
BLOCK_CONVOLUTIONS = tuple((f".conv{k}.", f".convnormrelu{k}.0.") for k in (1, 2, 3))


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of ``models.motion.raft.small_network``; torchvision's names pass as they are."""
    return {_network_name(name): value for name, value in state.items()}


def _network_name(name: str) -> str:
    name = name.removeprefix(PREFIX)
    for old, new in RENAMED_PIECES:
        if name.startswith(old):
            name = new + name[len(old) :]
    if ".layer" in name:  # the flow head numbers its convolutions too, but keeps the names
        for old, new in BLOCK_CONVOLUTIONS:
            name = name.replace(old, new)
    return name
