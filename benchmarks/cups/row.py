"""What a row of the benchmark table is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], Any]
"""One repetition of what is timed; what it returns is described by the row's ``note``."""


@dataclass(frozen=True)
class Bench:
    """Where a row is measured.

    Attributes:
        device: of networks and tensors.
        scenes: folder of the prepared scenes (:mod:`benchmarks.cups.scene`).
    """

    device: str
    scenes: Path


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: how ``--rows`` calls it.
        title: what is done, with its size.
        prepare: builds networks and inputs (not timed) and returns the work (timed).
        original: CPU seconds of the original on one thread, None where unknown.
        extrapolated: whether ``original`` was worked out from smaller sizes, not measured.
        accelerated: whether it may run on an accelerator.
        scene: (height, width) of the scene it reads, None if it needs none.
        note: says in a few words what the work returned.
        large: measured only if asked for: it takes many minutes or gigabytes.
    """

    name: str
    title: str
    prepare: Callable[[Bench], Work]
    original: float | None = None
    extrapolated: bool = False
    accelerated: bool = True
    scene: tuple[int, int] | None = None
    note: Callable[[Any], str] | None = None
    large: bool = False
