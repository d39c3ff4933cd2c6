"""Raw ids -> labels and labels -> labels, as look-up tables: ``labels = table[raw]``.

A table is uint8 with at least 256 entries and void (255) where nothing else is said, so every 8-bit map
can be indexed without a check, and -1 (Cityscapes' license plate in a signed map) finds the void at the end.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Literal

import numpy as np

from nolabel.errors import ConfigError
from nolabel.labels import raw_ids
from nolabel.labels.cityscapes import CITYSCAPES_19, MASTER, MEMBERS
from nolabel.labels.space import VOID, LabelSpace, Table
from nolabel.labels.spaces import BINARY_2, CAMVID_11, CAMVID_MEMBERS, CAMVID_TO_CITYSCAPES, LABEL_SPACES

__all__ = ["RAW_TABLES", "cityscapes_label_ids", "raw_table", "space_map"]

Members = Literal["all", "evaluated"]

# Data sets whose raw ids are named by Cityscapes classes.
_CITYSCAPES_NAMED: dict[str, Mapping[int, str]] = {
    "cityscapes": raw_ids.CITYSCAPES,
    "cityscapes_train_ids": dict(enumerate(CITYSCAPES_19.names)),
    "kitti": raw_ids.CITYSCAPES,
    "muses": raw_ids.CITYSCAPES,
    "gta5": raw_ids.CITYSCAPES,
    "synscapes": raw_ids.CITYSCAPES,
    "kitti_360": raw_ids.KITTI_360,
    "synthia": raw_ids.SYNTHIA,
    "synthia_seq": raw_ids.SYNTHIA_SEQ,
    "viper": raw_ids.VIPER,
    "bdd_panoptic": raw_ids.BDD_PANOPTIC,
    "mapillary": raw_ids.MAPILLARY,
    "waymo": raw_ids.WAYMO,
    "camvid": {i: CAMVID_TO_CITYSCAPES[name] for i, name in enumerate(CAMVID_11.names)},
}
_EVALUATED = frozenset(CITYSCAPES_19.names)
_TARGETS = {**MEMBERS, "camvid_11": CAMVID_MEMBERS}  # spaces that can be reached from Cityscapes' classes


def _table(entries: Mapping[int, int], default: int = VOID) -> Table:
    table = np.full(max(256, max(entries, default=0) + 1), default, np.uint8)
    table[list(entries.keys())] = list(entries.values())
    table.setflags(write=False)
    return table


def _named_table(names: Mapping[int, str], space: LabelSpace, members: Members) -> Table:
    of_class = _TARGETS[space.name]
    return _table(
        {
            raw: space.index(of_class[name])
            for raw, name in names.items()
            if name in of_class and (members == "all" or name in _EVALUATED)
        }
    )


def _raw_tables() -> dict[tuple[str, str], Table]:
    tables = {
        (dataset, name): _named_table(names, LABEL_SPACES[name], "all")
        for dataset, names in _CITYSCAPES_NAMED.items()
        for name in _TARGETS
    }
    # Of the two 7-class rules BDD's published numbers use the one without the classes ignored in evaluation.
    tables["bdd_panoptic", "cityscapes_7"] = _named_table(
        raw_ids.BDD_PANOPTIC, LABEL_SPACES["cityscapes_7"], "evaluated"
    )
    tables["waymo", "cityscapes_7"] = _named_table(raw_ids.WAYMO_7, LABEL_SPACES["cityscapes_7"], "all")
    tables["camvid", "camvid_11"] = _table({i: i for i in range(CAMVID_11.num_classes)})
    # MOTSChallenge: class = value // 1000, 2 is pedestrian. KITTI: class = value // 256, every object counts.
    tables["mots", "binary_2"] = _table({2: BINARY_2.index("object")}, default=0)
    tables["kitti_instance", "binary_2"] = _table({0: 0}, default=BINARY_2.index("object"))
    tables["sscbench_raw", "sscbench_19"] = _table(raw_ids.SSCBENCH_RAW)
    tables["sscbench", "sscbench_19"] = _table({i: i for i in range(19)})
    tables["sscbench", "ssc_16"] = _table(raw_ids.SSCBENCH_TO_SSC)
    return tables


RAW_TABLES: dict[tuple[str, str], Table] = _raw_tables()
"""(data set, space name) -> uint8 table indexed by the raw id of that data set's label files.

