"""Official weights: safe reading of every format, the registry of files, conversion to safetensors."""

from __future__ import annotations

from nolabel.weights.checkpoint import Checkpoint, Part, load_checkpoint, select_part
from nolabel.weights.convert import convert, file_hash, save_safetensors
from nolabel.weights.registry import REGISTRY, WeightsEntry, find_weights, weights_folders

__all__ = [
    "REGISTRY",
    "Checkpoint",
    "Part",
    "WeightsEntry",
    "convert",
    "file_hash",
    "find_weights",
    "load_checkpoint",
    "save_safetensors",
    "select_part",
    "weights_folders",
]
