"""Cityscapes' master table and every class set cut from it.

Source: spec ``semseg_metrics_and_datasets.md`` 1.1 to 1.3 (label definitions of cityscapesScripts; class sets
of CUPS, UDASS and Co-Training).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nolabel.labels.space import LabelClass, LabelSpace

__all__ = [
    "CATEGORIES",
    "CITYSCAPES_7",
    "CITYSCAPES_19",
    "CITYSCAPES_27",
    "MASTER",
    "MEMBERS",
    "SYNTHIA_13",
    "SYNTHIA_16",
    "SYNTHIA_SEQ_12",
    "VIPER_15",
]


class Label(NamedTuple):
    """One row of the master table; ``evaluated`` classes are those with a train id."""

    raw_id: int
    name: str
    category: str
    evaluated: bool
    colour: tuple[int, int, int]


MASTER: tuple[Label, ...] = (
    Label(7, "road", "flat", True, (128, 64, 128)),
    Label(8, "sidewalk", "flat", True, (244, 35, 232)),
    Label(9, "parking", "flat", False, (250, 170, 160)),
    Label(10, "rail track", "flat", False, (230, 150, 140)),
    Label(11, "building", "construction", True, (70, 70, 70)),
    Label(12, "wall", "construction", True, (102, 102, 156)),
    Label(13, "fence", "construction", True, (190, 153, 153)),
    Label(14, "guard rail", "construction", False, (180, 165, 180)),
    Label(15, "bridge", "construction", False, (150, 100, 100)),
    Label(16, "tunnel", "construction", False, (150, 120, 90)),
    Label(17, "pole", "object", True, (153, 153, 153)),
    Label(18, "polegroup", "object", False, (153, 153, 153)),
    Label(19, "traffic light", "object", True, (250, 170, 30)),
    Label(20, "traffic sign", "object", True, (220, 220, 0)),
    Label(21, "vegetation", "nature", True, (107, 142, 35)),
    Label(22, "terrain", "nature", True, (152, 251, 152)),
    Label(23, "sky", "sky", True, (70, 130, 180)),
    Label(24, "person", "human", True, (220, 20, 60)),
    Label(25, "rider", "human", True, (255, 0, 0)),
    Label(26, "car", "vehicle", True, (0, 0, 142)),
    Label(27, "truck", "vehicle", True, (0, 0, 70)),
    Label(28, "bus", "vehicle", True, (0, 60, 100)),
    Label(29, "caravan", "vehicle", False, (0, 0, 90)),
    Label(30, "trailer", "vehicle", False, (0, 0, 110)),
    Label(31, "train", "vehicle", True, (0, 80, 100)),
    Label(32, "motorcycle", "vehicle", True, (0, 0, 230)),
    Label(33, "bicycle", "vehicle", True, (119, 11, 32)),
)
"""The classes of Cityscapes; raw ids 0..6 and the license plate (-1, 34 in GTA5) are void."""

CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")
"""The seven categories in the order of Cityscapes' category ids."""

# The member that lends each category its colour, as in CUPS' 7-class palette.
_CATEGORY_COLOUR = ("road", "building", "traffic light", "vegetation", "sky", "person", "car")
_ROW = {label.name: label for label in MASTER}
_THING_CATEGORIES = ("human", "vehicle")


def _subset(name: str, members: Sequence[str]) -> LabelSpace:
    rows = [_ROW[member] for member in members]
    return LabelSpace(
        name, tuple(LabelClass(row.name, row.colour, row.category in _THING_CATEGORIES) for row in rows)
    )


CITYSCAPES_27 = _subset("cityscapes_27", [label.name for label in MASTER])
"""All labelled classes (raw id - 7), the set of CUPS, U2Seg and STEGO."""

CITYSCAPES_19 = _subset("cityscapes_19", [label.name for label in MASTER if label.evaluated])
"""The evaluated classes (train ids)."""

CITYSCAPES_7 = LabelSpace(
    "cityscapes_7",
    tuple(
        LabelClass(category, _ROW[member].colour, category in _THING_CATEGORIES)
        for category, member in zip(CATEGORIES, _CATEGORY_COLOUR, strict=True)
    ),
)
"""The categories (category id - 1)."""

SYNTHIA_16 = _subset(
    "synthia_16", [name for name in CITYSCAPES_19.names if name not in ("terrain", "truck", "train")]
)
"""The evaluated classes that SYNTHIA-RAND-CITYSCAPES has."""

SYNTHIA_13 = _subset(
    "synthia_13", [name for name in SYNTHIA_16.names if name not in ("wall", "fence", "pole")]
)
"""The set behind the number reported as mIoU*."""

VIPER_15 = _subset(
    "viper_15", [name for name in CITYSCAPES_19.names if name not in ("wall", "pole", "rider", "train")]
)
"""VIPER to Cityscapes-Seq; ``person`` includes riders."""

SYNTHIA_SEQ_12 = _subset(
    "synthia_seq_12",
    [name for name in SYNTHIA_16.names if name not in ("wall", "bus", "motorcycle", "bicycle")],
)
"""SYNTHIA-Seq to Cityscapes-Seq."""


def _by_name(space: LabelSpace) -> dict[str, str]:
    return {name: name for name in space.names}


MEMBERS: Mapping[str, Mapping[str, str]] = {
    "cityscapes_27": _by_name(CITYSCAPES_27),
    "cityscapes_19": _by_name(CITYSCAPES_19),
    "cityscapes_7": {label.name: label.category for label in MASTER},
    "synthia_16": _by_name(SYNTHIA_16),
    "synthia_13": _by_name(SYNTHIA_13),
    "viper_15": _by_name(VIPER_15) | {"rider": "person"},
    "synthia_seq_12": _by_name(SYNTHIA_SEQ_12),
}
"""Space name -> {Cityscapes class: the class of that space it belongs to}; the rest is void there."""
