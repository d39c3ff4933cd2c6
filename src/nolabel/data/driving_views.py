"""Labelled street images cut to SceneDINO's view: Cityscapes and BDD100K (spec ``scenedino.md`` 10.2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.labelled import LabelledDataset
from nolabel.data.posed_views import PosedSample
from nolabel.data.resizing import resize_image, resize_labels, to_bytes
from nolabel.geometry import pixel_intrinsics
from nolabel.labels import CITYSCAPES_19, VOID, LabelSpace, cityscapes_label_ids, raw_table

__all__ = ["DrivingViews", "cut_to_view", "raw_to_kitti360"]


def cut_to_view(image: Tensor, labels: Tensor, size: tuple[int, int] = (192, 640)) -> tuple[Tensor, Tensor]:
    """Squeeze a street image to twice as wide as high, whatever it was, and keep the middle rows.

    Args:
        image: (3, H, W) uint8 RGB.
        labels: (H, W) labels or raw ids.
        size: (height, width) of the result; height at most half the width.

    Returns:
        The image (3, height, width) float in [0, 1], and its labels (height, width) of the type they had.
    """
    height, width = size
    whole = (width // 2, width)
    top = (whole[0] - height) // 2
    rows = slice(top, top + height)
    resized = resize_image(image, whole)[:, rows].float() / 255
    return resized, resize_labels(labels, whole)[rows]


def raw_to_kitti360(dataset: str) -> np.ndarray:
    """The table from a data set's raw ids to those of KITTI-360, (256,) uint8; void becomes 0.

    Of several KITTI-360 ids of one class the first is taken.
    """
    labels = raw_table(dataset, CITYSCAPES_19)
    return np.where(labels == VOID, 0, cityscapes_label_ids(CITYSCAPES_19)[labels]).astype(np.uint8)


class DrivingViews(Dataset[PosedSample]):
    """Single labelled views of a data set, as SceneDINO's tables of other domains were made.

    The camera is unknown: its matrix is the identity of the image from -1 to 1 (45 degrees to each side), so that only
    the view itself can be rendered.

    Args:
        dataset: labelled images, in 19 classes and of any size.
        size: (height, width) of the views.
    """

    def __init__(self, dataset: LabelledDataset, size: tuple[int, int] = (192, 640)) -> None:
        self.dataset, self.size = dataset, size

    @property
    def space(self) -> LabelSpace:
        """What the labels mean."""
        return self.dataset.space

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> PosedSample:
        sample = self.dataset[index]
        image, labels = cut_to_view(
            to_bytes(sample["image"].as_subclass(Tensor)), sample["semantic"].as_subclass(Tensor), self.size
        )
        return PosedSample(
            name=sample["name"],
            images=image[None],
            intrinsics=pixel_intrinsics(torch.eye(3), *self.size)[None],
            poses=torch.eye(4)[None],
            frame_ids=(index,),
            cameras=("camera",),
            labels=labels,
        )
