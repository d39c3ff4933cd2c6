"""Semantic predictions that lie in a folder as PNGs, whoever wrote them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nolabel.data.files import list_images, read_json, read_map
from nolabel.data.labelled import find_space, identity_table, look_up
from nolabel.data.named_files import NameIndex
from nolabel.errors import DataError
from nolabel.labels import LABEL_SPACES, VOID, LabelSpace, raw_table, space_map

__all__ = ["PREDICTIONS_FILE", "PredictedLabels"]

PREDICTIONS_FILE = "predictions.json"
"""Written with predictions of ours: it says what their labels mean."""
_ENDING = re.compile(r"(_semantic|_gtFine|_label(TrainI|I)ds|_train_?[iI]ds?|_pred(iction)?|_colou?r)+$")
_HELP = "one PNG for each image and of its name: class ids (255 is void), or the colours of the classes"


class PredictedLabels:
    """Label maps of a folder, found by the names of the images.

    The files are called like the images, possibly with an ending (``_semantic``, ``_labelTrainIds``, ``_pred``,
    ``_colour``) or folders in front. One channel holds ids, palette files too; ids beyond the classes are void. Three
    channels hold the colours of the space; other colours are void.

    Args:
        folder: of the files.
        space: what the labels mean; where a ``predictions.json`` says it, that counts.
        raw_ids_of: data set whose raw ids the maps hold (``cityscapes`` for label ids).

    Raises:
        DataError: the folder holds no predictions.
    """

    def __init__(self, folder: str | Path, space: LabelSpace | str, *, raw_ids_of: str | None = None) -> None:
        self.folder = Path(folder)
        self.space = find_space(space)
        written = self._written_space()
        self._table = identity_table(written) if raw_ids_of is None else raw_table(raw_ids_of, self.space)
        if raw_ids_of is None and written != self.space:
            self._table = np.where(self._table == VOID, VOID, space_map(written, self.space)[self._table])
        self._colours, self._labels = _colour_table(self.space)
        self._files = self._list()
        self._index = NameIndex(self._files)

    @property
    def names(self) -> list[str]:
        """What :meth:`read` finds: the names of the files without their endings."""
        return list(self._files)

    @property
    def facts(self) -> dict[str, Any]:
        """What results say of where the predictions came from."""
        return {"source": "label maps", "folder": self.folder.resolve().name, "predictions": len(self._files)}

    def read(self, name: str) -> torch.Tensor:
        """Return the labels (H, W) uint8 predicted for an image, 255 void.

        Raises:
            DataError: there is no such file, or it is no label map.
        """
        path = self._files[self._index.find(name)]
        raw = read_map(path)
        if raw.ndim == 2:
            return torch.from_numpy(look_up(self._table, raw))
        if raw.shape[2] not in (3, 4):
            raise DataError(f"{path} has {raw.shape[2]} channels", hint=_HELP)
        codes = (raw[..., 0] << 16) + (raw[..., 1] << 8) + raw[..., 2]
        places = np.searchsorted(self._colours, codes).clip(max=len(self._colours) - 1)
        known = self._colours[places] == codes
        if not known.any():
            raise DataError(f"{path} holds no colour of {self.space.name}", hint=_HELP)
        return torch.from_numpy(np.where(known, self._labels[places], VOID).astype(np.uint8))

    def _written_space(self) -> LabelSpace:
        card = self.folder / PREDICTIONS_FILE
        name = read_json(card).get("space") if card.is_file() else None
        return LABEL_SPACES.get(name, self.space) if isinstance(name, str) else self.space

    def _list(self) -> dict[str, Path]:
        """Label maps by bare name. What lies beside them (overlays) lies in folders of its own."""
        if not self.folder.is_dir():
            raise DataError(f"there is no folder {self.folder}", hint=_HELP)
        places = [self.folder, self.folder / "labels", self.folder / "predictions"]
        found: list[Path] = next((p for place in places if (p := sorted(place.glob("*.png")))), [])
        found = found or [path for path in list_images(self.folder) if path.suffix.lower() == ".png"]
        named = [path for path in found if path.stem.endswith("_semantic")] or found
        files = {_ENDING.sub("", path.stem): path for path in named if not path.stem.endswith("_instance")}
        if not files:
            raise DataError(f"{self.folder} holds no PNGs", hint=_HELP)
        return files


def _colour_table(space: LabelSpace) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Ascending colours and the label of each; of classes with one colour the first counts. White and black are void."""
    colours = space.palette[: space.num_classes].astype(np.int64)
    codes = (colours[:, 0] << 16) + (colours[:, 1] << 8) + colours[:, 2]
    codes, first = np.unique(codes, return_index=True)
    return codes, first.astype(np.uint8)
