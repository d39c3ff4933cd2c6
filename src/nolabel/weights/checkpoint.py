"""Checkpoints of any official kind as names and tensors; nothing a file says is executed."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch

from nolabel.errors import WeightsError
from nolabel.weights.archives import is_zip, read_torch
from nolabel.weights.safe_pickle import plain

__all__ = ["Checkpoint", "Format", "Part", "load_checkpoint", "select_part"]

Format = Literal["safetensors", "lightning", "torch", "detectron2", "numpy"]
Part = Literal["student", "teacher"]

STATE_KEYS = ("state_dict", "model_state_dict", "model")
TEACHER_PREFIXES = ("teacher_model.model.", "teacher_model.", "ema_model.", "mic.teacher.ema_model.")
FROZEN_PREFIXES = ("imnet_model.",)


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Attributes:
        state_dict: tensors by their names in the file, on the CPU.
        metadata: everything else as plain values (hyper-parameters, optimizer states, ...); for safetensors
            the card.
        format: what kind of file it was.
    """

    state_dict: dict[str, torch.Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    format: Format = "torch"


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read Lightning ``.ckpt``, PyTorch ``.pth``/``.pt``, detectron2 ``.pkl``, safetensors or NumPy ``.npz``.

    The content decides what the file is, not its name. PyTorch's own safe reader is tried first; files with
    configuration objects are read by :mod:`nolabel.weights.safe_pickle`, in which such objects become plain
    dictionaries.

    Raises:
        WeightsError: the file is absent, damaged, holds no tensors, or carries code.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path}")
    with path.open("rb") as file:
        start = file.read(10)
    if not start:
        raise WeightsError(f"{path} is empty", hint="fetch the file again")
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _load_safetensors(path)
    arrays = _load_npz(path)
    if arrays is not None:
        return arrays
    content = _load_pickled(path)
    return _interpret(path, content)


def select_part(state: dict[str, torch.Tensor], part: Part = "student") -> dict[str, torch.Tensor]:
    """Take one network out of a checkpoint that holds a student and its teacher, without their prefix.

    Args:
        state: tensors by name. A leading ``module.`` (data parallel) is dropped first.
        part: ``student`` (``model.``, or what has no prefix) or ``teacher`` (``teacher_model.model.`` of CUPS,
            ``ema_model.`` of UDASS and MIC).

    Raises:
        WeightsError: there is no teacher in it.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if part == "teacher":
        for prefix in TEACHER_PREFIXES:
            chosen = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if chosen:
                return chosen
        raise WeightsError(
            "the file holds no teacher", hint="take the student, or a checkpoint of self-training"
        )
    rest = {k: v for k, v in state.items() if not k.startswith(TEACHER_PREFIXES + FROZEN_PREFIXES)}
    if rest and all(name.startswith("model.") for name in rest):
        rest = {name.removeprefix("model."): value for name, value in rest.items()}
    return rest


def _load_safetensors(path: Path) -> Checkpoint:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} is a damaged safetensors file: {error}", hint="fetch the file again"
        ) from None
    card = metadata.pop("card", None)
    if card is not None:
        try:
            metadata = {**metadata, **json.loads(card)}
        except (ValueError, TypeError):
            raise WeightsError(f"{path} has a card that is no JSON") from None
    return Checkpoint(state, metadata, "safetensors")


def _load_npz(path: Path) -> Checkpoint | None:
    """Read an archive of NumPy arrays; None for any other file. Arrays of objects (pickles) are left out."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return None  # whatever it is, the reader of weights files will say
    if not names or not all(name.endswith(".npy") for name in names):
        return None
    state: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for name in arrays.files:
                with suppress(ValueError):  # an array of objects
                    state[name] = arrays[name]
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(f"{path} is a damaged archive: {error}", hint="write it again") from None
    tensors = _tensors(state)
    if not tensors:
        raise WeightsError(f"{path} holds no arrays of numbers")
    return Checkpoint(tensors, {}, "numpy")


def _load_pickled(path: Path) -> Any:
    """Read with PyTorch's safe reader, else with ours; translate every complaint."""
    try:
        with path.open("rb") as file:
            if is_zip(file) and not zipfile.is_zipfile(file):
                raise WeightsError("the archive is cut short")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about protocols and TorchScript: we explain these ourselves
                return torch.load(path, map_location="cpu", weights_only=True)
        except (
            Exception
        ):  # configuration objects, a plain pickle, a TorchScript program, damage: ours will say
            with path.open("rb") as file:
                return plain(read_torch(file))
    except WeightsError as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint or "fetch the file again") from None
    except RecursionError:
        raise WeightsError(f"{path} is nested too deeply to be weights") from None
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        ValueError,  # UnicodeDecodeError too
        TypeError,
        AttributeError,
        LookupError,
        OverflowError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        OSError,
        AssertionError,
    ) as error:
        # What a damaged pickle makes the reader stumble over is anything; it ran nothing.
        raise WeightsError(
            f"{path} is no weights file, or a damaged one ({type(error).__name__}: {error})",
            hint="fetch the file again and compare its size",
        ) from None


def _interpret(path: Path, content: Any) -> Checkpoint:
    """Find the tensors in what a file holds."""
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds {type(content).__name__}, not named tensors")
    metadata: dict[str, Any] = {}
    state: dict[str, Any] = content
    for key in STATE_KEYS:
        if isinstance(content.get(key), dict) and _tensors(content[key]):
            state = content[key]
            metadata = {name: value for name, value in content.items() if name != key}
            break
    tensors = _tensors(state)
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; its keys are {', '.join(map(str, list(content)[:10]))}")
    metadata |= {str(name): value for name, value in state.items() if name not in tensors}
    kind: Format = "torch"
    if "pytorch-lightning_version" in metadata:
        kind = "lightning"
    elif "matching_heuristics" in metadata or any(isinstance(v, np.ndarray) for v in state.values()):
        kind = "detectron2"
    return Checkpoint(tensors, metadata, kind)


def _tensors(values: dict[Any, Any]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in "biufc" and value.dtype.itemsize <= 16:
            native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
            value = torch.from_numpy(native)
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            found[name] = value.detach()
    return found
