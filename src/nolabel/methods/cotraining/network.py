"""Networks of this method with the weights they start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.models.segmentation import DeepLabV3Plus, PyramidSegmentor, Segmentor, build_segmentor
from nolabel.weights import find_weights, load_checkpoint
from nolabel.weights.layouts import deeplab_v3_plus
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
        weights: file or registry name with a whole network: official (``model_final.pth``) or our own.
        backbone: file or registry name of an ImageNet backbone: ``deeplab_r103``, or a timm state dict.
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


def load_network_state(network: Segmentor, state: dict[str, Tensor]) -> None:
    """Load a whole network strictly; official DeepLabV3+ names are translated.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    official = any(name.removeprefix("module.").startswith(OFFICIAL_MARK) for name in state)
    if isinstance(network, DeepLabV3Plus) and official:
        state = deeplab_v3_plus.to_network(state)
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
