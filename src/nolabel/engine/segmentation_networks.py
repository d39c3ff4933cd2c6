"""Segmentation networks with the weights they start from, whatever layout these have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.models.segmentation import (
    HRDA,
    DeepLabV3Plus,
    FeatureSegmentor,
    PyramidSegmentor,
    Segmentor,
    build_segmentor,
)
from nolabel.weights import Part, find_weights, load_checkpoint, select_part
from nolabel.weights.layouts import deeplab_v3_plus, mmseg
from nolabel.weights.strict import strict_state

__all__ = ["build_network", "load_backbone", "load_network_state"]

OFFICIAL_MARK = "sem_seg_head."


def build_network(
    name: str,
    num_logits: int,
    *,
    weights: str | Path | None = None,
    backbone: str | Path | None = None,
    **options: Any,
) -> Segmentor:
    """Build a network and load its weights, or those of its backbone.

    Args:
        name: as in :func:`nolabel.models.segmentation.build_segmentor`.
        num_logits: classes, plus one for void.
        weights: file or registry name with a whole network: official (``model_final.pth`` of Co-Training, the student
            of UDASS, MIC, HRDA and DAFormer) or our own.
        backbone: file or registry name of an ImageNet backbone: ``deeplab_r103``, ``mit_b5``, ``resnet101_v1c``, or a
            timm state dict.
        options: sizes of the network.

    Raises:
        WeightsError: the file does not fit.
    """
    network = build_segmentor(name, num_logits, **options)
    if backbone is not None:
        load_backbone(network, load_checkpoint(find_weights(backbone)).state_dict)
    if weights is not None:
        load_network_state(network, load_checkpoint(find_weights(weights)).state_dict)
    return network


def load_network_state(network: Segmentor, state: dict[str, Tensor], part: Part = "student") -> None:
    """Load a whole network strictly; official names are translated.

    Args:
        network: what is filled.
        state: tensors by our names, or those of a checkpoint of Co-Training, UDASS, MIC, HRDA or DAFormer.
        part: of files with a student and a teacher.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    state = select_part(state, part)
    if isinstance(network, DeepLabV3Plus) and any(name.startswith(OFFICIAL_MARK) for name in state):
        state = deeplab_v3_plus.to_network(state)
    elif isinstance(network, FeatureSegmentor) and mmseg.is_official(state):
        state = mmseg.to_network(state)
    if isinstance(network, HRDA) and network.scale_attention is None:  # replaced by a fixed one
        state = {name: value for name, value in state.items() if not name.startswith("scale_attention.")}
    network.load_state_dict(strict_state(network.state_dict(), state))


def load_backbone(network: Segmentor, state: dict[str, Tensor]) -> None:
    """Fill the backbone alone and leave the head as it is.

    Raises:
        WeightsError: a tensor of the backbone is missing or of another shape.
        ConfigError: this kind of network has no backbone of its own.
    """
    prefix = deeplab_v3_plus.BACKBONE_PREFIX
    if isinstance(network, DeepLabV3Plus):
        found = deeplab_v3_plus.backbone_state(state)
    elif isinstance(network, FeatureSegmentor):
        found = mmseg.backbone_state(select_part(state))
    elif isinstance(network, PyramidSegmentor):
        # timm's files also hold the classifier, and the layers above the last map.
        wanted = {name for name in network.state_dict() if name.startswith(prefix)}
        plain = {prefix + name.removeprefix("module.").removeprefix(prefix): v for name, v in state.items()}
        found = {name: value for name, value in plain.items() if name in wanted}
    else:
        raise ConfigError(
            f"{type(network).__name__} has no backbone to load", hint="give the weights of all of it"
        )
    network.load_state_dict(strict_state(network.state_dict(), found, only=prefix), strict=False)
