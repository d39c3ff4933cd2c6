"""Images with their pseudo-labels, read back for training (spec cups_pseudo, section 10)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data import StereoVideoDataset
from nolabel.errors import DataError
from nolabel.methods.cups.label_source import open_source
from nolabel.methods.cups.statistics import (
    INSTANCE_SUFFIX,
    SEMANTIC_SUFFIX,
    ThingStuffSplit,
    label_stems,
    load_statistics,
    read_labels,
    split_things_and_stuff,
)
from nolabel.methods.cups.targets import build_target
from nolabel.models.panoptic import PanopticTarget

__all__ = ["PseudoLabelDataset", "TrainingSample", "open_pseudo_labels"]


@dataclass(frozen=True)
class TrainingSample:
    """One image with its target.

    Attributes:
        name: frame name.
        image: (3, H, W) float RGB in [0, 1].
        target: objects and semantic channels, (H, W) maps.
    """

    name: str
    image: Tensor
    target: PanopticTarget

    def to(self, device: torch.device | str) -> Self:
        """Return the sample on ``device``."""
        return type(self)(self.name, self.image.to(device), self.target.to(device))

    def state(self) -> dict[str, Any]:
        """Return plain tensors, for a checkpoint."""
        target = {field.name: getattr(self.target, field.name).cpu() for field in fields(self.target)}
        return {"name": self.name, "image": self.image.cpu(), "target": target}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Build the sample from :meth:`state`."""
        return cls(state["name"], state["image"], PanopticTarget(**state["target"]))


class PseudoLabelDataset(Dataset[TrainingSample]):
    """Pairs of image and pseudo-label.

    Args:
        images: the video that was labelled, opened with the same scale and crop.
        labels: folder with ``<name>_semantic.png`` and ``<name>_instance.png``.
        split: which pseudo-classes are things.
        only_non_empty: leave out images without an object of a thing class.
        ignore_unknown_things: thing pixels without an object become void.
        reference_compat: targets as the original builds them (:func:`~nolabel.methods.cups.targets.build_target`), and
            images with an object of any class count as not empty.

    Raises:
        DataError: no label belongs to any image of the video.
    """

    def __init__(
        self,
        images: StereoVideoDataset,
        labels: Path,
        split: ThingStuffSplit,
        *,
        only_non_empty: bool = True,
        ignore_unknown_things: bool = False,
        reference_compat: bool = False,
    ) -> None:
        self.video, self.labels, self.split = images, labels, split
        self._ignore_unknown_things = ignore_unknown_things
        self._reference_compat = reference_compat
        position = {name: index for index, name in enumerate(images.names)}
        stems = label_stems(labels)
        self._entries = [(stem, position[stem]) for stem in stems if stem in position]
        if not self._entries:
            raise DataError(
                f"none of the {len(stems)} labels in {labels} belongs to an image of the video "
                f"({len(position)} frames, such as {next(iter(position), 'none')}).",
                hint="give --data the folder that was labelled",
            )
        if only_non_empty:
            self._entries = [entry for entry in self._entries if self._has_object(entry[0])]

    def _has_object(self, stem: str) -> bool:
        instances = torch.from_numpy(read_labels(self.labels / f"{stem}{INSTANCE_SUFFIX}"))
        if self._reference_compat:
            return bool((instances > 0).any())
        semantic = torch.from_numpy(read_labels(self.labels / f"{stem}{SEMANTIC_SUFFIX}"))
        things = torch.as_tensor(self.split.things, dtype=semantic.dtype)
        return bool(((instances > 0) & torch.isin(semantic, things)).any())

    @property
    def names(self) -> list[str]:
        """Frame names, in order."""
        return [stem for stem, _ in self._entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> TrainingSample:
        stem, position = self._entries[index]
        image = torch.as_tensor(self.video.image(position)["image"])
        semantic = torch.from_numpy(read_labels(self.labels / f"{stem}{SEMANTIC_SUFFIX}"))
        instances = torch.from_numpy(read_labels(self.labels / f"{stem}{INSTANCE_SUFFIX}"))
        if semantic.shape != image.shape[-2:] or instances.shape != semantic.shape:
            raise DataError(
                f"label {stem} is {tuple(semantic.shape)}, its image {tuple(image.shape[-2:])} pixels.",
                hint="open the data with the scale and crop the labels were made with",
            )
        target = build_target(
            semantic,
            instances,
            self.split.things,
            self.split.stuff,
            ignore_unknown_things=self._ignore_unknown_things,
            reference_compat=self._reference_compat,
        )
        return TrainingSample(stem, image, target)


def open_pseudo_labels(
    labels: Path,
    data: Path | None = None,
    *,
    thing_threshold: float = 0.08,
    only_non_empty: bool = True,
    ignore_unknown_things: bool = False,
) -> PseudoLabelDataset:
    """Open a folder of pseudo-labels together with the video they were made from.

    Args:
        labels: folder written by :func:`~nolabel.methods.cups.pseudo_labels.generate_pseudo_labels`, or an official one.
        data: the video; where it was when it was labelled by default.
        thing_threshold: pseudo-classes with a larger share of the moving-pixel ratios are things.
        only_non_empty, ignore_unknown_things: see :class:`PseudoLabelDataset`.

    Raises:
        DataError: labels, their statistics or the video are missing.
    """
    split = split_things_and_stuff(load_statistics(labels), thing_threshold)
    return PseudoLabelDataset(
        open_source(labels, data),
        labels,
        split,
        only_non_empty=only_non_empty,
        ignore_unknown_things=ignore_unknown_things,
    )
