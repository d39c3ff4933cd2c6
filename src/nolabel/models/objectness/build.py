"""Objectness and existence networks by name, with random weights."""

from __future__ import annotations

import dataclasses
from typing import Any

from nolabel.errors import ConfigError
from nolabel.models.objectness.contract import ExistenceModule, ObjectnessModule
from nolabel.models.objectness.existence import ResNetExistence, SmallExistence, TinyExistence
from nolabel.models.objectness.network import DPT_SIZES, DptObjectness
from nolabel.models.objectness.small import SmallObjectness

__all__ = ["build_existence", "build_objectness"]


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
