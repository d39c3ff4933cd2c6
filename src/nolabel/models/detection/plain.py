"""Configurations of networks (frozen dataclasses) from and to plain values, for cards, YAML and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from nolabel.errors import ConfigError

__all__ = ["from_plain"]

Kind = TypeVar("Kind")


def from_plain(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Build a dataclass from ``dataclasses.asdict`` of one (lists may stand for tuples).

    Raises:
        ConfigError: a key that does not exist.
    """
    unknown = set(values) - {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise ConfigError(f"unknown keys of {kind.__name__}: {', '.join(sorted(unknown))}")
    kinds = get_type_hints(kind)
    return kind(**{key: _converted(kinds[key], value) for key, value in values.items()})


def _converted(kind: Any, value: Any) -> Any:
    if isinstance(value, Mapping) and is_dataclass(kind):
        return from_plain(kind, value)  # type: ignore[arg-type]
    return _as_tuple(value)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(entry) for entry in value) if isinstance(value, list | tuple) else value
