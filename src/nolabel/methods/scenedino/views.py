"""Which views are rendered and compared, and which give the colours (SceneDINO specification, 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from nolabel.errors import ConfigError

__all__ = ["ViewSplit", "ViewStrategy", "split_views"]

ViewStrategy = Literal["kitti_360", "alternate", "single_renderer", "single_loss", "stereo"]


@dataclass(frozen=True)
class ViewSplit:
    """Numbers of views.

    Attributes:
        loss: along whose rays the field is rendered.
        render: in which the colours of the rendered points are looked up.
    """

    loss: tuple[int, ...]
    render: tuple[int, ...]


def split_views(
    strategy: ViewStrategy,
    views: int,
    generator: torch.Generator | None = None,
    *,
    reference_compat: bool = False,
) -> ViewSplit:
    """Split the views of a batch.

    Args:
        strategy: ``kitti_360``: of each pair of moments of one camera (2 i, 2 i + 1) one is compared, the other gives
            colours, drawn for each pair. ``alternate``: the same for all pairs at once (video of one camera).
            ``stereo``: one camera of each two, all pairs at once: views 0, 1, 4, 5, ... against 2, 3, 6, 7, ...
            ``single_renderer``: all views are compared, colours come from view 0 (evaluation). ``single_loss``: view 0
            is compared, the others give colours.
        views: how many there are.
        generator: source of the draws.
        reference_compat: the first of the two sides is compared in two of three cases, not in one of two.

    Raises:
        ConfigError: too few views, or a view without partner.
    """
    numbers = range(views)
    if views < 2:
        raise ConfigError(f"{views} view leaves none to compare with", hint="read at least two views")
    if strategy == "single_renderer":
        return ViewSplit(tuple(numbers), (0,))
    if strategy == "single_loss":
        return ViewSplit((0,), tuple(numbers)[1:])
    group = 4 if strategy == "stereo" else 2
    if views % group:
        raise ConfigError(
            f"{strategy} splits views in groups of {group}, there are {views}",
            hint="alternate needs pairs of moments, stereo pairs of cameras; single_loss takes any number",
        )
    first = [number for number in numbers if number % group < group // 2]
    second = [number for number in numbers if number % group >= group // 2]
    if strategy != "kitti_360":
        kept = bool(_first_is_compared(1, generator, reference_compat)[0])
        return ViewSplit(*((tuple(first), tuple(second)) if kept else (tuple(second), tuple(first))))
    kept_pairs = _first_is_compared(len(first), generator, reference_compat)
    pairs = [
        (a, b) if kept else (b, a) for a, b, kept in zip(first, second, kept_pairs.tolist(), strict=True)
    ]
    return ViewSplit(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))


def _first_is_compared(count: int, generator: torch.Generator | None, reference_compat: bool) -> torch.Tensor:
    # The original draws one of three numbers and asks whether it is not 0.
    return torch.randint(0, 3 if reference_compat else 2, (count,), generator=generator) != 0
