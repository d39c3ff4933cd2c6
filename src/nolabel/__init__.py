"""Scene understanding without human labels on the data at hand.

``nolabel.load(system, weights=...)`` returns a model that takes images and gives results; every stage behind it
is a function below :mod:`nolabel.methods` and a command of ``nolabel``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nolabel._environment import check_torchvision_operators

if TYPE_CHECKING:
    from nolabel.api import Pipeline, evaluate, load

__all__ = ["Pipeline", "__version__", "evaluate", "load"]
__version__ = "0.1.0"

check_torchvision_operators()


def __getattr__(name: str) -> Any:
    """Import the public API on first use, so that ``import nolabel`` stays quick."""
    if name in {"evaluate", "load", "Pipeline"}:
        from nolabel import api

        return getattr(api, name)
    raise AttributeError(f"module 'nolabel' has no attribute {name!r}")
