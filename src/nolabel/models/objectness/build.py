"""Objectness and existence networks by name, empty or from the tensors of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nolabel.errors import ConfigError
from nolabel.models.objectness.contract import ExistenceModule, ObjectnessModule
from nolabel.models.objectness.existence import ResNetExistence, SmallExistence, TinyExistence
from nolabel.models.objectness.network import DPT_SIZES, DptObjectness
from nolabel.models.objectness.small import SmallObjectness
from nolabel.weights.layouts import unmore_existence, unmore_objectness
from nolabel.weights.strict import strict_state

__all__ = ["build_existence", "build_objectness", "existence_from", "objectness_from"]

Network = TypeVar("Network", bound=nn.Module)


def build_objectness(architecture: str = "dpt_large", **options: Any) -> ObjectnessModule:
    """Build an objectness network with random weights.

    Args:
        architecture: ``dpt_large`` (published), ``dpt_base``, ``dpt_small``, ``tiny``, or a convolutional backbone of
            timm.
        options: fields of :class:`DptConfig` (``boundary="sine"``), or options of :class:`SmallObjectness`.

    Raises:
        ConfigError: no such architecture or option.
    """
    try:
        if architecture in DPT_SIZES:
            sizes: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}
            return DptObjectness(dataclasses.replace(DPT_SIZES[architecture], **sizes))
        return SmallObjectness(architecture, **options)
    except TypeError as error:
        raise ConfigError(f"{architecture} does not take these options: {error}") from None


def build_existence(architecture: str = "resnet50") -> ExistenceModule:
    """Build an existence network with random weights.

    Args:
        architecture: ``resnet50`` (published), ``tiny``, or any classifier of timm.

    Raises:
        ConfigError: no such architecture.
    """
    if architecture == "resnet50":
        return ResNetExistence()
    return TinyExistence() if architecture == "tiny" else SmallExistence(architecture)


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


def _filled(network: Network, state: Mapping[str, Tensor]) -> Network:
    expected = network.state_dict()
    missing_counters = {  # the strict check fills these in, but on the device of what is expected
        name: torch.zeros((), dtype=torch.long) for name in expected if name.endswith("num_batches_tracked")
    }
    network.load_state_dict(strict_state(expected, {**missing_counters, **state}), assign=True)
    return network.eval()
