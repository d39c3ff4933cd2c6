"""A writer of Waymo-like TFRecords: the wire format of protocol buffers and the checksums, bit by bit."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | float | str | bytes) -> bytes:
    """One field: integers as varint, floats as fixed 64 bits, text and bytes (messages too) with their length."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def slow_crc32c(data: bytes) -> int:
    """CRC-32C by its definition, one bit at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def record(data: bytes) -> bytes:
    def masked(content: bytes) -> bytes:
        value = slow_crc32c(content)
        return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def label(panoptic: np.ndarray, divisor: int, ids: Mapping[int, int]) -> bytes:
    mappings = b"".join(
        field(3, field(1, local) + field(2, known) + field(3, 1)) for local, known in ids.items()
    )
    return field(1, divisor) + field(2, png(panoptic.astype(np.uint16))) + mappings + field(4, "sequence")


def camera(name: int, image: bytes, segmentation: bytes | None) -> bytes:
    content = field(1, name) + field(2, image) + field(5, 0.25)
    return content if segmentation is None else content + field(10, segmentation)


def frame(scene: str, cameras: Sequence[bytes]) -> bytes:
    """A frame, with other fields around those that are read."""
    lasers = field(5, b"\x0a\x03abc" * 3)
    return field(1, field(1, scene)) + field(2, 1234567890) + lasers + b"".join(field(4, c) for c in cameras)
