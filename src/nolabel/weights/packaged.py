"""Weights that the package carries."""

from __future__ import annotations

from pathlib import Path

from nolabel.errors import WeightsError

__all__ = ["embedded_file"]

_FOLDER = Path(__file__).parent / "embedded"


def embedded_file(name: str) -> Path:
    """Return the weights file of a system or part (``cups``, ``features``, ``motion``).

    Raises:
        WeightsError: the package has none.
    """
    path = _FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(
            f"no weights for {name} are embedded in this installation: {path} is missing",
            hint="install nolabel anew if it should be there, or give weights",
        )
    return path
