"""Waymo's TFRecords become files that the labelled reader takes; damage is named with file and offset."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from data import waymo_files as write
from nolabel.cli import app
from nolabel.data import convert_waymo, convert_waymo_scene, open_labelled, waymo_records
from nolabel.data.protobuf import Message
from nolabel.data.tfrecord import crc32c, read_records
from nolabel.errors import DataError
from nolabel.labels import CITYSCAPES_19

CAR, PEDESTRIAN, ROAD, TRAILER, DIVISOR = 2, 9, 20, 8, 1000
SIZE = (24, 36)


def panoptic() -> np.ndarray:
    """Road everywhere, two cars (local ids 1 and 3), a pedestrian (2) without a global id, a trailer (4)."""
    values = np.full(SIZE, ROAD * DIVISOR)
    values[2:8, 2:8] = CAR * DIVISOR + 1
    values[2:8, 12:20] = CAR * DIVISOR + 3
    values[10:20, 5:8] = PEDESTRIAN * DIVISOR + 2
    values[10:20, 20:30] = TRAILER * DIVISOR + 4
    return values


def scene(path: Path, name: str = "scene_a", labelled: tuple[bool, ...] = (True, False, True)) -> Path:
    """One TFRecord; every frame has a side camera with labels, the front camera only where asked for."""
    rng = np.random.default_rng(0)
    frames = []
    for has_labels in labelled:
        image = write.png(rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8), "JPEG")
        label = write.label(panoptic(), DIVISOR, {1: 7, 3: 500, 4: 9})
        side = write.camera(4, image, write.label(panoptic() * 0, DIVISOR, {}))
        frames.append(write.frame(name, [side, write.camera(1, image, label if has_labels else None)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(write.record(data) for data in frames))
    return path


def test_a_converted_scene_is_read_as_the_data_set(tmp_path: Path) -> None:
    record = scene(tmp_path / "in" / "segment_1.tfrecord")
    converted = convert_waymo_scene(record, tmp_path / "out")
    assert (converted.scene, converted.frames, converted.labelled) == ("scene_a", 3, 2)
    folder = tmp_path / "out" / "validation" / "scene_a"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{index}_{kind}.png" for index in (0, 2) for kind in ("image", "instance", "semantic")
    ]
    instance = np.asarray(Image.open(folder / "0_instance.png"))
    assert instance.dtype == np.uint16
    assert {int(instance[4, 4]), int(instance[4, 15]), int(instance[12, 25])} == {7, 500, 9}
    assert int(instance[12, 6]) == 501 and int(instance[0, 0]) == 0
    dataset = open_labelled("waymo", tmp_path / "out", crop=None)
    assert len(dataset) == 2
    sample = dataset[0]
    names = CITYSCAPES_19.names
    assert names[int(sample["semantic"][4, 4])] == "car" and names[int(sample["semantic"][0, 0])] == "road"
    assert int(sample["semantic"][12, 25]) == 255 and int(sample["instance"][12, 25]) == 0
    assert len(np.unique(sample["instance"])) == 4


def test_finished_scenes_are_skipped_and_changed_files_are_not(tmp_path: Path) -> None:
    for name in ("b", "a"):
        scene(tmp_path / "in" / f"{name}.tfrecord", f"scene_{name}")
    scene(tmp_path / "in" / "none.tfrecord", "scene_without_labels", (False,))
    records = waymo_records(tmp_path / "in")
    first = convert_waymo(records, tmp_path / "out")
    assert [(s.scene, s.labelled) for s in first] == [
        ("scene_a", 2),
        ("scene_b", 2),
        ("scene_without_labels", 0),
    ]
    again = convert_waymo(records, tmp_path / "out")
    assert all(s.skipped for s in again) and [s.labelled for s in again] == [2, 2, 0]
    scene(records[0], "scene_a", (True,) * 4)
    changed = convert_waymo(records, tmp_path / "out")
    assert [s.skipped for s in changed] == [False, True, True] and changed[0].labelled == 4
    assert sorted(p.name for p in (tmp_path / "out" / "validation").iterdir()) == ["scene_a", "scene_b"]


@pytest.mark.parametrize(
    "damage", ["cut", "cut_header", "length", "data", "no_record", "no_frame", "bad_png", "bad_name"]
)
def test_damage_is_named_with_file_and_offset(tmp_path: Path, damage: str) -> None:
    record = scene(tmp_path / "bad.tfrecord")
    content = bytearray(record.read_bytes())
    offset = len(write.record(next(data for _, data in read_records(record))))  # of the second record
    if damage == "cut":
        content = content[: offset + 60]
    elif damage == "cut_header":
        content = content[: offset + 5]
    elif damage == "length":
        content[offset + 1] ^= 1
    elif damage == "data":
        content[offset + 100] ^= 1
    elif damage == "no_record":
        content, offset = bytearray(b"\x89PNG\r\n\x1a\n" + bytes(40)), 0
    else:
        camera = write.camera(1, b"no image", write.field(1, DIVISOR) + write.field(2, b"no png"))
        wrong = {
            "no_frame": b"\xff" * 30,
            "bad_png": write.frame("scene", [camera]),
            "bad_name": write.frame("../scene", []),
        }[damage]
        content = content[:offset] + write.record(wrong)
    record.write_bytes(bytes(content))
    with pytest.raises(DataError, match=rf"bad\.tfrecord.* byte {offset}\b"):
        convert_waymo_scene(record, tmp_path / "out")
    assert not (tmp_path / "out" / "validation").exists()
    assert not list((tmp_path / "out").rglob("*.png"))


def test_the_command_converts_what_it_can(tmp_path: Path) -> None:
    scene(tmp_path / "in" / "a.tfrecord")
    (tmp_path / "in" / "b.tfrecord").write_bytes(b"nothing of the kind")
    result = CliRunner().invoke(app, ["prepare", "waymo", str(tmp_path / "in"), str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "2 labelled frames of 1 scenes" in result.output and "b.tfrecord" in result.output
    with pytest.raises(DataError, match=r"no \.tfrecord"):
        waymo_records(tmp_path / "out")


@pytest.mark.parametrize("size", [0, 1, 3, 4, 7, 8, 100, 32767, 32768, 32771, 50001])
def test_the_checksum_is_the_one_of_its_definition(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32c(data) == write.slow_crc32c(data)


def test_the_checksum_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C (RFC 3720)


@given(
    numbers=st.lists(st.integers(0, 2**64 - 1), max_size=4),
    chunks=st.lists(st.binary(max_size=20), max_size=4),
    real=st.floats(allow_nan=False),
)
def test_messages_give_the_fields_that_were_written(
    numbers: list[int], chunks: list[bytes], real: float
) -> None:
    data = b"".join(write.field(3, n) for n in numbers) + write.field(9, float(real))
    data += b"".join(write.field(400, c) for c in chunks)
    message = Message(data)
    assert message.integers(3) == numbers and [bytes(c) for c in message.chunks(400)] == chunks
    assert (
        message.integer(7, 5) == 5 and message.chunk(8) == b"" and message.integer(3) == (numbers or [0])[-1]
    )


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(DataError):
        Message(data).messages(1)


def test_no_tensorflow_is_imported() -> None:
    assert "tensorflow" not in sys.modules
