"""What the values of own label maps mean: a file from raw ids or colours to class names.

YAML or JSON. ``labels`` gives every value its class; values that are not listed, and those called ``void``, carry no
label. The classes are those of a known space, own ones, or, where neither is said, the names in order of appearance::

    space: cityscapes_19            # or: classes: [road, {name: car, colour: [0, 0, 142], thing: true}]
    labels:
      7: road                       # raw id
      26: car

    labels:
      "128,64,128": road            # colour (RGB); also "#804080"
      "0,0,142": car
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from nolabel.data.files import examples, read_image
from nolabel.data.label_files import read_channels
from nolabel.errors import DataError
from nolabel.labels import LABEL_SPACES, VOID, LabelClass, LabelSpace, distinct_colours, space_map

__all__ = ["MAPPING_FILES", "ClassMapping", "find_mapping", "read_mapping"]

MAPPING_FILES = ("classes.yaml", "classes.yml", "classes.json")
"""Names under which a mapping is found beside ``images/`` and ``labels/``."""
_HELP = 'write `labels:` with lines such as `7: road` (raw id) or `"128,64,128": road` (colour); docs/data.md shows all'
_COLOUR = re.compile(r"^\s*\(?\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)?\s*$")
_HEX = re.compile(r"^#([0-9a-fA-F]{6})$")
_VOID_NAMES = frozenset({"void", "ignore", "unlabeled", "unlabelled"})


@dataclass(frozen=True, eq=False)
class ClassMapping:
    """Raw values of label maps and their classes.

    Attributes:
        space: the classes.
        table: class of every raw id, or of every colour as R * 65536 + G * 256 + B; 255 is void, uint8.
        listed: the raw values that the file names, void ones too.
        coloured: whether the maps are pictures of colours.
    """

    space: LabelSpace
    table: npt.NDArray[np.uint8]
    listed: frozenset[int]
    coloured: bool

    def read(self, path: Path) -> npt.NDArray[np.int64]:
        """Read the raw values (H, W) of a label map, which index ``table``.

        Raises:
            DataError: the file cannot be read, or has several channels where ids are wanted.
        """
        if not self.coloured:
            return read_channels(path, 1)
        red, green, blue = (read_image(path) * 255).round().long().numpy()
        return np.asarray((red << 16) + (green << 8) + blue, np.int64)

    def shown(self, value: int) -> str:
        """Return a raw value as the mapping file writes it."""
        return f"{value >> 16},{value >> 8 & 255},{value & 255}" if self.coloured else str(value)

    def in_space(self, space: LabelSpace) -> ClassMapping:
        """Return the mapping to the classes of another space: of the same names for own classes, else as is known.

        Raises:
            ConfigError: nothing is known of how one becomes the other.
        """
        if space == self.space:
            return self
        if self.space.name not in LABEL_SPACES and set(self.space.names) & set(space.names):
            classes = np.full(256, VOID, np.uint8)
            for label, name in enumerate(self.space.names):
                classes[label] = space.index(name) if name in space.names else VOID
        else:
            classes = space_map(self.space, space)
        return ClassMapping(space, classes[self.table], self.listed, self.coloured)


def find_mapping(root: Path) -> Path | None:
    """Return the mapping file of a folder, if it has one."""
    return next((root / name for name in MAPPING_FILES if (root / name).is_file()), None)


def read_mapping(path: str | Path) -> ClassMapping:
    """Read a mapping file; see the module's description.

    Raises:
        DataError: it is missing, or something in it is not what it should be; the message names it.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read the class mapping {path}: {error}", hint=_HELP) from None
    if (
        not isinstance(content, Mapping)
        or not isinstance(content.get("labels"), Mapping)
        or not content["labels"]
    ):
        raise DataError(f"{path} has no `labels`", hint=_HELP)
    unknown = sorted(set(content) - {"space", "classes", "labels"})
    if unknown:
        raise DataError(f"{path}: unknown entry {unknown[0]!r}", hint="entries: space, classes, labels")
    keys = [_value(key, path) for key in content["labels"]]
    coloured = {is_colour for is_colour, _ in keys}
    if len(coloured) > 1:
        raise DataError(f"{path} mixes raw ids and colours", hint=_HELP)
    names = [str(name) for name in content["labels"].values()]
    space = _space(content, names, path)
    wrong = sorted({name for name in names if name not in space.names and name not in _VOID_NAMES})
    if wrong:
        raise DataError(
            f"{path}: {space.name} has no class {examples(map(repr, wrong))}",
            hint=f"classes: {', '.join(space.names)}, void",
        )
    values = [value for _, value in keys]
    if len(set(values)) < len(values):
        raise DataError(f"{path} gives a value twice", hint="every id or colour once")
    table = np.full(max(255, *values) + 1, VOID, np.uint8)
    table[values] = [space.index(name) if name in space.names else VOID for name in names]
    return ClassMapping(space, table, frozenset(values), coloured.pop())


def _value(key: Any, path: Path) -> tuple[bool, int]:
    """(is a colour, its number) of a key."""
    text = str(key)
    if re.fullmatch(r"\d{1,5}", text):  # JSON's keys are texts
        return False, int(text)
    if match := _HEX.match(text):
        return True, int(match.group(1), 16)
    if match := _COLOUR.match(text):
        channels = [int(group) for group in match.groups()]
        if max(channels) < 256:
            return True, (channels[0] << 16) + (channels[1] << 8) + channels[2]
    raise DataError(f"{path}: {key!r} is neither an id nor a colour", hint=_HELP)


def _space(content: Mapping[str, Any], names: Sequence[str], path: Path) -> LabelSpace:
    if "space" in content and "classes" in content:
        raise DataError(
            f"{path} has both `space` and `classes`", hint="one of them says what the classes are"
        )
    if "space" in content:
        if content["space"] not in LABEL_SPACES:
            raise DataError(
                f"{path}: there is no label space {content['space']!r}",
                hint=f"known: {', '.join(LABEL_SPACES)}",
            )
        return LABEL_SPACES[content["space"]]
    entries = content.get("classes") or list(dict.fromkeys(n for n in names if n not in _VOID_NAMES))
    if not isinstance(entries, list) or not 1 <= len(entries) <= VOID:
        raise DataError(f"{path}: `classes` has to be a list of 1 to {VOID} classes", hint=_HELP)
    colours = distinct_colours(len(entries)).tolist()
    classes = []
    for entry, colour in zip(entries, colours, strict=True):
        entry = entry if isinstance(entry, Mapping) else {"name": entry}
        try:
            red, green, blue = (int(channel) for channel in entry.get("colour", colour))
            classes.append(
                LabelClass(str(entry["name"]), (red, green, blue), bool(entry.get("thing", False)))
            )
        except (KeyError, TypeError, ValueError):
            raise DataError(
                f"{path}: {entry!r} is no class", hint="name, colour: [r, g, b], thing: true"
            ) from None
    return LabelSpace(path.resolve().parent.name or "own", tuple(classes))
