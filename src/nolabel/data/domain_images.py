"""The two domains as trainings see them: labelled source images, and target images that only have names.

Images are uint8 and label maps uint8 with 255 for void until the network takes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel.config import Config
from nolabel.data.domains import JoinedLabelled, LabelledEntry
from nolabel.data.files import examples, read_image_bytes
from nolabel.data.folder import FolderImages
from nolabel.data.label_files import read_channels
from nolabel.data.labelled import LabelledDataset
from nolabel.data.resizing import resize_labels
from nolabel.data.unlabelled import open_unlabelled
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace

__all__ = [
    "DataPart",
    "LabelledImage",
    "SourceImages",
    "TargetImages",
    "open_source",
    "open_target",
    "open_validation",
    "place_parts",
    "read_labelled",
]

LabelledImage = tuple[Tensor, Tensor]
"""Image (3, H, W) uint8 and labels (H, W) uint8, 255 void."""


class DataPart(Config):
    """One data set, or one part of it."""

    root: Path | None = None
    """Its folder, or a text file with one image path a line; usually given on the command line."""
    labels: Path | None = None
    """Text file of the label maps, line by line those of ``root``."""
    dataset: str | None = None
    """Layout (gta5, synthia, synscapes, cityscapes, camvid, ...); found by looking by default. GTA5 has to be named."""
    split: str | None = None
    """Part, as the data set calls it (train, val, train/0006R0)."""
    mapping: Path | None = None
    """Own folders: file that says what ids or colours mean."""


class SourceImages(Sequence[LabelledImage]):
    """One or several labelled data sets in a row.

    Args:
        parts: the data sets, all in one label space.

    Raises:
        ConfigError: their label spaces differ.
    """

    def __init__(self, parts: Sequence[LabelledDataset]) -> None:
        self.joined = JoinedLabelled(parts)
        self.names = list(self.joined.names)

    @property
    def parts(self) -> list[LabelledDataset]:
        """The data sets."""
        return self.joined.parts

    @property
    def starts(self) -> list[int]:
        """Index of the first image of each part."""
        return [0, *accumulate(len(part) for part in self.parts)][:-1]

    @property
    def space(self) -> LabelSpace:
        """The label space."""
        return self.joined.space

    @property
    def identity(self) -> str:
        """A hash of its images' names and of what their labels mean."""
        tables = [hashlib.sha256(part.table.tobytes()).hexdigest() for part in self.parts]
        return _identity(self.names, self.space.name, *tables)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> LabelledImage:  # type: ignore[override]
        image, labels = self.joined.read_image(index), self.joined.read_labels(index)
        if image.shape[-2:] != labels.shape:
            self.joined[index]  # says what is wrong
        return image, labels


class TargetImages:
    """Images without labels.

    Attributes:
        names: unique, safe as file names.
        paths: of the files.
    """

    def __init__(self, images: FolderImages) -> None:
        self.names, self.paths = list(images.names), [Path(path).absolute() for path in images.paths]
        self.place = {name: index for index, name in enumerate(self.names)}

    @property
    def identity(self) -> str:
        """A hash of what is in it."""
        return _identity(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, name: str) -> Path:
        """Return the file of an image."""
        return self.paths[self.place[name]]


def open_source(parts: Sequence[DataPart], space: str) -> SourceImages:
    """Open labelled source data.

    Raises:
        ConfigError: a root is not given, or the space is not known.
        DataError: files are missing.
    """
    return SourceImages([_entry(part, "source").open(space) for part in parts])


def open_target(parts: Sequence[DataPart]) -> TargetImages:
    """Open target images: of a data set's split, of ``ROOT/images/SPLIT``, or whatever a folder holds.

    Raises:
        ConfigError: a root is not given.
        DataError: nothing that can be read is there.
    """
    paths: list[Path] = []
    for part in parts:
        root = _root(part, "target")
        if part.split and (root / "images" / part.split).is_dir():
            images = open_unlabelled(root / "images" / part.split)
        else:
            images = open_unlabelled(root, part.dataset, split=part.split or "train")
        if not isinstance(images, FolderImages):
            raise DataError(
                f"{root} is a video", hint="extract its frames first: pseudo-labels belong to image files"
            )
        paths += images.paths
    return TargetImages(FolderImages(paths))


def open_validation(part: DataPart, space: str) -> LabelledDataset:
    """Open labelled target images for scores."""
    return _entry(part, "validation").open(space, split="val")


def place_parts(parts: tuple[DataPart, ...], roots: Sequence[Path] | None, what: str) -> tuple[DataPart, ...]:
    """Return the parts that a recipe lists with the folders that a command gave.

    Args:
        parts: of one domain.
        roots: one folder for each part, one for all of them, or several for a single part; none to change nothing.
        what: the domain's option, for messages.

    Raises:
        ConfigError: neither fits.
    """
    if not roots:
        return parts
    if len(parts) == 1 and len(roots) > 1:
        parts = parts * len(roots)
    elif len(roots) == 1:
        roots = list(roots) * len(parts)
    if len(roots) != len(parts):
        raise ConfigError(
            f"the settings list {len(parts)} parts of the {what}, but {len(roots)} folders are given",
            hint=f"one --{what} for each part, in their order, or one for all",
        )
    return tuple(part.model_copy(update={"root": root}) for part, root in zip(parts, roots, strict=True))


def read_labelled(image: str | Path, label: str | Path) -> LabelledImage:
    """Read an image and its pseudo-label, which is brought to the image's size where they differ."""
    pixels = read_image_bytes(image)
    labels = torch.from_numpy(read_channels(Path(label), 1).astype(np.uint8))
    size = (pixels.shape[-2], pixels.shape[-1])
    return pixels, labels if tuple(labels.shape) == size else resize_labels(labels, size)


def _entry(part: DataPart, what: str) -> LabelledEntry:
    return LabelledEntry(
        data=_root(part, what),
        labels=part.labels,
        dataset=part.dataset,
        split=part.split,
        mapping=part.mapping,
    )


def _root(part: DataPart, what: str) -> Path:
    if part.root is None:
        raise ConfigError(f"no folder is given for the {what} data", hint=f"add --{what} FOLDER")
    if not part.root.exists():
        raise DataError(f"there is no {part.root}", hint=f"check --{what}: {examples([part.root.parent])}")
    return part.root


def _identity(names: Sequence[str], *more: str) -> str:
    return hashlib.sha256("\n".join([*more, *names]).encode()).hexdigest()[:16]
