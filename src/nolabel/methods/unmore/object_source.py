"""Photographs with masks of their objects, from a label file of any stage or from folders of PNGs.

Source: unMORE specification, 2.4, 3.1 and 3.2.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pycocotools.mask as mask_utils
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.data.files import examples, list_images, read_image, read_map
from nolabel.errors import DataError
from nolabel.methods.unmore.label_files import LabelledImage, read_label_file
from nolabel.methods.unmore.top_one import largest_component
from nolabel.structures.rle import RLE, decode

__all__ = [
    "LabelFileObjects",
    "MaskFolderObjects",
    "ObjectSource",
    "ObjectsConfig",
    "fit_mask",
    "open_objects",
]

LABEL_FILES = ("labels.json", "annotations.json")
EXIF_ORIENTATION = 0x0112


class ObjectsConfig(Config):
    """Which objects of the labels are learned from, and how much of the image around them."""

    use: Literal["best", "all"] = "best"
    """The object with the highest score of each image (as published, for photographs of one object), or all of them
    (scenes, labels that are to be trusted)."""
    one_piece: bool = True
    """Keep only the largest connected piece of a mask."""
    window: float | None = Field(None, gt=1)
    """For scenes: take a square of so many times the longer side of the object's box for the image."""
    min_area: int = Field(0, ge=0)
    """Leave out objects of fewer pixels."""


