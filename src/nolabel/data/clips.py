"""From frames to pairs: numbering, runs without gaps, and names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

__all__ = ["frame_number", "frame_step", "pairs_in", "runs"]

Item = TypeVar("Item")


def frame_number(stem: str) -> int | None:
    """Return the last number of a file name without suffix: ``000043_07`` -> 7; None without a digit."""
    digits = re.findall(r"\d+", stem)
    return int(digits[-1]) if digits else None


def frame_step(numbers: Sequence[int]) -> int:
    """Return the most common difference of a clip's frame numbers (1 for a clip of one frame)."""
    steps = Counter(after - before for before, after in pairwise(numbers))
    return min(steps, key=lambda step: (-steps[step], step)) if steps else 1


def runs(items: Sequence[Item], numbers: Sequence[int | None]) -> list[list[Item]]:
    """Cut a sorted clip wherever frames are missing, so that no pair bridges a gap.

    A clip that keeps every n-th frame throughout has no gaps. Frames without a number are taken as they come.
    """
    known = [number for number in numbers if number is not None]
    if not items or len(known) < len(numbers):
        return [list(items)] if items else []
    step = frame_step(known)
    pieces = [[items[0]]]
    for (before, after), item in zip(pairwise(known), items[1:], strict=True):
        if after - before == step:
            pieces[-1].append(item)
        else:
            pieces.append([item])
    return pieces


def pairs_in(frames: Sequence[Item], stride: int) -> list[tuple[Item, Item]]:
    """Return (i, i + stride) for every i of a piece."""
    return list(zip(frames, frames[stride:], strict=False))
