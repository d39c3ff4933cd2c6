import errno
import io

import numpy as np
import pytest
from PIL import Image

from nolabel.structures.files import DiskFullError, atomic_path, encode_png, write_json, write_png


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a" / "x.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    before = path.read_bytes()
    with pytest.raises(RuntimeError), atomic_path(path) as written:
        written.write_text("half")
        raise RuntimeError
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_full_disk_is_explained(tmp_path):
    with (
        pytest.raises(DiskFullError, match=r"disk is full.*x\.bin"),
        atomic_path(tmp_path / "x.bin") as written,
    ):
        written.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("durable", [False, True])
def test_atomic_path_moves_to_its_place(tmp_path, durable):
    with atomic_path(tmp_path / "n" / "x", temporary=tmp_path / "t", durable=durable) as written:
        assert written.parent == tmp_path / "t"
        written.write_text("whole")
    assert (tmp_path / "n" / "x").read_text() == "whole"


@pytest.mark.parametrize(("dtype", "shape"), [("uint8", (5, 7)), ("uint16", (5, 7)), ("uint8", (4, 6, 3))])
def test_png_round_trip(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    write_png(tmp_path / "x.png", array)
    with Image.open(tmp_path / "x.png") as image:
        assert np.array_equal(np.asarray(image), array)
    assert encode_png(array) == encode_png(array.copy(order="F"))


def test_palette_png_keeps_the_labels():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(labels, palette))) as image:
        assert np.array_equal(np.asarray(image), labels)
        assert np.array_equal(np.asarray(image.convert("RGB")), palette[labels])


def test_png_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match="int64"):
        encode_png(np.zeros((2, 2), np.int64))
