"""Any official file to safetensors with a card; the same input gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from nolabel.errors import WeightsError
from nolabel.weights.checkpoint import Part, load_checkpoint, select_part
from nolabel.weights.layouts import smurf_tensorflow

__all__ = ["convert", "file_hash", "save_safetensors"]


def save_safetensors(path: str | Path, state: Mapping[str, torch.Tensor], card: Mapping[str, Any]) -> Path:
    """Write tensors and a card (JSON values) to one safetensors file, whole or not at all, always the same bytes.

    Tensors that share memory are stored one by one. The card comes back as ``Checkpoint.metadata``.
    """
    path = Path(path)
    # Exactly one metadata key: the library writes several in no fixed order.
    metadata = {"card": json.dumps(card, sort_keys=True, ensure_ascii=False)}
    _write(path, safetensors.torch.save(_unshared(state), metadata=metadata))
    return path


def convert(
    source: str | Path,
    target: str | Path,
    *,
    part: Part | None = None,
    layers: Mapping[str, str] | None = None,
) -> Path:
    """Turn an official file into ``TARGET.safetensors`` and a card beside it (``TARGET.json``).

    Args:
        source: any file :func:`~nolabel.weights.load_checkpoint` reads.
        target: a ``.safetensors`` path, or a folder (the file then keeps its name).
        part: keep only the student or only the teacher, without prefix; None keeps every name.
        layers: for an ``.npz`` of SMURF's TensorFlow variables whose layers are not called as in
            :data:`~nolabel.weights.layouts.smurf_tensorflow.LAYERS`: path there -> in torchvision's RAFT.

    Returns:
        The safetensors file.

    Raises:
        WeightsError: the source cannot be read, or has no such part.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        suffix = f"_{part}" if part == "teacher" else ""
        target = target / f"{source.stem}{suffix}.safetensors"
    if target.resolve() == source.resolve():
        raise WeightsError(f"{target} would overwrite its own source", hint="choose another target")
    checkpoint = load_checkpoint(source)
    state = checkpoint.state_dict if part is None else select_part(checkpoint.state_dict, part)
    if checkpoint.format == "numpy":  # the one system whose official weights are TensorFlow's
        state = smurf_tensorflow.to_official(state, layers)
    card = {
        "source": source.name,
        "source_sha256": file_hash(source),
        "source_format": checkpoint.format,
        "part": part,
        "tensors": len(state),
        "values": sum(value.numel() for value in state.values()),
        "metadata": {k: _jsonable(v) for k, v in checkpoint.metadata.items() if not _is_optimizer(k)},
    }
    save_safetensors(target, state, card)
    _write(target.with_suffix(".json"), (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    return target


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unshared(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give every tensor memory of its own, which the format asks for; copy only where it has none."""
    seen: set[int] = set()
    result = {}
    for name, value in sorted(state.items()):
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.numel() * value.element_size():
            value = value.clone()
        seen.add(storage.data_ptr())
        result[name] = value
    return result


def _is_optimizer(key: str) -> bool:
    return key.startswith(("optimizer", "lr_scheduler", "scheduler", "loops", "callbacks"))


def _jsonable(value: Any) -> Any:
    """Keep what JSON can say; say of the rest what it was."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if hasattr(value, "shape") and hasattr(value, "tolist"):
        flat = value.tolist()
        return _jsonable(flat) if len(value.shape) < 2 else f"array {tuple(value.shape)}"
    return str(value)


def _write(path: Path, content: bytes) -> None:
    # weights/ lies below engine/, whose atomic_path it cannot use.
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        written.write_bytes(content)
        written.replace(path)
    except OSError as error:
        raise WeightsError(f"cannot write {path}: {error.strerror}", hint="free some space") from error
    finally:
        written.unlink(missing_ok=True)
