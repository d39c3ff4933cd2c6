"""The packaged recipes: YAML files of published settings, found by name (``cups/tiny``), not by search."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

__all__ = ["recipe_names", "recipe_path"]


def _folder() -> Path:
    return Path(str(resources.files(__name__)))


def recipe_names() -> list[str]:
    """Return the names of all packaged recipes, sorted: ``cups/tiny`` for ``recipes/cups/tiny.yaml``."""
    folder = _folder()
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def recipe_path(name: str) -> Path:
    """Return the file of a packaged recipe; the name must be one of :func:`recipe_names`."""
    return _folder() / f"{name}.yaml"
