"""DepthG checkpoints (leonsick/depthg, Lightning): names of the parts CUPS uses (spec cups_pseudo 12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

# (official prefix, our prefix). Linear probe, decoder and LHP module are for training and are left out.
PREFIXES = (
    ("net.model.", "backbone.transformer."),
    ("net.cluster1.0.", "head.linear."),
    ("net.cluster2.0.", "head.hidden."),
    ("net.cluster2.2.", "head.output."),
    ("cluster_probe.", "probe."),
)
CHANNELS_PER_HEAD = 64  # of every DINO ViT


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of ``nolabel.models.features.depthg.DepthG`` from the official one."""
    return {
        ours + name[len(official) :]: value
        for name, value in state.items()
        for official, ours in PREFIXES
        if name.startswith(official)
    }


def from_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the official names of a network's state dict (inverse of ``to_network``)."""
    return {
        official + name[len(ours) :]: value
        for name, value in state.items()
        for official, ours in PREFIXES
        if name.startswith(ours)
    }


def network_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor arguments of ``DepthG`` off the shapes of a network state dict."""
    embedding = state["backbone.transformer.patch_embed.proj.weight"]
    depth = 1 + max(int(n.split(".")[3]) for n in state if n.startswith("backbone.transformer.blocks."))
    clusters, dim = state["probe.clusters"].shape
    width = embedding.shape[0]
    return {
        "width": width,
        "heads": width // CHANNELS_PER_HEAD,
        "depth": depth,
        "patch": embedding.shape[-1],
        "dim": dim,
        "num_clusters": clusters,
    }
