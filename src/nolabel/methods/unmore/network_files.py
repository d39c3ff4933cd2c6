"""What objectness and existence networks are on disk, and what their trainings start from.

A trained network is ``model.safetensors`` in its run folder: tensors, and a card with architecture and options. Official
checkpoints (``objectness_net_model.ckpt``, 378 tensors; ``classifier_model.ckpt``, 322) need no card. Nothing is
downloaded. Source: unMORE specification, 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from nolabel.engine.segmentor_file import model_path
from nolabel.errors import ConfigError, WeightsError
from nolabel.models.objectness import (
    DptObjectness,
    ExistenceModule,
    InputStatistics,
    ObjectnessModule,
    ResNetExistence,
    adapt_transformer,
    build_existence,
    build_objectness,
)
from nolabel.weights import find_weights, load_checkpoint, save_safetensors
from nolabel.weights.layouts import dino, unmore_existence, unmore_objectness
from nolabel.weights.strict import strict_state

__all__ = [
    "existence_from",
    "find_network",
    "load_existence",
    "load_objectness",
    "objectness_from",
    "save_network",
    "start_existence",
    "start_objectness",
]

Kind = Literal["objectness", "existence"]
Network = TypeVar("Network", bound=nn.Module)


def find_network(path: str | Path) -> Path:
    """Return the file behind a run folder, a file, or a registered name.

    Raises:
        WeightsError: there is none.
    """
    return model_path(path) if Path(path).exists() else find_weights(path)


def load_objectness(
    path: str | Path, *, options: Mapping[str, Any] | None = None, device: torch.device | str = "cpu"
) -> ObjectnessModule:
    """Load an objectness network, in evaluation mode.

    Args:
        path: run folder of ``train-objectness``, its ``model.safetensors``, an official checkpoint (or what ``nolabel
            convert`` made of it), or the registered name ``unmore_objectness``.
        options: of an official checkpoint: ``{"boundary": "sine"}`` where its boundary head does not end in tanh.
        device: where it goes.

    Raises:
        WeightsError: no such file, another kind of network, or tensors that do not fit.
    """
    state, architecture, own = _read(path, "objectness", "dpt_large")
    return objectness_from(state, architecture, {**own, **(options or {})}).to(device)


def load_existence(path: str | Path, *, device: torch.device | str = "cpu") -> ExistenceModule:
    """Load an existence network, in evaluation mode.

    Args:
        path: run folder of ``train-existence``, its ``model.safetensors``, an official checkpoint, or the registered name
            ``unmore_existence``.
        device: where it goes.

    Raises:
        WeightsError: no such file, another kind of network, or tensors that do not fit.
    """
    state, architecture, _ = _read(path, "existence", "resnet50")
    return existence_from(state, architecture).to(device)


def save_network(
    network: nn.Module, path: Path, kind: Kind, architecture: str, options: Mapping[str, Any], **facts: Any
) -> Path:
    """Write tensors and card, whole or not at all.

    Args:
        network: the network.
        path: the file.
        kind: what it is.
        architecture, options: as in :func:`~nolabel.models.objectness.build_objectness`.
        facts: more entries of the card, JSON values.
    """
    card = {**facts, "kind": kind, "architecture": architecture, "options": dict(options)}
    return save_safetensors(path, network.state_dict(), card)


def objectness_from(
    state: Mapping[str, Tensor], architecture: str = "dpt_large", options: Mapping[str, Any] | None = None
) -> ObjectnessModule:
    """Build an objectness network with the tensors of an official checkpoint, or with tensors by our names.

    Official files tell by themselves whether the boundary head has ReLUs; the last activation of the others is
    ``options["boundary"]``, tanh by default.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    options = dict(options or {})
    if unmore_objectness.is_official(state):
        if unmore_objectness.is_rectified(state):
            options["boundary"] = "relu"
        state = unmore_objectness.to_network(state)
    with torch.device("meta"):  # 350 million random numbers less
        network = build_objectness(architecture, **options)
    return _filled(network, state)


