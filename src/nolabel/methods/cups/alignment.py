"""Which class each cluster stands for, stored with a model, so that prediction needs no ground truth.

A file of ours carries it in its card. Beside any other checkpoint (``cups.ckpt``) lies a small JSON
(``cups.ckpt.alignment.json``); :func:`nolabel.load` picks it up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from nolabel.data.files import read_json
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import LABEL_SPACES, VOID, LabelSpace
from nolabel.structures.files import write_json
from nolabel.weights import load_checkpoint, save_safetensors

__all__ = ["CARD_KIND", "alignment_file", "need_own_file", "read_alignment", "store_alignment"]

CARD_KIND = "cups-panoptic"
"""What the card of a file of ours says it is."""
KIND = "nolabel-alignment/1"


def alignment_file(checkpoint: Path) -> Path:
    """Return where the matching of a checkpoint that is not ours lies."""
    return checkpoint.with_name(f"{checkpoint.name}.alignment.json")


def need_own_file(checkpoint: Path) -> None:
    """Refuse models beside which nothing can be stored; ask before a long validation.

    Raises:
        ConfigError: the model belongs to the installed package, or its folder cannot be written to.
    """
    if checkpoint.resolve().is_relative_to(Path(str(resources.files("nolabel"))).resolve()):
        problem = "the embedded network is part of the installation and is not changed"
    elif not os.access(checkpoint.parent, os.W_OK):
        problem = f"{checkpoint.parent} cannot be written to"
    else:
        return
    raise ConfigError(problem, hint=f"copy {checkpoint} to a folder of yours and align the copy")


def store_alignment(checkpoint: Path, classes: Sequence[int], space: LabelSpace, aligned_on: str) -> Path:
    """Store a matching with a model; an earlier one is replaced.

    Args:
        checkpoint: the model's file.
        classes: class of every cluster (stuff first), 255 = none.
        space: what the classes are.
        aligned_on: the images that the matching was found on.

    Returns:
        The file that holds it.

    Raises:
        ConfigError: the space has no registered name, or see :func:`need_own_file`.
    """
    if LABEL_SPACES.get(space.name) != space:
        raise ConfigError(
            f"a matching with {space.name} cannot be stored: only registered label spaces have names in files",
            hint=f"score in one of {', '.join(LABEL_SPACES)}",
        )
    need_own_file(checkpoint)
    entries = [int(label) for label in classes]
    loaded = load_checkpoint(checkpoint)
    if loaded.metadata.get("kind") == CARD_KIND:
        card = {**loaded.metadata, "alignment": entries, "space": space.name, "aligned_on": aligned_on}
        save_safetensors(checkpoint, loaded.state_dict, card)
        return checkpoint
    content = {"kind": KIND, "space": space.name, "aligned_on": aligned_on, "alignment": entries}
    return write_json(alignment_file(checkpoint), content)


def read_alignment(checkpoint: Path, num_clusters: int) -> tuple[tuple[int, ...], LabelSpace] | None:
    """Return the matching that lies beside a checkpoint, ``None`` where there is none.

    Raises:
        WeightsError: the file is broken or belongs to a network with other clusters.
    """
    path = alignment_file(checkpoint)
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        space = LABEL_SPACES[content["space"]]
        classes = tuple(int(label) for label in content["alignment"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path} holds no matching of clusters: {type(error).__name__} {error}",
            hint="delete it, or store it anew with `nolabel cups validate ... --align`",
        ) from None
    if len(classes) != num_clusters or any(c != VOID and not 0 <= c < space.num_classes for c in classes):
        raise WeightsError(
            f"{path} names {len(classes)} clusters in {space.name}; the network has {num_clusters}",
            hint="delete it, or store it anew with `nolabel cups validate ... --align`",
        )
    return classes, space
