"""From frames to pairs: which frames belong to one clip, and where frames are missing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

__all__ = ["clips_of", "frame_step", "is_gap", "pairs_in", "runs"]

Item = TypeVar("Item")

_LAST_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$")


def clips_of(stems: Sequence[str]) -> list[tuple[str, list[int], list[int | None]]]:
    """Group the frames of one folder into clips by the text before their last number: ``a_00, a_01, b_00``.

    Where nearly every frame has its own text (time stamps), the folder is one clip.

    Args:
        stems: file names without suffix, sorted.

    Returns:
        (clip's text, positions in ``stems``, last numbers or None) for each clip, in order.
    """
    parts = [
        (match[1], int(match[2])) if (match := _LAST_NUMBER.match(stem)) else ("", None) for stem in stems
    ]
    one_clip = 2 * len({prefix for prefix, _ in parts}) > len(parts)
    clips: dict[str, list[int]] = defaultdict(list)
    for position, (prefix, _) in enumerate(parts):
        clips["" if one_clip else prefix].append(position)
    return [(prefix, places, [parts[place][1] for place in places]) for prefix, places in clips.items()]


def frame_step(numbers: Sequence[int | None]) -> int | None:
    """Return the usual difference of a clip's frame numbers; None where some have no number or none follow.

    It is the most common difference, or the median one where hardly any two are equal (time stamps).
    """
    known = [number for number in numbers if number is not None]
    steps = sorted(after - before for before, after in pairwise(known) if after > before)
    if len(known) < len(numbers) or not steps:
        return None
    counts = Counter(steps)
    step = min(counts, key=lambda value: (-counts[value], value))
    counting = steps[0] == 1 or 4 * counts[step] >= len(steps)
    return step if counting else steps[(len(steps) - 1) // 2]


def is_gap(before: int, after: int, step: int) -> bool:
    """Whether frames are missing between two numbers; half a step of jitter (time stamps) is none."""
    return not 0 < after - before <= 1.5 * step


def runs(items: Sequence[Item], numbers: Sequence[int | None]) -> list[list[Item]]:
    """Cut a sorted clip wherever frames are missing, so that no pair bridges a gap.

    A clip that keeps every n-th frame throughout has no gaps. Without numbers frames are taken as they come.
    """
    step = frame_step(numbers)
    if step is None:
        return [list(items)] if items else []
    known = [number for number in numbers if number is not None]
    pieces = [[items[0]]]
    for (before, after), item in zip(pairwise(known), items[1:], strict=True):
        if is_gap(before, after, step):
            pieces.append([item])
        else:
            pieces[-1].append(item)
    return pieces


def pairs_in(frames: Sequence[Item], stride: int) -> list[tuple[Item, Item]]:
    """Return (i, i + stride) for every i of a piece."""
    return list(zip(frames, frames[stride:], strict=False))