def existence_from(state: Mapping[str, Tensor], architecture: str = "resnet50") -> ExistenceModule:
    """Build an existence network with the tensors of an official checkpoint, or with tensors by our names.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    if unmore_existence.is_official(state):
        state = unmore_existence.to_network(state)
    with torch.device("meta"):
        network = build_existence(architecture)
    return _filled(network, state)


def start_objectness(
    architecture: str,
    options: Mapping[str, Any],
    initial: str | Path | None = None,
    inputs: InputStatistics = "imagenet",
) -> ObjectnessModule:
    """Build the network that a training starts from.

    Args:
        architecture, options: as in :func:`~nolabel.models.objectness.build_objectness`.
        initial: None for random weights, or a file: a whole objectness network (ours or official), or for a DPT a vision
            transformer of its width and depth (official DINO or DINOv2 file, state of a plain ViT of timm). The original
            starts from one that was trained with ImageNet's labels.
        inputs: what images the transformer of the file was trained on.

    Raises:
        WeightsError: the file does not fit.
        ConfigError: the architecture has no transformer.
    """
    if initial is None:
        return build_objectness(architecture, **options)
    checkpoint = load_checkpoint(model_path(initial))
    state = checkpoint.state_dict
    if unmore_objectness.is_official(state) or checkpoint.metadata.get("kind") == "objectness":
        return objectness_from(state, architecture, options).train()
    network = build_objectness(architecture, **options)
    if not isinstance(network, DptObjectness):
        raise ConfigError(
            f"{architecture} has no vision transformer to start from {initial}",
            hint="take dpt_large, dpt_base or dpt_small, or leave network.initial out",
        )
    config = network.config
    adapted = adapt_transformer(
        dino.to_network(state), patch=config.patch, positions=config.positions, inputs=inputs
    )
    network.vit.load_state_dict(strict_state(network.vit.state_dict(), adapted))
    return network


def start_existence(architecture: str, initial: str | Path | None = None) -> ExistenceModule:
    """Build the existence network that a training starts from.

    Args:
        architecture: as in :func:`~nolabel.models.objectness.build_existence`.
        initial: None for random weights (as published), or a file: a whole existence network (ours or official), or for
            ``resnet50`` a ResNet-50 in torchvision's or detectron2's layout.

    Raises:
        WeightsError: the file does not fit.
        ConfigError: the architecture starts from no such file.
    """
    if initial is None:
        return build_existence(architecture)
    checkpoint = load_checkpoint(model_path(initial))
    state = checkpoint.state_dict
    if unmore_existence.is_official(state) or checkpoint.metadata.get("kind") == "existence":
        return existence_from(state, architecture).train()
    network = build_existence(architecture)
    if not isinstance(network, ResNetExistence):
        raise ConfigError(
            f"{architecture} has no ResNet-50 to start from {initial}",
            hint="take resnet50, or leave network.initial out",
        )
    found = unmore_existence.backbone_state(state)
    complete = strict_state(network.state_dict(), found, only="backbone.")
    network.load_state_dict(complete, strict=False)
    return network


def _read(path: str | Path, kind: Kind, published: str) -> tuple[dict[str, Tensor], str, dict[str, Any]]:
    """Return tensors, architecture and options of a file."""
    file = find_network(path)
    checkpoint = load_checkpoint(file)
    card, state = checkpoint.metadata, checkpoint.state_dict
    if card.get("kind") == kind:
        return state, card["architecture"], dict(card["options"])
    layout = unmore_objectness if kind == "objectness" else unmore_existence
    if not layout.is_official(state):
        found = card.get("kind")
        raise WeightsError(
            f"{file} is no {kind} network" + (f" but one for {found}" if found else ""),
            hint=f"give the run folder of `nolabel unmore train-{kind}`, or the official checkpoint",
        )
    return state, published, {}


def _filled(network: Network, state: Mapping[str, Tensor]) -> Network:
    expected = network.state_dict()
    # The strict check fills in missing counters, but where the expected ones are: nowhere.
    counters = {
        name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith("num_batches_tracked")
    }
    network.load_state_dict(strict_state(expected, {**counters, **state}), assign=True)
    return network.eval()
