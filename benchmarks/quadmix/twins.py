"""Our way beside a plain twin of the original's way, measured in turn in one process."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

Way = Callable[[], object]


def seconds_of(way: Way, device: str) -> float:
    """Return the CPU seconds of one call (wall seconds on a GPU)."""
    if device == "cpu":
        start = time.process_time()
        way()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    way()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def ratio(own: Way, original: Way, device: str) -> tuple[float, float]:
    """Return the seconds of both."""
    return seconds_of(own, device), seconds_of(original, device)


def times_faster(seconds: tuple[float, float]) -> str:
    """Say how the two compare."""
    own, original = seconds
    return f"{original / own:.1f} times faster: {1000 * own:.0f} against {1000 * original:.0f} ms"
