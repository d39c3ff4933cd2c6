"""Labels for watching the training, where there are any: scores on held-out images, a linear probe on training ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from nolabel.data import CityscapesPanoptic, FolderLabelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.opening import find_layout
from nolabel.errors import ConfigError, DataError
from nolabel.methods.cups.depthg.config import DepthGConfig
from nolabel.methods.cups.depthg.frames import open_frames
from nolabel.models.features import SceneGeometry

__all__ = ["LabelledFrames", "open_labelled_frames"]

GeometryOf = Callable[[str], SceneGeometry | None]


@dataclass(frozen=True)
class LabelledFrames:
    """Labels are never needed, and teach nothing but the linear probe.

    Attributes:
        held_out: images the scores are measured on.
        train: labels of training frames, by the frames' names; None switches the linear probe off.
        geometry_of: stereo geometry of held-out images by name, for features that use it.
    """

    held_out: LabelledDataset
    train: LabelledDataset | None = None
    geometry_of: GeometryOf | None = None

    def label_of(self) -> Callable[[str], Tensor | None] | None:
        """A function from the name of a training frame to its label map (H, W); None without training labels."""
        if self.train is None:
            return None
        labels = self.train
        places = {name: index for index, name in enumerate(labels.names)}

        def find(name: str) -> Tensor | None:
            return labels[places[name]]["semantic"].as_subclass(Tensor) if name in places else None

        return find


def open_labelled_frames(
    root: str | Path,
    config: DepthGConfig,
    cache: Path,
    device: torch.device | str,
    *,
    split: str = "val",
    train_split: str | None = "train",
    space: str = "cityscapes_27",
    wants_geometry: bool = False,
) -> LabelledFrames:
    """Open labelled images in the Cityscapes layout, or as ``images/`` and ``labels/``.

    Args:
        root: the folder.
        config: settings of the training.
        cache: where depth of held-out stereo frames goes.
        device: where disparity is estimated.
        split: images to score on.
        train_split: labels of training frames, for the linear probe; left out where there are none.
        space: label space.
        wants_geometry: whether the features use stereo geometry: then held-out images need their right view.

    Raises:
        ConfigError: another layout.
        DataError: files are missing.
    """
    layout = find_layout(root)
    if layout not in ("cityscapes", "labelled"):
        raise ConfigError(
            f"{root} does not look like labelled images (but like: {layout})",
            hint="give a folder in the Cityscapes layout, or one with images/ and labels/",
        )

    def open_split(name: str) -> LabelledDataset:
        if layout == "cityscapes":
            return CityscapesPanoptic(root, name, space)
        return FolderLabelled(root, space, name)

    train = None
    if train_split is not None:
        try:
            train = open_split(train_split)
        except DataError:
            train = None  # scores alone
    geometry_of = None
    if wants_geometry and layout == "cityscapes":
        views = open_frames(
            root, config.motion, cache, device, split=split, wants_geometry=True, scale=1.0, crop=None
        )
        places = {name: index for index, name in enumerate(views.names)}

        @lru_cache(maxsize=1000)  # scored again and again
        def geometry_of(name: str) -> SceneGeometry | None:
            return views.read(places[name]).geometry if name in places else None

    return LabelledFrames(open_split(split), train, geometry_of)
