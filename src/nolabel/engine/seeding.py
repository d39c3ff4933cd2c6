"""Random states as values: seeds made from names, and the state of every generator taken and put back."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = [
    "generator_of",
    "preserved_random_state",
    "random_state",
    "seed_everything",
    "seed_of",
    "set_random_state",
]


def seed_of(*parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on nothing else (no process, no order)."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_of(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator seeded with :func:`seed_of` the parts, for instance (seed, item name)."""
    return torch.Generator(device).manual_seed(seed_of(*parts))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 the legacy global state is what third parties draw from
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the states of the global generators as plain values and tensors (safe to store)."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    version, internal, gauss_next = random.getstate()
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [name, torch.from_numpy(np.array(keys, dtype=np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what :func:`random_state` returned; GPU states only where the GPUs are as many."""
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([item.cpu() for item in state["cuda"]])


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leave the global generators as they were found."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
