"""What every golden test needs: where the cases are, how to read them, and the agreed procedural weights.

Import with ``from golden.support import cases, load_npz`` (``tests`` is on the path, see pyproject.toml).
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]


def golden_root() -> Path | None:
    """Return the folder of recorded cases: ``$NOLABEL_GOLDEN``, else ``../shared/golden``; None if absent."""
    named = os.environ.get("NOLABEL_GOLDEN")
    places = (
        [Path(named)]
        if named
        else [REPOSITORY.parent / "shared" / "golden", REPOSITORY.parents[1] / "shared" / "golden"]
    )
    return next((place for place in places if place.is_dir()), None)


def need_root() -> Path:
    """Return the golden folder or skip the calling test (or module) with the reason."""
    root = golden_root()
    if root is None:
        pytest.skip("no golden cases: set NOLABEL_GOLDEN or lay ../shared/golden", allow_module_level=True)
    return root


def cases(folder: str, pattern: str = ".") -> list[Path]:
    """List the cases of a golden folder, sorted; empty where the folder is absent.

    Args:
        folder: golden folder, for example ``"cups_model"``.
        pattern: a subfolder (``"pq"``: every case in it) or a glob (``"pq/*.npz"``, ``"*_eval"``).

    Returns:
        For a subfolder: one path for each case in it, where a case is a sub-folder, or a file stem shared by
        ``x.npz`` and ``x.json`` (given as the ``.npz``, or the ``.json`` where it stands alone), or the
        folder itself when its files are the well-known parts of one case (``input.npz``, ...).
        For a glob: the paths that match.
    """
    root = golden_root()
    if root is None or not (root / folder).is_dir():
        return []
    if any(mark in pattern for mark in "*?["):
        return sorted((root / folder).glob(pattern))
    place = root / folder / pattern
    if not place.is_dir():
        return []
    folders = sorted(p for p in place.iterdir() if p.is_dir())
    files = sorted(p for p in place.iterdir() if p.suffix in {".npz", ".json"})
    if {p.name for p in files} & {"input.npz", "output.npz", "meta.json", "params.json"}:
        return [place]
    by_stem: dict[str, Path] = {}
    for path in files:
        if path.stem not in by_stem or path.suffix == ".npz":
            by_stem[path.stem] = path
    return folders + [by_stem[stem] for stem in sorted(by_stem)]


def case_parameters(folder: str, pattern: str = ".") -> list[Any]:
    """Return ``cases`` as pytest parameters; one skipped parameter with the reason where there are none."""
    found = cases(folder, pattern)
    if found:
        base = golden_root()
        assert base is not None
        return [pytest.param(path, id=str(path.relative_to(base))) for path in found]
    reason = f"no golden cases {folder}/{pattern}: set NOLABEL_GOLDEN or lay ../shared/golden"
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an ``.npz`` file."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def load_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text())


def unpack_masks(packed: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Undo ``np.packbits`` along the last axis: booleans of ``shape``."""
    bits = np.unpackbits(np.asarray(packed), axis=-1)[..., : int(shape[-1])]
    return bits.reshape(tuple(int(n) for n in shape)).astype(bool)


@cache
def _procedural_weights(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("procedural_weights", root / "procedural_weights.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fill_layout(
    layout: str | Path | list[dict[str, Any]], salt: int = 0, scale: Mapping[str, float] | None = None
) -> dict[str, torch.Tensor]:
    """Fill an official checkpoint layout with the weights both sides agreed on.

    Args:
        layout: path of a ``layout*.json``, or its entries.
        salt: changes every drawn value.
        scale: factors by tensor name, applied in float32 after the fill (``scale_after_fill`` of the cases).
    """
    arrays = _procedural_weights(need_root()).fill(layout, salt)
    state = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for name, factor in (scale or {}).items():
        state[name] = state[name] * torch.tensor(factor, dtype=torch.float32)
    return state
