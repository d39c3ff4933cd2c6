"""Finding what belongs to an image by its name, where tools write names in different ways."""

from __future__ import annotations

from collections.abc import Iterable

from nolabel.data.files import examples
from nolabel.errors import DataError

__all__ = ["NameIndex"]


class NameIndex:
    """Names of results, asked for by names of images.

    Separators do not count (some data sets glue the folder to the file name, others join it with ``_``), and folders may
    stand in front.

    Args:
        names: of the results.
        what: what they are, for messages.
    """

    def __init__(self, names: Iterable[str], what: str = "prediction") -> None:
        self._by_key = {_key(name): name for name in names}
        self._what = what

    def find(self, name: str) -> str:
        """Return the name that belongs to an image: the same one, or the only one that ends with it.

        Raises:
            DataError: there is none, or there are several.
        """
        key = _key(name)
        if key in self._by_key:
            return self._by_key[key]
        ending = [own for own_key, own in self._by_key.items() if own_key.endswith(key)]
        if len(ending) == 1:
            return ending[0]
        raise DataError(
            f"there is no {self._what} for {name}" if not ending else f"{name}: which of {examples(ending)}?",
            hint=f"the folder holds {examples(self._by_key.values())}",
        )


def _key(name: str) -> str:
    return name.replace("_", "").replace("-", "")
