"""Images with human labels as training samples: a few for fine-tuning, or all of them for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import Dataset

from nolabel.data import LabelledDataset, find_labelled, open_labels
from nolabel.engine.seeding import generator_of
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace
from nolabel.methods.cups.pseudo_label_dataset import TrainingSample
from nolabel.methods.cups.targets import build_target

__all__ = ["LabelledImages", "choose_images"]


CITYSCAPES_CLASSES = ("cityscapes", "kitti_panoptic", "bdd", "muses", "waymo")
"""Layouts whose labels can be read as the 19 classes."""


class LabelledImages(Dataset[TrainingSample]):
    """Labelled images as training samples: every class of the label space is a cluster of its own.

    Stuff classes in ascending order are the semantic channels 1 .. S, thing classes the classes 0 .. T - 1.

    Args:
        images: the labelled data set.
        chosen: positions of the images to use; all by default.

    Attributes:
        images: the data set.
        positions: of the used images in it.
    """

    def __init__(self, images: LabelledDataset, chosen: Sequence[int] | None = None) -> None:
        self.images = images
        self.positions = list(range(len(images)) if chosen is None else chosen)

    @property
    def space(self) -> LabelSpace:
        """The classes."""
        return self.images.space

    @property
    def names(self) -> list[str]:
        """Names of the images, in order."""
        names = self.images.names
        return [names[index] for index in self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: int) -> TrainingSample:
        sample = self.images[self.positions[index]]
        semantic, instance = torch.as_tensor(sample["semantic"]), torch.as_tensor(sample["instance"])
        target = build_target(semantic, instance, self.space.things, self.space.stuff)
        return TrainingSample(sample["name"], torch.as_tensor(sample["image"]), target)


def open_for_training(
    data: Path, dataset: str | None = None, split: str | None = None, *, space: str | None, scale: float = 1.0
) -> LabelledDataset:
    """Open labelled images to train on: whole images of the part ``train``, 19 classes where the layout has them.

    Args:
        data: the data set's folder.
        dataset: its layout; found by looking at the folder by default.
        split: part of it; by default ``train``, or what the layout has where it has no such part.
        space: label space; by default ``cityscapes_19`` for the layouts of street scenes that have it, else the data's own.
        scale: size factor of images and labels.

    Raises:
        ConfigError, DataError: see :func:`nolabel.data.open_labels`.
    """
    layout = dataset or find_labelled(data)
    if split is None and (layout != "folder" or (data / "labels" / "train").is_dir()):
        split = "train"
    if space is None and layout in CITYSCAPES_CLASSES:
        space = "cityscapes_19"
    return open_labels(data, layout, split, space=space, scale=scale, crop=None)


def choose_images(
    images: LabelledDataset, count: int | None = None, *, seed: int = 0, listed: Path | None = None
) -> LabelledImages:
    """Choose the labelled images that training may see.

    Args:
        images: the labelled data set.
        count: how many, drawn at random; all by default.
        seed: of that draw: a larger count contains the images of a smaller one.
        listed: text file that names the images instead, one a line (a name, or the path of an image file).

    Raises:
        ConfigError: both a list and a count.
        DataError: the data set has fewer images, or the list is missing, empty or names others.
    """
    if listed is not None:
        if count is not None:
            raise ConfigError(
                "a list of images and a number of images exclude each other", hint="leave one out"
            )
        return LabelledImages(images, _positions(images, listed))
    if count is None:
        return LabelledImages(images)
    if count > len(images):
        raise DataError(
            f"{count} labelled images were asked for, {images.root} has {len(images)}.", hint="ask for fewer"
        )
    order = torch.randperm(len(images), generator=generator_of(seed, "labelled images"))
    return LabelledImages(images, sorted(order[:count].tolist()))


def _positions(images: LabelledDataset, listed: Path) -> list[int]:
    try:
        lines = [line.strip() for line in listed.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the list {listed} cannot be read: {error}") from error
    wanted = [Path(line).stem for line in lines if line]
    positions = {name: index for index, name in enumerate(images.names)}
    missing = [name for name in wanted if name not in positions]
    if missing or not wanted:
        what = f"names {missing[0]!r}, which {images.root} does not have" if missing else "names no image"
        raise DataError(f"the list {listed} {what}.", hint=f"names look like {images.names[0]}")
    return sorted({positions[name] for name in wanted})
