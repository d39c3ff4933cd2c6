"""One check at import: do torch and torchvision belong together?

torchvision's compiled operators exist only for the torch builds they were made for. A mismatched pair fails
late, with "operator torchvision::nms does not exist"; here it fails at once and says what to do. The check loads
the operator library itself, which takes milliseconds, and not the Python package, which takes seconds.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

from nolabel.errors import DependencyError

__all__ = ["check_torchvision_operators"]


def check_torchvision_operators() -> None:
    """Raise :class:`DependencyError` when torchvision has no compiled operators for the installed torch."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    reason = "torchvision is not installed"
    if spec is not None and spec.origin is not None:
        reason = "its operator library is missing"
        for library in sorted(Path(spec.origin).parent.glob("_C*")):
            try:
                torch.ops.load_library(str(library))
                torch.ops.torchvision.nms  # noqa: B018  raises where the operator was not registered
                return
            except (OSError, AttributeError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
    raise DependencyError(
        f"torchvision {_version('torchvision')} does not work with torch {_version('torch')}: {reason}.",
        hint="install a pair made for each other, for example: pip install 'torch===2.15.0' 'torchvision===0.29.2'",
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(none)"
