"""What a label space is: an ordered list of classes with names, colours and a thing/stuff split.

255 is void everywhere: in label maps, in look-up tables and in palettes (black).
"""

from __future__ import annotations

import colorsys
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from nolabel.errors import ConfigError

__all__ = ["VOID", "LabelClass", "LabelSpace", "distinct_colours", "pseudo_space"]

VOID = 255
"""The label of pixels that carry no class."""

Colour = tuple[int, int, int]
Table = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelClass:
    """One class of a label space.

    Args:
        name: the name in its data set's own spelling.
        colour: RGB, each 0..255.
        is_thing: whether its objects are countable (and carry instance ids).
    """

    name: str
    colour: Colour
    is_thing: bool


@dataclass(frozen=True)
class LabelSpace:
    """An ordered set of classes; the position of a class is its label.

    Args:
        name: the name under which the space is registered, e.g. ``cityscapes_19``.
        classes: the classes; at most 255, because 255 is void.
    """

    name: str
    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= VOID:
            raise ConfigError(
                f"label space {self.name!r} has {len(self.classes)} classes; expected 1..{VOID}",
                hint="255 is void; a label map has 8 bits",
            )

    @property
    def num_classes(self) -> int:
        """The number of classes, void not counted."""
        return len(self.classes)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The class names in label order."""
        return tuple(label_class.name for label_class in self.classes)

    @cached_property
    def things(self) -> tuple[int, ...]:
        """The labels of countable classes, ascending."""
        return tuple(i for i, label_class in enumerate(self.classes) if label_class.is_thing)

    @cached_property
    def stuff(self) -> tuple[int, ...]:
        """The labels of the other classes, ascending."""
        return tuple(i for i, label_class in enumerate(self.classes) if not label_class.is_thing)

    @cached_property
    def palette(self) -> Table:
        """(256, 3) uint8 RGB: the colour of every label; void and unused labels are black."""
        palette = np.zeros((256, 3), np.uint8)
        palette[: self.num_classes] = [label_class.colour for label_class in self.classes]
        palette.setflags(write=False)
        return palette

    def index(self, name: str) -> int:
        """The label of the class called ``name``.

        Raises:
            ConfigError: there is no such class; the hint names the nearest one.
        """
        if name in self.names:
            return self.names.index(name)
        near = difflib.get_close_matches(name, self.names, n=1)
        raise ConfigError(
            f"label space {self.name!r} has no class {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"classes: {', '.join(self.names)}",
        )


@cache
def distinct_colours(count: int) -> Table:
    """``count`` colours that are far from each other and from black; the first n never depend on ``count``.

    Farthest-point order over a fixed set of hues, saturations and brightnesses. The first colours are thus
    the most different ones. Asked for more than 720, the sequence repeats.

    Returns:
        (count, 3) uint8 RGB, read-only.
    """
    colours = _colour_sequence()
    chosen = colours[np.arange(count) % len(colours)]
    chosen.setflags(write=False)
    return chosen


@cache
def _colour_sequence() -> Table:
    hues = [h / 36 for h in range(36)]
    shades = [(s, v) for s in (0.35, 0.55, 0.75, 0.95) for v in (0.45, 0.6, 0.75, 0.88, 1.0)]
    rgb = np.array([colorsys.hsv_to_rgb(h, s, v) for h in hues for s, v in shades])
    candidates = np.rint(rgb * 255)
    # The eye separates greens better than blues: a weighted RGB distance comes close enough to a Lab one.
    scaled = candidates * np.sqrt([2.0, 4.0, 3.0])
    nearest = np.linalg.norm(scaled, axis=1)  # distance to black, the colour of void
    order = []
    for _ in range(len(candidates)):
        best = int(nearest.argmax())
        order.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(scaled - scaled[best], axis=1))
        nearest[best] = -1.0
    return candidates[order].astype(np.uint8)


def pseudo_space(num_clusters: int, things: Sequence[int]) -> LabelSpace:
    """A label space for clusters that have no names yet: ``cluster_0``, ``cluster_1``, ...

    Args:
        num_clusters: the number of clusters, 1..255.
        things: the clusters that hold countable objects.

    Returns:
        A space whose colours are the same on every machine and for every ``things``.

    Raises:
        ConfigError: a thing is not one of the clusters, or there are too many clusters.
    """
    wrong = sorted(set(things) - set(range(num_clusters)))
    if wrong:
        raise ConfigError(f"thing clusters {wrong} are not in 0..{num_clusters - 1}")
    colours = distinct_colours(max(num_clusters, 0)).tolist()
    classes = tuple(
        LabelClass(f"cluster_{i}", (red, green, blue), i in set(things))
        for i, (red, green, blue) in enumerate(colours)
    )
    return LabelSpace(f"pseudo_{num_clusters}", classes)