``cityscapes_train_ids`` serves every data set that ships train ids (BDD semantic, ACDC, Dark Zurich).
"""


def raw_table(dataset: str, space: LabelSpace | str, *, members: Members | None = None) -> Table:
    """The table from a data set's raw ids to the labels of a space.

    Args:
        dataset: the data set, e.g. ``cityscapes``, ``gta5``, ``bdd_panoptic``.
        space: the space or its name.
        members: which classes a category of ``cityscapes_7`` includes: ``"all"`` that are labelled (parking
            is flat) or only the ``"evaluated"`` ones (parking is void). By default the rule behind the
            published numbers of the data set: ``"evaluated"`` for BDD, ``"all"`` for the others.

    Returns:
        Read-only uint8 table, at least 256 long, 255 is void.

    Raises:
        ConfigError: the pair is not known.
    """
    name = space if isinstance(space, str) else space.name
    if (dataset, name) not in RAW_TABLES:
        datasets = sorted({known for known, _ in RAW_TABLES})
        near = difflib.get_close_matches(dataset, datasets, n=1)
        spaces = sorted(known for owner, known in RAW_TABLES if owner == dataset)
        raise ConfigError(
            f"no label table from data set {dataset!r} to label space {name!r}",
            hint=f"{dataset} maps to: {', '.join(spaces)}"
            if spaces
            else (f"did you mean {near[0]!r}?" if near else f"data sets: {', '.join(datasets)}"),
        )
    if members is None or name != "cityscapes_7" or dataset not in _CITYSCAPES_NAMED:
        return RAW_TABLES[dataset, name]
    return _named_table(_CITYSCAPES_NAMED[dataset], LABEL_SPACES[name], members)


def space_map(source: LabelSpace | str, target: LabelSpace | str) -> Table:
    """The table from the labels of one space to those of another.

    A class goes to the one target class that holds all of its Cityscapes members the target knows; where
    these lie in several target classes (``flat`` -> road or sidewalk; VIPER's ``person`` -> person or rider)
    it becomes void, because the label cannot tell which.

    Returns:
        (256,) read-only uint8, 255 is void.

    Raises:
        ConfigError: no map between the two is known.
    """
    source, target = _space(source), _space(target)
    if source == target:
        return _table({i: i for i in range(source.num_classes)})
    if (source.name, target.name) == ("cityscapes_19", "ssc_16"):
        return _table(dict(enumerate(raw_ids.CITYSCAPES_19_TO_SSC)))
    if (source.name, target.name) == ("sscbench_19", "ssc_16"):
        return RAW_TABLES["sscbench", "ssc_16"]
    if source == CAMVID_11 and target.name in MEMBERS:
        return RAW_TABLES["camvid", target.name]
    if source.name not in MEMBERS or target.name not in _TARGETS:
        raise ConfigError(
            f"no map from label space {source.name!r} to {target.name!r}",
            hint=f"spaces with maps between each other: {', '.join(_TARGETS)}",
        )
    homes: dict[int, set[int]] = {}
    for member, name in MEMBERS[source.name].items():
        if member in _TARGETS[target.name]:
            home = target.index(_TARGETS[target.name][member])
            homes.setdefault(source.index(name), set()).add(home)
    return _table({label: next(iter(found)) for label, found in homes.items() if len(found) == 1})


def cityscapes_label_ids(space: LabelSpace | str) -> Table:
    """The raw Cityscapes id of every label of a space, for files that other Cityscapes tools read.

    Returns:
        (256,) read-only uint8: the smallest raw id (7..33) of each class, 0 (unlabeled) for void.

    Raises:
        ConfigError: the space is not one of the Cityscapes family.
    """
    space = _space(space)
    if space.name not in MEMBERS:
        raise ConfigError(
            f"label space {space.name!r} has no Cityscapes ids",
            hint=f"spaces of the Cityscapes family: {', '.join(MEMBERS)}",
        )
    table = np.zeros(256, np.uint8)
    for label in reversed(MASTER):
        name = MEMBERS[space.name].get(label.name)
        if name is not None:
            table[space.index(name)] = label.raw_id
    table.setflags(write=False)
    return table


def _space(space: LabelSpace | str) -> LabelSpace:
    if isinstance(space, LabelSpace):
        return space
    if space not in LABEL_SPACES:
        near = difflib.get_close_matches(space, LABEL_SPACES, n=1)
        raise ConfigError(
            f"no label space is called {space!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"label spaces: {', '.join(LABEL_SPACES)}",
        )
    return LABEL_SPACES[space]
