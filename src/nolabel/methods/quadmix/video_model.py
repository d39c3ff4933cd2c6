"""Two-frame networks on disk, and with the weights that a training starts from.

The card of ``model.safetensors`` holds architecture, label space and the size of the frames. Official checkpoints of
UDASS and TPS need none. Source: UDASS specification (video) 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.engine.segmentor_file import model_path, plain_options
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import LABEL_SPACES, LabelSpace
from nolabel.labels.cards import space_from_card, space_to_card
from nolabel.methods.quadmix.settings import NetworkConfig
from nolabel.models.video_segmentation import (
    AccelDAFormer,
    AccelDeepLab,
    TwoFrameSegmentor,
    build_video_segmentor,
)
from nolabel.weights import Checkpoint, load_checkpoint, save_safetensors, select_part
from nolabel.weights.layouts import accel_daformer, accel_deeplab, mmseg
from nolabel.weights.strict import strict_state

__all__ = [
    "CARD_KIND",
    "VideoModel",
    "build_video_network",
    "is_video_checkpoint",
    "load_video_model",
    "load_video_state",
    "save_video_model",
]

CARD_KIND = "two_frame_segmentor"
OFFICIAL_SPACES = {15: "viper_15", 12: "synthia_seq_12"}
OFFICIAL_SIZE = (512, 1024)


@dataclass(frozen=True)
class VideoModel:
    """A two-frame network with all that is needed to use it.

    Attributes:
        network: the network.
        architecture: its name, as in :func:`nolabel.models.video_segmentation.build_video_segmentor`.
        space: what its logits mean.
        options: of the network, JSON values.
        size: (height, width) of the frames it looks at; None: as they are.
        source: the file it came from.
        facts: what else its card says.
    """

    network: TwoFrameSegmentor
    architecture: str
    space: LabelSpace
    options: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    source: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def build_video_network(
    config: NetworkConfig, num_logits: int, *, reference_compat: bool = False
) -> TwoFrameSegmentor:
    """Build a network with the weights that its settings name.

    Raises:
        ConfigError: there is no such network, or it has no backbone of its own.
        WeightsError: a file does not fit.
    """
    options = plain_options(config.options)
    network = build_video_segmentor(config.name, num_logits, reference_compat=reference_compat, **options)
    if config.backbone is not None:
        _load_backbone(network, load_checkpoint(model_path(config.backbone)).state_dict)
    if config.weights is not None:
        load_video_state(network, load_checkpoint(model_path(config.weights)).state_dict)
    return network


def load_video_state(network: TwoFrameSegmentor, state: Mapping[str, Tensor]) -> None:
    """Load a whole network strictly; official names are translated.

    A network of UDASS takes over all of one of TPS but its main head, which stays as it is.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    expected = network.state_dict()
    if isinstance(network, AccelDeepLab) and _is_official(state):
        if network.config.head_channels is not None and any("layer6." in name for name in state):
            kept = {name: value for name, value in expected.items() if name.startswith("main.")}
            network.load_state_dict(strict_state(expected, kept | accel_deeplab.student_state(state)))
            return
        state = accel_deeplab.to_network(state)
    elif isinstance(network, AccelDAFormer) and _is_official(state):
        state = accel_daformer.to_network(state)
    network.load_state_dict(strict_state(expected, state))


def save_video_model(model: VideoModel, path: Path, **facts: Any) -> Path:
    """Write tensors and card, whole or not at all; ``facts`` are more entries of the card (JSON values)."""
    card = {
        **model.facts,
        **facts,
        "kind": CARD_KIND,
        "architecture": model.architecture,
        "options": dict(model.options),
        "num_logits": model.network.num_logits,
        "space": space_to_card(model.space),
        "size": None if model.size is None else list(model.size),
    }
    return save_safetensors(path, model.network.state_dict(), card)


def load_video_model(
    path: str | Path,
    *,
    space: LabelSpace | None = None,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
) -> VideoModel:
    """Load a two-frame network from a run folder, a file of ours, or an official checkpoint of UDASS or TPS.

    Args:
        path: run folder, ``model.safetensors``, official ``.pth``, or the name of a registered file.
        space: what the classes of an official checkpoint mean; by default by their number.
        device: where the network goes; it is in evaluation mode.
        checkpoint: what is in the file, where it was read before.

    Raises:
        WeightsError: no such file, no two-frame network, or tensors that do not fit.
    """
    file = model_path(path)
    checkpoint = checkpoint or load_checkpoint(file)
    card, state = checkpoint.metadata, checkpoint.state_dict
    if card.get("kind") == CARD_KIND:
        network = build_video_segmentor(
            card["architecture"], card["num_logits"], **plain_options(card["options"])
        )
        size = None if card["size"] is None else (card["size"][0], card["size"][1])
        own = {"kind", "architecture", "options", "num_logits", "space", "size"}
        facts = {key: value for key, value in card.items() if key not in own}
        model = VideoModel(
            network, card["architecture"], space_from_card(card["space"]), card["options"], size, file, facts
        )
    else:
        model = _official_model(state, file, space)
    load_video_state(model.network, state)
    model.network.to(device).eval()
    return model


def is_video_checkpoint(checkpoint: Checkpoint) -> bool:
    """Say whether a file holds a two-frame network: one of ours, or one of UDASS or TPS."""
    return checkpoint.metadata.get("kind") == CARD_KIND or _is_official(checkpoint.state_dict)


def _official_model(state: Mapping[str, Tensor], file: Path, space: LabelSpace | None) -> VideoModel:
    if not _is_official(state):
        raise WeightsError(
            f"{file} is no two-frame network: it has neither a card nor a fusion layer (sf_layer)",
            hint="give a run folder of `nolabel quadmix`, its model.safetensors, or an official video checkpoint",
        )
    fusion = next(value for name, value in state.items() if name.endswith("sf_layer.weight"))
    logits = fusion.shape[0]
    if space is None and logits not in OFFICIAL_SPACES:
        raise ConfigError(
            f"{file} has {logits} classes, which no benchmark has", hint="give their label space"
        )
    marks = {"decoder.": "accel_daformer", "layer6.": "accel_deeplab_tps", "layer7.": "accel_deeplab"}
    name = next(
        (found for mark, found in marks.items() if any(mark in key for key in state)), "accel_deeplab"
    )
    return VideoModel(
        build_video_segmentor(name, logits),
        name,
        space or LABEL_SPACES[OFFICIAL_SPACES[logits]],
        size=OFFICIAL_SIZE,
        source=file,
    )


def _is_official(state: Mapping[str, Tensor]) -> bool:
    return any(name.endswith("sf_layer.weight") for name in state)


def _load_backbone(network: TwoFrameSegmentor, state: dict[str, Tensor]) -> None:
    if isinstance(network, AccelDeepLab):
        found = accel_deeplab.backbone_state(state)
    else:
        found = mmseg.backbone_state(select_part(state))
    network.load_state_dict(strict_state(network.state_dict(), found, only="backbone."), strict=False)
