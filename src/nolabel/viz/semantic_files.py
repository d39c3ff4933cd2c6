"""The files that semantic results are written to, image by image: one class for all kinds, chosen by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.labels import LabelSpace, cityscapes_label_ids
from nolabel.structures import SemanticMap
from nolabel.structures.files import write_png
from nolabel.viz.colours import Picture
from nolabel.viz.overlays import semantic_overlay
from nolabel.viz.result_files import ResultFiles, known_formats

__all__ = ["SEMANTIC_FORMATS", "SemanticFiles"]

SEMANTIC_FORMATS: dict[str, str] = {
    "labels": "<name>_semantic.png: 8 bit, value = class (trainIds for Cityscapes' 19), 255 void, with palette",
    "colours": "colours/<name>.png: the colours of the classes, void black",
    "confidence": "confidence/<name>.png: 8 bit, value = probability of the pixel's class in percent",
    "train_ids": "train_ids/<name>.png: 8 bit without palette, as the servers of ACDC and Dark Zurich take them",
    "label_ids": "label_ids/<name>.png: 8 bit, Cityscapes' own ids (road 7, ..., bicycle 33), as its server takes them",
    "overlay": "overlay/<name>.jpg: the classes over the image",
    "video": "<sequence>.mp4: the overlays as a video",
    "gallery": "index.html: one page to look through, complete in itself",
}


class SemanticFiles(ResultFiles[SemanticMap]):
    """Writes semantic results in the chosen formats.

    Args:
        out: the folder.
        space: the label space of all results.
        formats: names of ``SEMANTIC_FORMATS``.
        total, title, fps: see :class:`~nolabel.viz.result_files.ResultFiles`.

    Raises:
        ConfigError: an unknown format, or none, or Cityscapes' ids of classes that it does not know.
    """

    def __init__(
        self,
        out: str | Path,
        space: LabelSpace,
        formats: Iterable[str],
        *,
        total: int,
        title: str = "Semantic predictions",
        fps: float = 10.0,
    ) -> None:
        chosen = known_formats(formats, SEMANTIC_FORMATS)
        super().__init__(out, space, chosen, total=total, title=title, fps=fps)
        self._label_ids = cityscapes_label_ids(space) if "label_ids" in chosen else None

    def _write(self, name: str, result: SemanticMap, file_name: str | None, chosen: set[str]) -> None:
        if "labels" in chosen:
            self.written["labels"] += len(result.save(self.out, name))
        if "colours" in chosen:
            write_png(self.out / "colours" / f"{name}.png", result.colours())
            self.written["colours"] += 1
        if "confidence" in chosen:
            if result.confidence is None:
                raise ConfigError("these results come without confidences", hint="leave confidence out")
            percent = (100 * result.confidence).round().to(torch.uint8).numpy()
            write_png(self.out / "confidence" / f"{name}.png", percent)
            self.written["confidence"] += 1
        if "train_ids" in chosen:
            write_png(self.out / "train_ids" / f"{name}.png", result.labels.to(torch.uint8).numpy())
            self.written["train_ids"] += 1
        if self._label_ids is not None and "label_ids" in chosen:
            ids = self._label_ids[result.labels.numpy()].astype(np.uint8)
            write_png(self.out / "label_ids" / f"{name}.png", ids)
            self.written["label_ids"] += 1
        self._count(result.labels)

    def _picture(self, result: SemanticMap, image: Tensor | None) -> Picture:
        return semantic_overlay(self._background(result.size, image), result.labels, self.space)
