"""Reading single fields of protocol buffer messages, without their schema compiler and without copies.

The wire format is public (protobuf.dev, "Encoding"): every field is a key, number * 8 + wire type, and a value.
"""

from __future__ import annotations

from collections.abc import Iterator

from nolabel.errors import DataError

__all__ = ["Message"]

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_SIZES = {_FIXED_64: 8, _FIXED_32: 4}


class Message:
    """The fields of one message, found in one pass; fields that nobody asks for are skipped, not copied.

    Args:
        data: the encoded message.

    Raises:
        DataError: the bytes are no message.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def integers(self, number: int) -> list[int]:
        """All values of an integer, boolean or enumeration field (not packed), as unsigned 64-bit numbers."""
        return [value for value in self._fields.get(number, ()) if isinstance(value, int)]

    def integer(self, number: int, default: int = 0) -> int:
        """The last value of such a field, as the format prescribes for fields that occur once."""
        return (self.integers(number) or [default])[-1]

    def chunks(self, number: int) -> list[memoryview]:
        """All values of a bytes, string or message field."""
        return [value for value in self._fields.get(number, ()) if isinstance(value, memoryview)]

    def chunk(self, number: int) -> bytes:
        """The last value of a bytes field, empty where it is absent."""
        return bytes((self.chunks(number) or [memoryview(b"")])[-1])

    def text(self, number: int) -> str:
        """A string field.

        Raises:
            DataError: it is not UTF-8.
        """
        try:
            return self.chunk(number).decode()
        except UnicodeDecodeError as error:
            raise DataError(f"field {number} is no text: {error}") from None

    def messages(self, number: int) -> list[Message]:
        """A repeated message field."""
        return [Message(value) for value in self.chunks(number)]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in _FIXED_SIZES:
            size = _FIXED_SIZES[kind]
        else:
            raise DataError(f"a field has the unknown wire type {kind} at byte {position}")
        if position + size > len(data):
            raise DataError(f"field {number} ends {position + size - len(data)} bytes beyond its message")
        if kind == _BYTES:
            yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise DataError("a number ends beyond its message")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise DataError(f"a number has more than ten bytes at byte {position}")
