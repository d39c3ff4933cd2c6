"""Images with semantic and instance maps: one data set class over the layouts listed in ``label_layouts``.

A layout lists :class:`LabelledRecord` and decodes a record's label files to raw ids; the table from raw ids to the
labels of a space comes from :mod:`nolabel.labels`. So a new data set is a list function, a decoder and an entry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from nolabel.data.files import read_image, read_image_bytes
from nolabel.data.transforms import CentreCrop, CutOrPad, Rescale, consecutive_ids
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LABEL_SPACES, VOID, LabelSpace, raw_table
from nolabel.structures import LabelledSample

__all__ = [
    "IdMap",
    "LabelledDataset",
    "LabelledLayout",
    "LabelledRecord",
    "find_space",
    "identity_table",
    "look_up",
]

IdMap = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelledRecord:
    """Where one sample comes from.

    Args:
        name: the sample's name.
        image: the picture.
        label: the file with class ids (and, in many layouts, instance ids).
        instance: a second file with instance ids, where the layout has one.
        segments: for label files that hold segment ids as colours: id -> (raw class, whether it is an instance).
    """

    name: str
    image: Path
    label: Path
    instance: Path | None = None
    segments: dict[int, tuple[int, bool]] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class LabelledLayout:
    """What the reader has to know about a data set's files.

    Args:
        table: name of the raw-id table, see :func:`nolabel.labels.raw_table`, or the table itself.
        records: lists a root and split; raises DataError where files are missing.
        decode: reads a record's labels: raw class ids (H, W) and instance ids (H, W), 0 = no instance.
        crop: (height, width) of the published evaluation; None: native size.
        fit: ``centre``: centre crop; ``pad``: first cut or pad at the right and bottom to that size.
        space: default label space.
        source: where to get it.
    """

    table: str | npt.NDArray[np.uint8]
    records: Callable[[Path, str], list[LabelledRecord]]
    decode: Callable[[LabelledRecord], tuple[IdMap, IdMap]]
    crop: tuple[int, int] | None
    fit: Literal["centre", "pad"]
    space: LabelSpace | str
    source: str
    void_has_instances: bool = True
    """Whether the files' instance ids stay on void pixels (the original drops them for Waymo only)."""


class LabelledDataset(Dataset[LabelledSample]):
    """Images with semantic labels and instance ids (spec cups_model, section 7).

    ``dataset[i]`` is a :class:`~nolabel.structures.LabelledSample`: image (3, H, W) in [0, 1], semantic (H, W) int64 in
    ``space`` with 255 = void, instance (H, W) int64 with 0 = none and 1..N, and ``name``.

    Args:
        layout: how files are found and decoded.
        root: the data set's folder.
        split: as the data set calls it.
        space: label space or its name; the layout's by default.
        scale: resize factor (image bilinear, maps nearest).
        crop: (height, width) after scaling; ``"published"`` is the layout's; None is the whole image.
        transform: joint transform, applied after scale and crop.
        reference_compat: number instances as the original does, see :func:`consecutive_ids`, and keep the ids that
            its 7-class Waymo reader leaves on void pixels.

    Raises:
        DataError: files are missing.
        ConfigError: the space is unknown or has no table for this data set.
    """

    def __init__(
        self,
        layout: LabelledLayout,
        root: str | Path,
        split: str,
        space: LabelSpace | str | None = None,
        *,
        scale: float = 1.0,
        crop: tuple[int, int] | Literal["published"] | None = "published",
        transform: v2.Transform | None = None,
        reference_compat: bool = False,
    ) -> None:
        self.layout = layout
        self.root = Path(root)
        self.split = split
        self.space = find_space(space if space is not None else layout.space)
        self.table = raw_table(layout.table, self.space) if isinstance(layout.table, str) else layout.table
        self.scale = scale
        self.crop = layout.crop if crop == "published" else crop
        self.transform = transform
        self.reference_compat = reference_compat
        self.records: Sequence[LabelledRecord] = layout.records(self.root, split)
        if not self.records:
            raise DataError(f"{self.root} holds no labelled images of split {split!r}", hint=layout.source)

    @property
    def names(self) -> list[str]:
        """The samples' names, in order."""
        return [record.name for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def read_labels(self, index: int) -> torch.Tensor:
        """Return the classes (H, W) uint8 of a sample as they are stored, 255 void, without reading its image."""
        raw, _ = self.layout.decode(self.records[index])
        return torch.from_numpy(look_up(self.table, raw))

    def read_image(self, index: int) -> torch.Tensor:
        """Return the image (3, H, W) uint8 of a sample as it is stored, without reading its labels."""
        return read_image_bytes(self.records[index].image)

    def __getitem__(self, index: int) -> LabelledSample:
        record = self.records[index]
        image = read_image(record.image)
        raw, instance = self.layout.decode(record)
        if raw.shape != image.shape[-2:]:
            raise DataError(
                f"{record.label} has {raw.shape[0]}x{raw.shape[1]} pixels, {record.image} has "
                f"{image.shape[-2]}x{image.shape[-1]}",
                hint="an image and its labels must have one size",
            )
        semantic = look_up(self.table, raw)
        # The original's test for void fails in its 7-class table, where void is -1.
        kept = self.reference_compat and self.space.name == "cityscapes_7"
        if not (self.layout.void_has_instances or kept):
            instance = np.where(semantic == VOID, 0, instance)
        sample: LabelledSample = {
            "name": record.name,
            "image": image,
            "semantic": tv_tensors.Mask(torch.from_numpy(semantic.astype(np.int64))),
            "instance": tv_tensors.Mask(torch.from_numpy(instance)),
        }
        try:
            sample = self._geometry()(sample)
        except DataError as error:
            raise DataError(f"{record.image}: {error.message}", hint=error.hint) from None
        ids = consecutive_ids(sample["instance"], reference_compat=self.reference_compat)
        sample["instance"] = tv_tensors.Mask(ids.as_subclass(torch.Tensor))
        if self.transform is not None:
            sample = self.transform(sample)
        return sample

    def _geometry(self) -> v2.Transform:
        steps: list[v2.Transform] = [Rescale(self.scale)]
        if self.crop is not None:
            steps.append(CutOrPad(self.crop) if self.layout.fit == "pad" else CentreCrop(self.crop))
        return v2.Compose(steps)


def look_up(table: npt.NDArray[Any], raw: IdMap) -> npt.NDArray[np.uint8]:
    """Map raw ids to labels; an id outside the table is void."""
    known = (raw >= 0) & (raw < len(table))
    labels: npt.NDArray[np.uint8] = np.where(known, table[np.where(known, raw, 0)], VOID).astype(np.uint8)
    return labels


def find_space(space: LabelSpace | str) -> LabelSpace:
    """Return the space of a name.

    Raises:
        ConfigError: no space is called so.
    """
    if isinstance(space, LabelSpace):
        return space
    if space not in LABEL_SPACES:
        raise ConfigError(
            f"no label space is called {space!r}", hint=f"label spaces: {', '.join(LABEL_SPACES)}"
        )
    return LABEL_SPACES[space]


def identity_table(space: LabelSpace) -> npt.NDArray[np.uint8]:
    """Return the table of maps that hold a space's labels already; everything else is void."""
    table = np.full(256, VOID, np.uint8)
    table[: space.num_classes] = np.arange(space.num_classes)
    return table
