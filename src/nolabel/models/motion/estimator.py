"""What every estimator of image motion offers, whatever network or algorithm is behind it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from nolabel.errors import DataError

Reference = Literal["left", "right"]


@dataclass(frozen=True)
class StereoMotion:
    """Flow and disparity of a batch of stereo video samples (two consecutive rectified pairs).

    Attributes:
        flow_forward: (B, 2, H, W) pixels, left image t0 to left image t1, on the grid of t0.
        flow_backward: (B, 2, H, W) pixels, left t1 to left t0, on the grid of t1.
        disparity_0: (B, 1, H, W) pixels >= 0 of the left image at t0; 0 = unknown.
        disparity_1: (B, 1, H, W) the same at t1.
        disparity_right_0: (B, 1, H, W) pixels >= 0 of the right image at t0.
        disparity_right_1: (B, 1, H, W) the same at t1.
    """

    flow_forward: Tensor
    flow_backward: Tensor
    disparity_0: Tensor
    disparity_1: Tensor
    disparity_right_0: Tensor
    disparity_right_1: Tensor

    def __post_init__(self) -> None:
        size = self.flow_forward.shape[-2:]
        batch = self.flow_forward.shape[0]
        for field in fields(self):
            channels = 2 if field.name.startswith("flow") else 1
            shape = getattr(self, field.name).shape
            if shape != (batch, channels, *size):
                raise DataError(
                    f"{field.name} has the shape {tuple(shape)} instead of {(batch, channels, *size)}",
                    hint="all maps of a stereo video sample share batch and image size",
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.flow_forward.shape[-2:]
        return height, width

    def __getitem__(self, index: int) -> StereoMotion:
        """Return sample ``index`` as a batch of one."""
        return StereoMotion(*(getattr(self, field.name)[index][None] for field in fields(self)))

    def to(self, device: torch.device | str) -> StereoMotion:
        """Return the maps on ``device``."""
        return StereoMotion(*(getattr(self, field.name).to(device) for field in fields(self)))


@runtime_checkable
class MotionEstimator(Protocol):
    """Optical flow and stereo disparity from RGB images (B, 3, H, W) in [0, 1] of any size."""

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow (B, 2, H, W) in pixels that takes pixels of ``first`` to ``second``."""
        ...

    def disparity(self, left: Tensor, right: Tensor, reference: Reference = "left") -> Tensor:
        """Return the disparity (B, 1, H, W) >= 0 in pixels on the grid of the ``reference`` image."""
        ...

    def stereo_video(self, left_0: Tensor, right_0: Tensor, left_1: Tensor, right_1: Tensor) -> StereoMotion:
        """Return all six maps of stereo pairs at t0 and t1."""
        ...


def check_images(*images: Tensor) -> None:
    """Refuse images that are not equally sized RGB batches.

    Raises:
        DataError: some image is not (B, 3, H, W), or the shapes differ.
    """
    shapes = {tuple(image.shape) for image in images}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 4 or shape[1] != 3:
        raise DataError(
            f"motion needs images of one shape (B, 3, H, W), got {sorted(shapes)}",
            hint="add the batch axis with image[None] and resize the images to one size",
        )
