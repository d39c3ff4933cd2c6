"""Everything random in a QuadMix iteration, as values: drawn here from a generator, or given to replay an iteration.

Source: UDASS specification, image 2.5, 2.6, video 5.4 and 5.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nolabel.data.mixing import first_present, listed_classes, present_classes, random_half
from nolabel.errors import ConfigError
from nolabel.labels import VOID
from nolabel.methods.quadmix.mixing_config import QuadMixConfig, WindowConfig

__all__ = [
    "Draws",
    "PatchDraw",
    "Plan",
    "choose_mixed_classes",
    "choose_source_classes",
    "choose_target_classes",
    "class_keys",
    "draw_windows",
    "positions_of",
]


class PatchDraw(NamedTuple):
    """Where a patch comes from: position of the frame in the bank, first row and column of the window."""

    frame: int
    top: int
    left: int


@dataclass(frozen=True)
class Plan:
    """What does not depend on the templates and can so be drawn, and read, ahead of time.

    Attributes:
        window: (B, 2) int64 on the CPU, first row and column of each sample's window of the source; None without one.
        rare_classes: n classes in the order of pasting.
        patches: K * B * n patches: composite by composite (K = 1 where they share them), sample by sample, class by
            class.
    """

    window: Tensor | None = None
    rare_classes: tuple[int, ...] = ()
    patches: tuple[PatchDraw, ...] = ()


@dataclass(frozen=True)
class Draws:
    """All draws of an iteration.

    Attributes:
        source_classes: (B, 256) bool, of the source template.
        target_classes: (B, 256) bool, of the target template: of the one to paste, or of the one to keep, see
            :attr:`QuadMixConfig.target_drawn`.
        plan: the rest.
    """

    source_classes: Tensor
    target_classes: Tensor
    plan: Plan = Plan()


def class_keys(generator: torch.Generator, batch: int) -> Tensor:
    """Return random keys (2, B, 256) on the generator's device: the ids with the smallest ones are drawn."""
    return torch.rand(2, batch, 256, generator=generator, device=generator.device)


def choose_source_classes(
    labels: Tensor, keys: Tensor, number: int, *, reference_compat: bool = False
) -> Tensor:
    """Choose the classes of the source template.

    Args:
        labels: (B, H, W), of the current frame.
        keys: (B, 256), smallest first.
        number: how many, if so many are there.
        reference_compat: void (255) is drawn like a class.

    Returns:
        (B, 256) bool.
    """
    present = present_classes(labels)
    if not reference_compat:
        present = _without_void(present)
    return _choose(present, keys, number)


def choose_target_classes(
    labels: Tensor,
    keys: Tensor,
    number: int,
    excluded: Tensor,
) -> Tensor:
    """Choose the classes of the target template among those that are not pasted from the source already.

    Args:
        labels: (B, H, W) pseudo labels of the current frame.
        keys: (B, 256), smallest first.
        number: how many; fewer where fewer are left.
        excluded: (B, 256) bool: the classes chosen from the source, or (as executed for images) their
            :func:`positions_of`.

    Returns:
        (B, 256) bool.
    """
    return _choose(_without_void(present_classes(labels)) & ~excluded, keys, number)


def positions_of(classes: Tensor, labels: Tensor) -> Tensor:
    """Return (B, 256) bool: at which places chosen classes (B, 256) stand in the ascending list of those present."""
    place = present_classes(labels).long().cumsum(1) - 1
    spare = classes.shape[1]
    table = classes.new_zeros(len(classes), spare + 1)
    return table.scatter_(1, torch.where(classes, place, spare), True)[:, :spare]


def choose_mixed_classes(labels: Tensor, keys: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Choose a random half of the source classes, rounded up: the ClassMix of DACS, used until QuadMix starts.

    Args:
        labels: (B, H, W) of the source images, void counts as a class.
        keys: (B, 256) random numbers; the largest are chosen.
        reference_compat: draw for each image from the classes of the whole batch, so that chosen ones may be absent.

    Returns:
        (B, 256) bool.
    """
    present = present_classes(labels)
    if reference_compat:
        present = present.any(0, keepdim=True).expand_as(present)
    return random_half(present, keys)


def draw_windows(
    generator: torch.Generator, batch: int, size: tuple[int, int], window: WindowConfig
) -> Tensor:
    """Draw (B, 2) first rows and columns of windows in frames of a size (height, width).

    Raises:
        ConfigError: no window fits into the frames.
    """
    corners = []
    for length, cut, limits in zip(size, window.size, (window.rows, window.columns), strict=True):
        low, high = limits or (0, length - cut)
        high = min(high, length - cut)
        if high < low:
            raise ConfigError(
                f"a window of {window.size[0]}x{window.size[1]} that starts at {low} or later does not fit into "
                f"frames of {size[0]}x{size[1]}",
                hint="make the window smaller or the frames larger",
            )
        corners.append(torch.randint(low, high + 1, (batch,), generator=generator))
    return torch.stack(corners, 1)


def source_table(classes: Tensor, config: QuadMixConfig) -> Tensor:
    """Return the drawn classes (B, 256) with the rare ones where these are always pasted."""
    if not config.always_rare or config.rare is None:
        return classes
    return classes | listed_classes(config.rare.classes, len(classes)).to(classes.device)


def _choose(present: Tensor, keys: Tensor, number: int) -> Tensor:
    count = torch.full((len(present),), number, device=present.device)
    return first_present(present, keys.to(present.device), count)


def _without_void(present: Tensor) -> Tensor:
    kept = torch.ones_like(present)
    kept[:, VOID] = False
    return present & kept
