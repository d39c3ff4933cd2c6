"""TFRecord files without TensorFlow: length, checksum, data, checksum; one record in memory at a time.

The format is public (TensorFlow's guide "TFRecord and tf.train.Example"): a record is its length as little-endian
uint64, the masked CRC-32C of these 8 bytes, the data, and the masked CRC-32C of the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from nolabel.errors import DataError

__all__ = ["crc32c", "masked_crc32c", "read_records"]

_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed
_MASK_DELTA = 0xA282EAD8
_LANES = 4096
_HINT = "the file was cut short or is damaged: fetch it again"

Words = npt.NDArray[np.uint32]


def read_records(path: str | Path, *, verify: bool = True) -> Iterator[tuple[int, bytes]]:
    """Yield (offset in the file, data) of every record, in order.

    Args:
        path: an uncompressed TFRecord file.
        verify: check the data against its checksum (lengths are always checked).

    Raises:
        DataError: no such file, a record that ends early, or one whose checksum is wrong; file and offset are named.
    """
    path = Path(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check the path") from None
    with file:
        size = path.stat().st_size
        offset = 0
        while offset < size:
            header = _read(file, 12, path, offset)
            length, checksum = struct.unpack("<QI", header)
            if masked_crc32c(header[:8]) != checksum:
                raise DataError(
                    f"{path}: the record at byte {offset} has a wrong length or is none",
                    hint=_HINT if offset else "it is no TFRecord file, or a compressed one",
                )
            data = _read(file, length, path, offset)
            (checksum,) = struct.unpack("<I", _read(file, 4, path, offset))
            if verify and masked_crc32c(data) != checksum:
                raise DataError(f"{path}: the record at byte {offset} has a wrong checksum", hint=_HINT)
            yield offset, data
            offset += 16 + length


def _read(file: BinaryIO, count: int, path: Path, offset: int) -> bytes:
    """Read exactly ``count`` bytes; a length beyond the end of the file is found without reading for it."""
    left = path.stat().st_size - file.tell()
    data = file.read(count) if count <= left else b""
    if len(data) != count:
        raise DataError(
            f"{path}: the record at byte {offset} ends early: {count} bytes announced, {left} left",
            hint=_HINT,
        )
    return data


def masked_crc32c(data: bytes) -> int:
    """The checksum that TFRecord stores: CRC-32C rotated by 15 bits plus a constant."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + _MASK_DELTA) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of bytes, 0..2^32-1.

    The data is cut into equal lanes whose remainders are computed side by side; then neighbours are joined: the
    remainder of A followed by B is that of A moved over the length of B, xor that of B. Moving is linear, so it is
    a table for each byte of the remainder. (A loop over the bytes in Python would take minutes for each file.)
    """
    if not data:
        return 0
    lanes = _LANES if len(data) >= 8 * _LANES else 1
    step = -(-len(data) // (4 * lanes)) * 4
    padded = np.zeros(lanes * step, np.uint8)
    # Zeros in front leave a remainder of 0 unchanged; the prescribed start value is part of the first four bytes.
    start = len(padded) - len(data)
    padded[start:] = np.frombuffer(data, np.uint8)
    head = padded[start : start + 4]
    head ^= 0xFF
    words = padded.view("<u4").astype(np.uint32).reshape(lanes, step // 4).T
    high, low = _word_tables()
    remainder = np.zeros(lanes, np.uint32)
    for word in np.ascontiguousarray(words):
        remainder ^= word
        remainder = low[remainder & 0xFFFF] ^ high[remainder >> 16]
    shift = _zeros_operator(step)
    while len(remainder) > 1:
        remainder = _apply(shift, remainder[0::2]) ^ remainder[1::2]
        shift = _apply(shift, shift)
    value = int(remainder[0])
    if len(data) < 4:  # the start value reaches beyond the data
        value ^= 0xFFFFFFFF >> 8 * len(data)
    return value ^ 0xFFFFFFFF


@cache
def _byte_table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


@cache
def _word_tables() -> tuple[Words, Words]:
    """Remainders after four zero bytes of the upper and the lower 16 bits of a word."""
    table = _byte_table()

    def after_four(words: Words) -> Words:
        for _ in range(4):
            words = table[words & 0xFF] ^ words >> 8
        return words

    half = np.arange(65536, dtype=np.uint32)
    return after_four(half << np.uint32(16)), after_four(half)


def _zeros_operator(count: int) -> Words:
    """What ``count`` zero bytes make of a remainder with a single bit: (32,), one entry for each bit."""
    result = np.uint32(1) << np.arange(32, dtype=np.uint32)
    table = _byte_table()
    power = table[result & 0xFF] ^ result >> 8  # one zero byte
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _apply(operator: Words, values: Words) -> Words:
    """Apply a linear map, given by its 32 columns, to every value."""
    bits = (values[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits == 1, operator, np.uint32(0)), axis=1)
