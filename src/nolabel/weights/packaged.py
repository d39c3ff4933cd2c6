"""Weights that the package carries."""

from __future__ import annotations

from pathlib import Path

__all__ = ["embedded_file"]

_FOLDER = Path(__file__).parent / "embedded"


def embedded_file(name: str) -> Path | None:
    """Return the weights file of a system or part (``cups``, ``features``, ``motion``); None where the package has none."""
    path = _FOLDER / f"{name}.safetensors"
    return path if path.is_file() else None
