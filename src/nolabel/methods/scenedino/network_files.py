"""What SceneDINO networks are on disk, and what their trainings start from.

A trained network is ``model.safetensors`` in its run folder: tensors, and a card with all sizes. Official checkpoints
(flat or nested) need no card: their sizes are read off the tensors. Nothing is downloaded. Source: SceneDINO
specification, 9.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.engine.segmentor_file import model_path
from nolabel.errors import WeightsError
from nolabel.models.features.vit_maps import VitMaps, vit_maps_config
from nolabel.models.scenedino import HeadConfig, SceneDino, SceneDinoConfig
from nolabel.weights import find_weights, load_checkpoint, save_safetensors
from nolabel.weights.layouts import dino, scenedino
from nolabel.weights.strict import strict_state

__all__ = [
    "KIND",
    "find_network",
    "load_scenedino",
    "official_config",
    "save_scenedino",
    "scenedino_from",
    "start_transformers",
]

KIND = "scenedino"


def find_network(path: str | Path) -> Path:
    """Return the file behind a run folder, a file, or a registered name.

    Raises:
        WeightsError: there is none.
    """
    return model_path(path) if Path(path).exists() else find_weights(path)


def load_scenedino(
    path: str | Path,
    *,
    image_size: tuple[int, int] | None = None,
    targets: bool = False,
    device: torch.device | str = "cpu",
) -> SceneDino:
    """Load a network, in evaluation mode.

    Args:
        path: run folder of ``train`` or ``distill``, its ``model.safetensors``, an official checkpoint (or what ``nolabel
            convert`` made of it), or a registered name.
        image_size: of an official checkpoint made for other images than those of 192 x 640 that does not tell.
        targets: keep the frozen transformer that gives the targets; only training and feature scores need it.
        device: where it goes.

    Raises:
        WeightsError: no such file, another kind of network, or tensors that do not fit.
    """
    file = find_network(path)
    checkpoint = load_checkpoint(file)
    card, state = checkpoint.metadata, checkpoint.state_dict
    config = SceneDinoConfig.from_card(card["network"]) if card.get("kind") == KIND else None
    if config is None and not scenedino.is_official(state):
        found = card.get("kind")
        raise WeightsError(
            f"{file} is no SceneDINO network" + (f" but one for {found}" if found else ""),
            hint="give the run folder of `nolabel scenedino train`, or an official checkpoint.pt",
        )
    return scenedino_from(state, config, image_size=image_size, targets=targets).to(device)


def save_scenedino(network: SceneDino, path: Path, **facts: Any) -> Path:
    """Write tensors and card, whole or not at all.

    Args:
        network: the network.
        path: the file.
        facts: more entries of the card, JSON values.
    """
    card = {**facts, "kind": KIND, "network": network.config.to_card()}
    return save_safetensors(path, network.state_dict(), card)


def scenedino_from(
    state: Mapping[str, Tensor],
    config: SceneDinoConfig | None = None,
    *,
    image_size: tuple[int, int] | None = None,
    targets: bool = False,
) -> SceneDino:
    """Build a network with the tensors of an official checkpoint, or with tensors by our names.

    Args:
        state: names and tensors.
        config: sizes; needed for tensors by our names.
        image_size: see :func:`load_scenedino`.
        targets: see :func:`load_scenedino`.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape.
    """
    if config is None:
        config = official_config(state, image_size)
    if scenedino.is_official(state):
        state = scenedino.to_network(state)
    if not targets and not isinstance(config.target, str):
        state = {name: value for name, value in state.items() if not name.startswith("target.")}
        config = dataclasses.replace(config, target=None)
    network = SceneDino(config)
    network.load_state_dict(strict_state(network.state_dict(), state))
    return network.eval()


def official_config(
    state: Mapping[str, Tensor], image_size: tuple[int, int] | None = None
) -> SceneDinoConfig:
    """Read the sizes of an official network off the shapes of its tensors.

    Args:
        state: official names.
        image_size: rows and columns of the images it is made for, where the file holds no artifact field to tell.

    Raises:
        WeightsError: this is no such network, or its size cannot be told.
    """
    named = scenedino.to_network(state)
    frequencies, factor = scenedino.code_sizes(state)
    try:
        artifacts = named.get("artifacts")
        patch = named["encoder.vit.vit.patch_embed.proj.weight"].shape[-1]
        stride = 16 if patch == 14 else patch
        grid = None if image_size is None else (image_size[0] // stride, image_size[1] // stride)
        if artifacts is not None:
            grid = (artifacts.shape[1], artifacts.shape[2])
        target = None
        if "target.vit.pos_embed" in named:
            target = vit_maps_config(named, "target.vit.", grid, taps=())
        widths = [named[f"encoder.decoder.reassemble.{level}.0.weight"].shape[0] for level in range(4)]
        expansion = named["expansion.first.weight"]
        head = None
        if "semantic_head.code.linear.weight" in named:
            head = HeadConfig(
                code=named["semantic_head.code.linear.weight"].shape[0],
                clusters=named["semantic_head.code_clusters.centres"].shape[0],
                classes=named["semantic_head.code_probe.weight"].shape[0],
            )
        return SceneDinoConfig(
            vit=vit_maps_config(named, "encoder.vit.vit.", grid),
            target=target,
            channels=named["expansion.last.weight"].shape[0],
            stride=stride,
            reassembled=(widths[0], widths[1], widths[2], widths[3]),
            decoded=named["encoder.decoder.smooth.bias"].shape[0],
            compact=expansion.shape[1],
            hidden=named["point_decoder.first.bias"].shape[0],
            frequencies=frequencies,
            factor=factor,
            expansion_hidden=expansion.shape[0],
            downsampler="salience" if "downsampler.weight" in named else "bilinear",
            artifacts=artifacts is not None,
            head=head,
        )
    except KeyError as error:
        raise WeightsError(
            f"the SceneDINO network has no {error.args[0]}", hint="was the checkpoint cut off?"
        ) from None


def start_transformers(network: SceneDino, path: str | Path) -> None:
    """Give the trainable transformer, and the frozen one of its own if there is one, the weights of a DINO file.

    Position tables are resampled to the network's image size.

    Args:
        network: to be trained.
        path: official DINO or DINOv2 file, or a registered name.

    Raises:
        WeightsError: no such file, or another kind or size of transformer.
    """
    file = find_network(path)
    state = dino.to_network(load_checkpoint(file).state_dict)
    for part in (network.encoder.vit, network.target):
        if isinstance(part, VitMaps):
            part.vit.load_state_dict(strict_state(part.vit.state_dict(), part.adapted(state)))
