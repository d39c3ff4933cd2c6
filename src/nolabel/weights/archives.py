"""The containers PyTorch stores pickles in: the zip archive, and the legacy file of pickles in a row."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any, BinaryIO

import torch

from nolabel.errors import WeightsError
from nolabel.weights.safe_pickle import SafeUnpickler, Storage, StorageKind

__all__ = ["is_zip", "read_torch"]

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def is_zip(file: BinaryIO) -> bool:
    """Tell whether a zip archive begins here; the position is put back."""
    start = file.read(4)
    file.seek(-len(start), io.SEEK_CUR)
    return start == b"PK\x03\x04"


def read_torch(file: BinaryIO) -> Any:
    """Read a file of ``torch.save`` (zip or legacy) or a plain pickle; stand-ins are left in."""
    if is_zip(file):
        return _read_zip(file)
    return _read_legacy(file)


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        if len(pickles) != 1:
            raise WeightsError("the archive holds no weights (no data.pkl)")
        prefix = pickles[0].removesuffix("data.pkl")
        if f"{prefix}constants.pkl" in names or any(name.startswith(f"{prefix}code/") for name in names):
            raise WeightsError(
                "the file is a TorchScript program, not weights", hint="ask for its state_dict instead"
            )
        if f"{prefix}byteorder" in names and archive.read(f"{prefix}byteorder") != b"little":
            raise WeightsError("the file was written on a big-endian machine")
        stored: dict[str, Storage] = {}

        def storage(identifier: Any) -> Storage:
            kind, key, count = _storage_id(identifier)
            if key not in stored:
                name = f"{prefix}data/{key}"
                if name not in names:
                    raise WeightsError(f"the archive lacks a tensor's numbers ({name})")
                stored[key] = Storage(kind.dtype, count, bytearray(archive.read(name)))
            return stored[key]

        return SafeUnpickler(io.BytesIO(archive.read(pickles[0])), storage).load()


def _read_legacy(file: BinaryIO) -> Any:
    first = SafeUnpickler(file).load()
    if first != LEGACY_MAGIC or isinstance(first, bool):
        return first  # a plain pickle
    SafeUnpickler(file).load()  # protocol version
    system = SafeUnpickler(file).load()
    if isinstance(system, dict) and not system.get("little_endian", True):
        raise WeightsError("the file was written on a big-endian machine")
    stored: dict[str, Storage] = {}

    def storage(identifier: Any) -> Storage:
        kind, key, count = _storage_id(identifier)
        if len(identifier) > 5 and identifier[5] is not None:
            raise WeightsError(
                "the file is from before PyTorch 0.4", hint="store it anew with a current PyTorch"
            )
        return stored.setdefault(key, Storage(kind.dtype, count))

    value = SafeUnpickler(file, storage).load()
    for key in SafeUnpickler(file).load():
        if key not in stored:
            raise WeightsError("the file's list of tensors is damaged")
        part = stored[key]
        count = struct.unpack("<q", _exactly(file, 8))[0]
        size = count * (part.dtype or torch.uint8).itemsize
        if count < 0 or count != part.count:
            raise WeightsError("the file's list of tensors is damaged")
        part.data = bytearray(_exactly(file, size))
    return value


def _storage_id(identifier: Any) -> tuple[StorageKind, str, int]:
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise WeightsError("the file refers to an unknown kind of storage")
    kind, key, count = identifier[1], identifier[2], identifier[4]
    if not isinstance(kind, StorageKind) or not isinstance(key, str) or not isinstance(count, int):
        raise WeightsError("the file refers to an unknown kind of storage")
    return kind, key, count


def _exactly(file: BinaryIO, count: int) -> bytes:
    content = file.read(count)
    if len(content) != count:
        raise WeightsError("a tensor's numbers are cut short")
    return content
