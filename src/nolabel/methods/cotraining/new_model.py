"""The network that a training from scratch starts with, and where networks run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.engine.segmentation_networks import build_network
from nolabel.engine.segmentor_file import SegmentorModel, plain_options
from nolabel.labels import LabelSpace
from nolabel.methods.cotraining.settings import NetworkConfig

__all__ = ["new_model"]


def new_model(
    config: NetworkConfig, space: LabelSpace, size: InferenceSize, options: Mapping[str, Any] | None = None
) -> SegmentorModel:
    """Build a network with the weights that its settings name.

    Args:
        config: which network.
        space: its classes.
        size: at what size it will look at images.
        options: changes to the network's options.
    """
    chosen = {**config.options, **(options or {})}
    network = build_network(
        config.name,
        space.num_classes + config.void_logit,
        weights=config.weights,
        backbone=config.backbone,
        **plain_options(chosen),
    )
    return SegmentorModel(network, config.name, space, chosen, size)
