"""Giving freed memory back to the system.

Steps that work on boxes allocate tensors of ever other sizes. The C library keeps what is freed in pieces for later
use, and a training that needs 300 MB beside its weights grows by a gigabyte within some hundred steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

__all__ = ["release_free_memory"]


def release_free_memory() -> None:
    """Hand the pages that hold nothing back to the system; takes some 25 ms, and does nothing without the GNU C library."""
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return trim
