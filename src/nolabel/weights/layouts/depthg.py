"""DepthG checkpoints (leonsick/depthg, Lightning): names of the parts CUPS uses (spec cups_pseudo 12)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

# (official prefix, our prefix). Linear probe, decoder and LHP module are for training and are left out.
PREFIXES = (
    ("net.model.", "backbone.transformer."),
    ("net.cluster1.0.", "head.linear."),
    ("net.cluster2.0.", "head.hidden."),
    ("net.cluster2.2.", "head.output."),
    ("cluster_probe.", "probe."),
)


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
