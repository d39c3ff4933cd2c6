"""Atomic, deterministic files."""

from pathlib import Path

import numpy as np
import pytest

from nolabel.structures.files import atomic_path, encode_png, write_json, write_png


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": 1})
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="stop"), atomic_path(path) as written:
        written.write_text("half")
        raise RuntimeError("stop")
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_png_bytes_depend_on_the_array_alone(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000
    assert write_png(tmp_path / "a.png", array).read_bytes() == encode_png(np.asfortranarray(array))
    with pytest.raises(ValueError, match="float64"):
        encode_png(np.zeros((2, 2)))