class ObjectSource(ABC):
    """Samples: objects of images, each known by the image's file, its own mask and those of all objects there.

    Attributes:
        window: of :class:`ObjectsConfig`.
    """

    window: float | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Count the samples."""

    @property
    @abstractmethod
    def images(self) -> Sequence[int]:
        """Number of the image of every sample, ascending."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """SHA-256 of what the samples are."""

    @abstractmethod
    def picture(self, index: int) -> Path:
        """Return the image's file."""

    @abstractmethod
    def object_mask(self, index: int) -> Tensor:
        """Return the sample's object, (H, W) bool."""

    @abstractmethod
    def all_masks(self, index: int) -> Tensor | None:
        """Return the union of all known objects of the image, (H, W) bool; None where it is not known."""

    def read(self, index: int, *, everything: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
        """Read a sample.

        Args:
            index: its number.
            everything: also return the union of all objects.

        Returns:
            Image (3, H, W) float RGB in [0, 1], object (H, W) bool, and the union or None; of the window around the
            object, if there is one.

        Raises:
            DataError: the image cannot be read, or a mask does not fit it.
        """
        path = self.picture(index)
        image = read_image(path).as_subclass(Tensor)
        size = (image.shape[-2], image.shape[-1])
        mask = fit_mask(self.object_mask(index), size, path)
        union = self.all_masks(index) if everything else None
        if union is not None:
            union = fit_mask(union, size, path)
        if self.window is not None and bool(mask.any()):
            rows, columns = _square(mask, self.window)
            image, mask = image[:, rows, columns], mask[rows, columns]
            union = None if union is None else union[rows, columns]
        return image, mask, union

    def split(self, share: float) -> tuple[list[int], list[int]]:
        """Return the samples to learn from, and those of every so-many-th image to look at.

        Args:
            share: part of the images to look at, [0, 0.5]; at 0, or where there are too few images, all samples
                are in both lists, as in the original.
        """
        every = round(1 / share) if share > 0 else 0
        looked_at = [i for i, image in enumerate(self.images) if every and image % every == every // 2]
        learned = [i for i, image in enumerate(self.images) if not every or image % every != every // 2]
        everything = list(range(len(self)))
        return (learned, looked_at) if learned and looked_at else (everything, everything)


class LabelFileObjects(ObjectSource):
    """Objects of a label file.

    Args:
        folder: where the images lie; their names in the file are relative to it.
        labelled: what the file holds.
        config: which objects.

    Raises:
        DataError: no object is left.
    """

    def __init__(self, folder: Path, labelled: Sequence[LabelledImage], config: ObjectsConfig) -> None:
        self.folder, self.config, self.window = folder, config, config.window
        self.names = [image.file_name for image in labelled]
        self.masks: list[list[RLE]] = [list(image.instances.masks) for image in labelled]
        self.chosen: list[tuple[int, int]] = []
        for number, image in enumerate(labelled):
            large = (image.instances.areas >= max(1, config.min_area)).nonzero()[:, 0]
            if config.use == "best" and len(large):
                large = large[image.instances.scores[large].argmax()][None]
            self.chosen += [(number, place) for place in large.tolist()]
        if not self.chosen:
            raise DataError(
                f"the labels name {len(labelled)} images and no object of {max(1, config.min_area)} pixels or more",
                hint="lower objects.min_area, or make labels with more objects",
            )

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def images(self) -> Sequence[int]:
        """Number of the image of every sample, ascending."""
        return [image for image, _ in self.chosen]

    @property
    def identity(self) -> str:
        """SHA-256 of names and masks."""
        digest = hashlib.sha256()
        for image, place in self.chosen:
            digest.update(f"{self.names[image]}\n".encode() + self.masks[image][place]["counts"])
        return digest.hexdigest()

    def picture(self, index: int) -> Path:
        """Return the image's file."""
        return self.folder / self.names[self.chosen[index][0]]

    def object_mask(self, index: int) -> Tensor:
        """Return the sample's object, (H, W) bool."""
        image, place = self.chosen[index]
        mask = decode(self.masks[image][place])
        return largest_component(mask) if self.config.one_piece else mask

    def all_masks(self, index: int) -> Tensor:
        """Return the union of all objects of the label file, also of those that are no samples."""
        return decode(mask_utils.merge(self.masks[self.chosen[index][0]]))


class MaskFolderObjects(ObjectSource):
    """One PNG for each image, as the original's preprocessing writes them.

    Args:
        folder: where the images lie.
        masks: PNGs of one object each, named like the images: 0 and 255, or ids of which 1 counts.
        instances: PNGs of the ids of all objects; without them there is no background to learn from.
        config: which part of the masks.

    Raises:
        DataError: the folders have no name in common.
    """

    def __init__(self, folder: Path, masks: Path, instances: Path | None, config: ObjectsConfig) -> None:
        self.config, self.window, self.instances, self.mask_folder = config, config.window, instances, masks
        pictures = {path.relative_to(folder).with_suffix(""): path for path in list_images(folder)}
        found = [path.relative_to(masks).with_suffix("") for path in list_images(masks)]
        self.names = [name for name in found if name in pictures]
        self.pictures = [pictures[name] for name in self.names]
        if not self.names:
            raise DataError(
                f"no picture of {folder} has a mask in {masks} (masks there: {examples(found) or 'none'})",
                hint="masks are PNGs with the names and subfolders of the pictures",
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def images(self) -> Sequence[int]:
        """Every sample is an image."""
        return range(len(self.names))

    @property
    def identity(self) -> str:
        """SHA-256 of the names and of the sizes of the mask files."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(f"{name} {self._mask_file(self.mask_folder, name).stat().st_size}\n".encode())
        return digest.hexdigest()

    def picture(self, index: int) -> Path:
        """Return the image's file."""
        return self.pictures[index]

    def object_mask(self, index: int) -> Tensor:
        """Return the sample's object, (H, W) bool."""
        values = _grey(self._mask_file(self.mask_folder, self.names[index]))
        mask = values > 0 if int(values.max()) > 128 else values == 1
        return largest_component(mask) if self.config.one_piece else mask

    def all_masks(self, index: int) -> Tensor | None:
        """Return the union of all objects, (H, W) bool; None where it has no file."""
        if self.instances is None:
            return None
        file = self._mask_file(self.instances, self.names[index])
        return _grey(file) > 0 if file.is_file() else None

    @staticmethod
    def _mask_file(folder: Path, name: Path) -> Path:
        return folder / name.parent / f"{name.name}.png"


def open_objects(
    images: Path, labels: Path, config: ObjectsConfig, instances: Path | None = None
) -> ObjectSource:
    """Open labels of any kind.

    Args:
        images: folder of the images.
        labels: COCO file, folder with such a file (``labels.json``, ``annotations.json``), or folder of PNGs.
        config: which objects.
        instances: with a folder of PNGs: folder of the PNGs of all objects' ids.

    Raises:
        DataError: there are no labels.
    """
    if labels.is_dir():
        file = next((labels / name for name in LABEL_FILES if (labels / name).is_file()), None)
        if file is None:
            return MaskFolderObjects(images, labels, instances, config)
        labels = file
    return LabelFileObjects(images, read_label_file(labels), config)


def fit_mask(mask: Tensor, size: tuple[int, int], picture: Path) -> Tensor:
    """Turn a mask that was made of a picture's pixels as they are stored as the camera notes in the picture.

    Pictures are read with the rotation of their EXIF entry. A mask that has the sides the other way round is turned
    likewise; without such an entry by 90 degrees clockwise, as the original does whatever the entry says.

    Args:
        mask: (H, W) bool.
        size: of the picture as it was read.
        picture: its file.

    Raises:
        DataError: the mask is of another picture.
    """
    if tuple(mask.shape) == size:
        return mask
    if tuple(mask.shape) != size[::-1]:
        raise DataError(
            f"{picture} is {size[0]} x {size[1]} and its mask {mask.shape[0]} x {mask.shape[1]}",
            hint="masks have the size of their pictures",
        )
    with Image.open(picture) as file:
        orientation = file.getexif().get(EXIF_ORIENTATION, 1)
    if orientation == 5:
        return mask.T
    if orientation == 7:
        return mask.T.flip(0, 1)
    return mask.rot90(1 if orientation == 8 else -1)


def _grey(path: Path) -> Tensor:
    values = torch.from_numpy(read_map(path))
    return values if values.ndim == 2 else values[..., 0]


def _square(mask: Tensor, factor: float) -> tuple[slice, slice]:
    """Return rows and columns of a square around an object, as far as the image goes."""
    ends = []
    for along in (1, 0):
        seen = mask.any(along).nonzero()[:, 0]
        ends.append((int(seen[0]), int(seen[-1]) + 1))
    half = factor * max(last - first for first, last in ends) / 2
    slices = []
    for (first, last), length in zip(ends, mask.shape, strict=True):
        middle = (first + last) / 2
        slices.append(slice(max(0, round(middle - half)), min(length, round(middle + half))))
    return slices[0], slices[1]
