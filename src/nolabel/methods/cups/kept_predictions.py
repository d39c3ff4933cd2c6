"""Predicted maps laid aside, compressed, until the assignment of clusters is known and they can be drawn."""

from __future__ import annotations

import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

__all__ = ["KeptPredictions"]


class KeptPredictions:
    """A context in which maps can be kept and fetched by name; they lie in a temporary folder, which goes with it.

    A map of 1024 x 2048 pixels takes some 30 kB, where a second prediction would take seconds.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Path, tuple[int, ...]]] = {}

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="nolabel-validate-", ignore_cleanup_errors=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def add(self, name: str, ids: Tensor) -> None:
        """Keep an integer map of any shape."""
        path = Path(self._folder.name) / str(len(self._entries))
        # The channels one after the other: runs of equal values compress best.
        channels = ids.movedim(-1, 0).to(torch.int32).contiguous().cpu()
        path.write_bytes(zlib.compress(channels.numpy().tobytes(), 1))
        self._entries[name] = path, tuple(channels.shape)

    def get(self, name: str) -> Tensor:
        """Return a kept map as int64.

        Raises:
            KeyError: nothing was kept under this name.
        """
        path, shape = self._entries[name]
        values = np.frombuffer(zlib.decompress(path.read_bytes()), np.int32).reshape(shape)
        return torch.from_numpy(values.astype(np.int64)).movedim(0, -1)
