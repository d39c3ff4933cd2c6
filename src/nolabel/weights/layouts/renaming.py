"""Name maps as data: pairs of starts of names, applied by the longest that fits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["Rules", "renamed"]

# (official start of a name, ours); "#" is a number that stays.
Rules = tuple[tuple[str, str], ...]


def renamed(state: Mapping[str, Any], rules: Rules, *, back: bool = False) -> dict[str, Any]:
    """Rename by the first rule that fits (``back``: from our names to the official ones); others keep their names."""
    ordered = sorted(((b, a) if back else (a, b) for a, b in rules), key=lambda rule: -len(rule[0]))
    patterns = [
        (re.compile(re.escape(before).replace(r"\#", r"(\d+)")), after.replace("#", r"\1"))
        for before, after in ordered
    ]
    result = {}
    for name, value in state.items():
        for pattern, after in patterns:
            match = pattern.match(name)
            if match:
                name = match.expand(after) + name[match.end() :]
                break
        result[name] = value
    return result
