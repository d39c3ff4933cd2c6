"""Label spaces in the cards of model files: a registered one by its name, another one in full."""

from __future__ import annotations

from typing import Any

from nolabel.errors import WeightsError
from nolabel.labels.space import LabelClass, LabelSpace
from nolabel.labels.spaces import LABEL_SPACES

__all__ = ["space_from_card", "space_to_card"]


def space_to_card(space: LabelSpace) -> Any:
    """Return the JSON value that stands for a space."""
    if LABEL_SPACES.get(space.name) == space:
        return space.name
    return {"name": space.name, "classes": [[c.name, list(c.colour), c.is_thing] for c in space.classes]}


def space_from_card(entry: Any) -> LabelSpace:
    """Return the space that :func:`space_to_card` wrote.

    Raises:
        WeightsError: no such space, or not what it writes.
    """
    try:
        if isinstance(entry, str):
            return LABEL_SPACES[entry]
        classes = (LabelClass(name, tuple(colour), thing) for name, colour, thing in entry["classes"])
        return LabelSpace(entry["name"], tuple(classes))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"the file's card names a label space that is not known: {entry!r:.80}",
            hint="it was written by a newer version, or is damaged",
        ) from error
