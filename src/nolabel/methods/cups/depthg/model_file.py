"""Learnt semantics on disk: one file with all weights and a card, so that labelling needs nothing else.

The card of ``semantics.safetensors`` names the backbone (``dino``, ``descriptors``, a timm model, or what rebuilds features
of ``nolabel pretrain features``); sizes are read off the tensors. Official DepthG checkpoints are read by the same function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nolabel.errors import WeightsError
from nolabel.models.features import CodeNetwork, build_code_network
from nolabel.weights import find_weights, load_checkpoint, save_safetensors
from nolabel.weights.layouts import depthg

__all__ = ["SEMANTICS_FILE", "find_semantics", "load_semantics", "save_semantics"]

SEMANTICS_FILE = "semantics.safetensors"
CARD_KIND = "cups-semantics"


def save_semantics(path: Path, network: CodeNetwork, backbone: str, scale: float = 1.0, **facts: Any) -> Path:
    """Write network and card; ``facts`` (training data, steps, scores) go into the card."""
    card = {
        "kind": CARD_KIND,
        "backbone": backbone,
        "scale": scale,
        "dim": network.channels,
        "clusters": len(network.probe.clusters),
        "stride": network.stride,
        **facts,
    }
    return save_safetensors(path, network.state_dict(), card)


def find_semantics(path: str | Path) -> Path:
    """Return the file of a run folder, a path, or a registry name.

    Raises:
        WeightsError: no such file, or the run in the folder has not finished.
    """
    folder = Path(path)
    if not folder.is_dir():
        return find_weights(path)
    if not (folder / SEMANTICS_FILE).is_file():
        raise WeightsError(
            f"{folder} holds no {SEMANTICS_FILE}: its training has not finished",
            hint=f"continue it with the same `nolabel cups train-semantics` command, then use {folder} again",
        )
    return folder / SEMANTICS_FILE


def load_semantics(path: str | Path) -> CodeNetwork:
    """Load learnt semantics in evaluation mode: a run folder, a file of ours, or an official DepthG checkpoint.

    Raises:
        WeightsError: no such file, or no such network in it.
    """
    checkpoint = load_checkpoint(find_semantics(path))
    card = checkpoint.metadata
    if card.get("kind") == CARD_KIND:
        network = build_code_network(
            checkpoint.state_dict, card["backbone"], card["scale"], card.get("pretrained")
        )
    else:
        network = build_code_network(depthg.to_network(checkpoint.state_dict))
    return network.eval().requires_grad_(False)
