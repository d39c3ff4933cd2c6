"""Feature extractors with their weights, and what a pretrained one is on disk.

A pretrained network is ``model.safetensors``: tensors, and a card with its architecture and options. Matrices may be kept in
float16; they are computed in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nolabel.engine.seeding import preserved_random_state, seed_everything
from nolabel.engine.segmentor_file import MODEL_FILE, model_path
from nolabel.errors import ConfigError, WeightsError
from nolabel.models.features import (
    DenseDescriptors,
    DescribedFeatures,
    FeatureExtractor,
    build_backbone,
    build_features,
)
from nolabel.weights import find_weights, load_checkpoint, save_safetensors
from nolabel.weights.layouts import dino
from nolabel.weights.packaged import embedded_file
from nolabel.weights.strict import strict_state

__all__ = ["PACKAGED", "features_file", "load_features", "open_features", "pretrained_card", "save_features"]

CARD_KIND = "features"
PACKAGED = ("embedded", "descriptors")
"""Names of what needs no file."""


def open_features(
    name: str,
    device: torch.device | str = "cpu",
    weights: str | Path | None = None,
    *,
    scale: float = 1.0,
    random_seed: int | None = None,
    place: bool = True,
    bare: bool = False,
) -> FeatureExtractor:
    """Build a feature extractor with its weights, in evaluation mode and without gradients.

    Args:
        name: ``embedded`` (the network that the package carries, with the descriptors beside it), ``descriptors``
            (colour, contrast, place, geometry; no weights), ``learnt`` (what ``weights`` of ``nolabel pretrain features``
            are) or the run folder or file itself, ``dino``, or any timm model.
        device: where it runs.
        weights: of ``learnt``, ``dino`` and timm models.
        scale: for timm models: images are resized by this first.
        random_seed: give the network random weights drawn from this seed instead of its own: what the trained ones are
            to be compared with.
        place: let the row of the picture count among descriptors.
        bare: the network of ``embedded`` or ``learnt`` alone, without the descriptors that its card wants beside it.

    Raises:
        ConfigError: there is no such extractor, it has no weights to be random, or ``learnt`` none at all.
        WeightsError: weights are missing or do not fit.
    """
    if name == "embedded" and weights is None:
        name = str(embedded_file("features"))
    if name == "descriptors":
        if random_seed is not None:
            raise ConfigError("descriptors have no weights to be random", hint="leave --random out")
        return DenseDescriptors(**({} if place else {"place": 0.0})).eval().to(device)
    if name == "learnt":
        if weights is None:
            raise ConfigError(
                "the features learnt need weights",
                hint="give the run folder or file of nolabel pretrain features",
            )
        name = str(weights)
    if Path(name).exists():
        return load_features(name, device=device, random_seed=random_seed, place=place, bare=bare)
    if random_seed is not None:
        return _finished(_random(name, {"scale": scale} if scale != 1 else {}, random_seed), device)
    state = None if weights is None else dino.to_network(load_checkpoint(find_weights(weights)).state_dict)
    return build_features(name, state, device, scale)


def features_file(name: str, weights: str | Path | None) -> Path | None:
    """Return the file that the features of a name and weights are read from (:func:`open_features`); None: from none.

    Raises:
        WeightsError: there is no such file.
    """
    if name == "embedded" and weights is None:
        return embedded_file("features")
    if weights is None:
        return None
    return model_path(weights) if name == "learnt" else find_weights(weights)


def pretrained_card(name: str, weights: str | Path | None) -> dict[str, Any] | None:
    """Return what rebuilds a network of ``nolabel pretrain features``; None for features of other kinds.

    Returns:
        ``architecture``, ``options`` and ``described`` (:func:`save_features`).
    """
    file = features_file(name, weights) if name in ("embedded", "learnt") else None
    if file is None:
        return None
    card = load_checkpoint(file).metadata
    return {
        "architecture": card["architecture"],
        "options": card["options"],
        "described": card.get("described", 0.0),
    }


def save_features(
    network: FeatureExtractor,
    path: str | Path,
    architecture: str,
    options: Mapping[str, Any],
    *,
    described: float = 0.0,
    store: Literal["float32", "float16"] = "float32",
    **facts: Any,
) -> Path:
    """Write a network and its card, whole or not at all.

    Args:
        network: the network.
        path: the file.
        architecture, options: as in :func:`nolabel.models.features.build_backbone`.
        described: how much the features are to count with the descriptors beside them
            (:class:`~nolabel.models.features.DescribedFeatures`); 0: without descriptors.
        store: of matrices and kernels; vectors (biases, statistics) are always exact.
        facts: more entries of the card, JSON values.
    """
    state = network.state_dict()
    if store == "float16":
        state = {n: v.half() if v.ndim >= 2 and v.is_floating_point() else v for n, v in state.items()}
    card = {
        **facts,
        "kind": CARD_KIND,
        "architecture": architecture,
        "options": dict(options),
        "described": described,
    }
    return save_safetensors(path, state, card)


def load_features(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    random_seed: int | None = None,
    place: bool = True,
    bare: bool = False,
) -> FeatureExtractor:
    """Load a pretrained network, in evaluation mode and without gradients.

    Args:
        path: run folder of ``nolabel pretrain features``, or its ``model.safetensors``.
        device: where it goes.
        random_seed: keep random weights of this seed.
        place: let the row of the picture count among the descriptors, where the card wants these beside the network.
        bare: the network alone, whatever the card says.

    Raises:
        WeightsError: no such file, no pretrained network, or tensors that do not fit.
    """
    path = Path(path)
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        raise WeightsError(
            f"{path} holds no {MODEL_FILE}: its training has not finished.",
            hint="continue it with the same command",
        )
    checkpoint = load_checkpoint(file)
    card = checkpoint.metadata
    if card.get("kind") != CARD_KIND:
        raise WeightsError(
            f"{file} holds no pretrained features" + (f" but: {card['kind']}" if "kind" in card else ""),
            hint="give a run folder of `nolabel pretrain features`, or name a timm model and --weights",
        )
    network = _random(card["architecture"], card["options"], random_seed or 0)
    if random_seed is None:
        state: dict[str, Tensor] = {
            name: value.float() if value.is_floating_point() else value
            for name, value in checkpoint.state_dict.items()
        }
        network.load_state_dict(strict_state(network.state_dict(), state))
    if not bare and card.get("described", 0.0) > 0:
        network = DescribedFeatures(network, card["described"], float(place))
    return _finished(network, device)


def _random(architecture: str, options: Mapping[str, Any], seed: int) -> FeatureExtractor:
    with preserved_random_state():
        seed_everything(seed)
        return build_backbone(architecture, options)


def _finished(network: FeatureExtractor, device: torch.device | str) -> FeatureExtractor:
    return network.eval().requires_grad_(False).to(device)
