"""Pseudo-labels and predictions as the files that other trainers and annotation tools read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nolabel.data.files import read_json
from nolabel.data.predicted_labels import PREDICTIONS_FILE
from nolabel.engine.progress import Progress
from nolabel.errors import DataError
from nolabel.labels import LABEL_SPACES, LabelClass, LabelSpace, pseudo_space
from nolabel.methods.cups.prediction_folder import label_split, read_pair
from nolabel.methods.cups.statistics import label_stems
from nolabel.structures import PanopticMap
from nolabel.viz.panoptic_files import Format, PanopticFiles

__all__ = ["export_labels"]


def export_labels(
    labels: str | Path,
    out: str | Path,
    formats: Sequence[str] = ("coco",),
    *,
    split: str = "train",
    progress: bool = True,
) -> dict[str, int]:
    """Write a folder of pseudo-labels or predictions in other formats.

    Args:
        labels: folder with ``<name>_semantic.png`` and ``<name>_instance.png``, written by ``nolabel cups
            pseudo-label`` (classes are clusters, things those of its statistics) or ``nolabel cups predict``.
        out: folder of the result.
        formats: of :data:`nolabel.viz.panoptic_files.FORMATS`; ``cityscapes`` needs named classes.
        split: of Cityscapes' folders.
        progress: show progress.

    Returns:
        format -> number of files.

    Raises:
        DataError: the folder holds no labels, or a file is damaged.
        ConfigError: an unknown format, or Cityscapes' codes for clusters.
    """
    labels = Path(labels)
    stems = label_stems(labels) if labels.is_dir() else []
    if not stems:
        raise DataError(
            f"{labels} holds no <name>_semantic.png",
            hint="give the folder of `nolabel cups pseudo-label`, or of `nolabel cups predict --save labels`",
        )
    space, files = _meaning(labels)
    things = torch.zeros(256, dtype=torch.bool)
    things[list(space.things)] = True
    chosen: tuple[Format, ...] = tuple(formats)  # type: ignore[arg-type]  # checked by PanopticFiles
    writer = PanopticFiles(
        out, space, chosen, total=len(stems), title=f"Labels of {labels.name}", split=split
    )
    with Progress("export", len(stems), unit="images", enabled=progress) as bar, writer:
        for stem in stems:
            semantic, instance = read_pair(labels, stem).unbind(dim=-1)
            # Objects of stuff classes have no place in these formats: they are part of their class.
            instance = torch.where(things[semantic.clamp(0, 255)], instance, 0)
            writer.add(stem, PanopticMap(semantic, instance, space), file_name=files.get(stem))
            bar.advance()
    return dict(writer.written)


def _meaning(labels: Path) -> tuple[LabelSpace, dict[str, str]]:
    """The label space of a folder, and the picture of each label where that is noted."""
    card = labels / PREDICTIONS_FILE
    if not card.is_file():
        split = label_split(labels)
        return pseudo_space(len(split.stuff) + len(split.things), split.things), {}
    content = read_json(card)
    files = {entry["name"]: entry["file"] for entry in content["images"]}
    if content["space"] in LABEL_SPACES:
        return LABEL_SPACES[content["space"]], files
    classes = tuple(
        LabelClass(entry["name"], tuple(entry["color"]), bool(entry["isthing"]))
        for entry in content["categories"]
    )
    return LabelSpace(content["space"], classes), files
