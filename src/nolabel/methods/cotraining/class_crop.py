"""Crops that hold classes one wants to see.

Source: Co-Training specification, 2.4 (class-adaptive crop; off in the published settings).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.config import Config

__all__ = ["ClassCrop", "class_window"]

BORDER, NEIGHBOURHOOD, TRIES = 25, 50, 10


class ClassCrop(Config):
    """Which classes a crop should hold."""

    classes: tuple[int, ...]
    """Ids of the wanted classes."""
    min_pixels: int = 500
    """A crop with more pixels of one of them is good; so many a class needs away from the border to be aimed at."""
    min_neighbours: int = 180
    """Pixels of the class that must lie in the 50x50 square around the pixel aimed at."""


def class_window(
    labels: Tensor,
    corner: tuple[int, int],
    size: tuple[int, int],
    config: ClassCrop,
    generator: torch.Generator,
) -> tuple[int, int]:
    """Return the corner of a window with wanted classes, or the given corner where there are none.

    Args:
        labels: (H, W).
        corner: (top, left) of the window drawn at random.
        size: (height, width) of the window, at most that of the map.
        config: settings.
        generator: source of the draws.
    """
    (top, left), (rows, columns) = corner, size
    height, width = labels.shape
    wanted = labels[None] == torch.tensor(config.classes)[:, None, None]
    if bool((wanted[:, top : top + rows, left : left + columns].sum((1, 2)) > config.min_pixels).any()):
        return corner
    inner = wanted[:, BORDER : height - BORDER, BORDER : width - BORDER]
    usable = (inner.sum((1, 2)) > config.min_pixels).nonzero()[:, 0]
    if not len(usable):
        return corner
    mask = wanted[usable[torch.randint(len(usable), (), generator=generator)]]
    places = mask[BORDER : height - BORDER, BORDER : width - BORDER].nonzero() + BORDER
    tries = places[torch.randint(len(places), (TRIES,), generator=generator)]
    half = NEIGHBOURHOOD // 2
    # Sums over every square at once, from the corners of the summed table.
    table = torch.nn.functional.pad(mask.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    y, x = tries.T
    inside = (
        table[y + half, x + half]
        - table[y - half, x + half]
        - table[y + half, x - half]
        + table[y - half, x - half]
    )
    good = (inside >= config.min_neighbours).nonzero()[:, 0]
    aim = tries[good[0]] if len(good) else tries[-1]
    # Any window that holds the pixel and lies in the image.
    first = (aim - torch.tensor([rows, columns]) + 1).clamp(min=0)
    last = torch.minimum(aim, torch.tensor([height - rows, width - columns]))
    uniform = torch.rand(2, generator=generator)
    chosen = (first + (uniform * (last - first + 1)).long()).tolist()
    return int(chosen[0]), int(chosen[1])
