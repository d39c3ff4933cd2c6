"""Errors of optical flow and disparity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["MotionErrors", "motion_errors"]

OUTLIER, OUTLIER_SHARE = 3.0, 0.05


@dataclass
class MotionErrors:
    """Sums over pixels of any number of maps; add with ``+``.

    Attributes:
        error: of the end-point errors, pixels.
        outliers: pixels that are wrong by more than 3 pixels and 5 % of the true length (KITTI 2015: Fl, D1).
        pixels: with known motion.
    """

    error: float = 0.0
    outliers: float = 0.0
    pixels: int = 0

    def __add__(self, other: MotionErrors) -> MotionErrors:
        return MotionErrors(
            self.error + other.error, self.outliers + other.outliers, self.pixels + other.pixels
        )

    @property
    def end_point_error(self) -> float:
        """Mean end-point error in pixels; NaN without pixels."""
        return self.error / self.pixels if self.pixels else float("nan")

    @property
    def outlier_share(self) -> float:
        """Share of outliers, 0..1; NaN without pixels."""
        return self.outliers / self.pixels if self.pixels else float("nan")


def motion_errors(prediction: Tensor, truth: Tensor, known: Tensor | None = None) -> MotionErrors:
    """Compare flow or disparity with the truth.

    Menze and Geiger, "Object Scene Flow for Autonomous Vehicles", CVPR 2015 (KITTI 2015), section 5, for the outliers.

    Args:
        prediction: (..., C, H, W) pixels: C = 2 for flow, 1 for disparity.
        truth: likewise; what is not finite is unknown.
        known: (..., 1, H, W) bool; pixels that count, all known ones by default.
    """
    finite = truth.isfinite().all(dim=-3, keepdim=True)
    counted = finite if known is None else finite & known
    truth = torch.where(counted, truth, 0.0).double()
    error = (prediction.double() - truth).norm(dim=-3, keepdim=True)[counted]
    length = truth.norm(dim=-3, keepdim=True)[counted]
    wrong = (error > OUTLIER) & (error > OUTLIER_SHARE * length)
    return MotionErrors(float(error.sum()), float(wrong.sum()), int(counted.sum()))
