"""What datasets hand out: plain dictionaries whose images and masks are ``torchvision.tv_tensors``.

``torchvision.transforms.v2`` walks them, so one transform moves an image and its masks together. Images are RGB
float32 in [0, 1], channels first; label maps are int64 with 255 for void; instance ids are 0 (none), 1..N.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from torch import Tensor
from torchvision import tv_tensors

from nolabel.structures.calibration import StereoCalibration

__all__ = ["ClipSample", "ImageSample", "LabelledSample", "StereoVideoSample"]


class ImageSample(TypedDict):
    """One image.

    name: unique within the dataset, safe as a file name stem. image: (3, H, W).
    """

    name: str
    image: tv_tensors.Image


class LabelledSample(TypedDict):
    """One image with its labels.

    image: (3, H, W). semantic: (H, W) int64, 255 void. instance: (H, W) int64, 0 none, 1..N.
    """

    name: str
    image: tv_tensors.Image
    semantic: tv_tensors.Mask
    instance: tv_tensors.Mask


class ClipSample(TypedDict):
    """Frames of one view, the newest first.

    frames: (T, 3, H, W). labels: (L, H, W) int64 of the first L frames, 255 void. flow: (P, 2, h, w) float32 pixels of
    its own grid, between the pairs of frames that the data set was asked for.
    """

    name: str
    frames: tv_tensors.Image
    labels: NotRequired[tv_tensors.Mask]
    flow: NotRequired[Tensor]


class StereoVideoSample(TypedDict):
    """Two rectified stereo pairs, at times 0 and 1.

    Images: (3, H, W). valid: (H, W) bool, False where no estimate is wanted (rectification borders, ego vehicle).
    calibration: that of these images, after any resize and crop.
    """

    name: str
    left_0: tv_tensors.Image
    right_0: tv_tensors.Image
    left_1: tv_tensors.Image
    right_1: tv_tensors.Image
    valid: tv_tensors.Mask
    calibration: StereoCalibration
