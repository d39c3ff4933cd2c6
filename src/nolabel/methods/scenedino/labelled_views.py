"""Labelled views of any data set that SceneDINO's tables name, and of own rigs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from nolabel.data import find_layout, open_labels
from nolabel.data.driving_views import DrivingViews
from nolabel.data.kitti360 import Kitti360Views
from nolabel.data.posed_views import PosedSample
from nolabel.data.rig_folder import RigFolderViews
from nolabel.labels import CITYSCAPES_19

__all__ = ["open_labelled_views"]


def open_labelled_views(
    root: str | Path, split: str, size: tuple[int, int], dataset: str | None = None
) -> Sequence[PosedSample]:
    """Open views with labels in 19 classes.

    Args:
        root: KITTI-360, an own rig, Cityscapes, BDD100K (panoptic labels), or another labelled data set.
        split: part of the data.
        size: (height, width) of the views.
        dataset: the layout, where it cannot be told by looking.

    Raises:
        DataError: there are no labelled views.
    """
    root = Path(root)
    layout = dataset or find_layout(root)
    views: object
    if layout == "kitti360":
        views = Kitti360Views(
            root, split, size=size, stereo=False, side_cameras=False, labels="required", depth=True
        )
    elif layout == "rig":
        views = RigFolderViews(root, split, size=size, labels=True)
    else:
        views = DrivingViews(open_labels(root, dataset, split=split, space=CITYSCAPES_19), size)
    return cast(Sequence[PosedSample], views)
