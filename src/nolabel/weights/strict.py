"""Tensors of a file against what a network expects: everything there, nothing else, every shape right."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nolabel.errors import WeightsError

__all__ = ["strict_state"]


def strict_state(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], *, only: str = ""
) -> dict[str, Tensor]:
    """Check that ``found`` is exactly what a network expects and return it ready for ``load_state_dict``.

    Counters of batch normalisations (``num_batches_tracked``) may be missing, as they are in files written with
    frozen normalisations; they start at 0.

    Args:
        expected: the state dict of the network.
        found: tensors under our names.
        only: check and return tensors with this prefix alone.

    Raises:
        WeightsError: names the missing, the unexpected and the ill-shaped tensors.
    """
    wanted = {name: value for name, value in expected.items() if name.startswith(only)}
    complete = {
        name: torch.zeros_like(value) if name.endswith("num_batches_tracked") else None
        for name, value in wanted.items()
    } | dict(found)
    missing = [name for name in wanted if complete[name] is None]
    unexpected = [name for name in found if name not in wanted]
    misshapen = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape
    ]
    problems = [
        f"{len(names)} {kind}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for kind, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
        if names
    ]
    if problems:
        raise WeightsError(
            f"the tensors do not fit the network; {'; '.join(problems)}",
            hint="was the checkpoint made with other settings, or cut off?",
        )
    return {name: value for name, value in complete.items() if value is not None}
