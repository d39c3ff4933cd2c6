"""Motion without any weights: DIS optical flow and semi-global stereo matching of OpenCV.

Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016; Hirschmueller, "Stereo Processing
by Semiglobal Matching and Mutual Information", PAMI 2008. The default of every run for which no flow network
is at hand; runs on the CPU whatever the device of the images.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import torch
from torch import Tensor

from nolabel.models.motion.estimator import Reference, StereoMotion, check_images

SUBPIXELS = 16  # StereoSGBM returns disparities in sixteenths of a pixel
_THREADS = threading.Lock()


class OpenCVMotion:
    """DIS flow and SGBM disparity, deterministic and single-threaded.

    Args:
        disparity_range: largest disparity searched, as a fraction of the image width (rounded up to 16).
        block_size: side of the matching block in pixels (odd).
        median: side of the median filter on disparities (0, 3 or 5 pixels).
    """

    def __init__(self, disparity_range: float = 0.2, block_size: int = 5, median: int = 5) -> None:
        self.disparity_range = disparity_range
        self.block_size = block_size
        self.median = median

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow (B, 2, H, W) in pixels from ``first`` to ``second`` (RGB in [0, 1])."""
        check_images(first, second)
        flows = [_dis_flow(a, b) for a, b in zip(_grey(first), _grey(second), strict=True)]
        return _to_tensor([flow.transpose(2, 0, 1) for flow in flows], first)

    def disparity(self, left: Tensor, right: Tensor, reference: Reference = "left") -> Tensor:
        """Return the disparity (B, 1, H, W) >= 0 in pixels on the grid of the ``reference`` image.

        Pixels that the matcher rejects take the smaller (farther) of the next disparities in their row.
        """
        check_images(left, right)
        pairs = zip(_colour(left), _colour(right), strict=True)
        if reference == "left":
            maps = [self._semi_global(a, b) for a, b in pairs]
        else:  # in the mirrored world the right camera is the left one
            maps = [self._semi_global(b[:, ::-1], a[:, ::-1])[:, ::-1] for a, b in pairs]
        return _to_tensor([disparity[None] for disparity in maps], left)

    def stereo_video(self, left_0: Tensor, right_0: Tensor, left_1: Tensor, right_1: Tensor) -> StereoMotion:
        """Return flow and disparity of stereo pairs at t0 and t1."""
        return StereoMotion(
            flow_forward=self.flow(left_0, left_1),
            flow_backward=self.flow(left_1, left_0),
            disparity_0=self.disparity(left_0, right_0),
            disparity_1=self.disparity(left_1, right_1),
            disparity_right_0=self.disparity(left_0, right_0, reference="right"),
            disparity_right_1=self.disparity(left_1, right_1, reference="right"),
        )

    def _semi_global(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Return the dense float32 disparity (H, W) of two uint8 RGB images (H, W, 3), left as reference."""
        width = left.shape[1]
        levels = max(16, -(-int(self.disparity_range * width) // 16) * 16)
        # Per colour and pixel of the block; three times the usual P1 keeps slanted roads from terracing.
        smoothness = 3 * self.block_size**2
        matcher = cv2.StereoSGBM.create(
            minDisparity=0,
            numDisparities=levels,
            blockSize=self.block_size,
            P1=24 * smoothness,
            P2=64 * smoothness,
            disp12MaxDiff=1,
            preFilterCap=31,
            uniquenessRatio=5,
            speckleWindowSize=100,
            speckleRange=2,
            mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
        )
        # The matcher leaves its first `levels` columns empty: a replicated margin gives them a value.
        margin = (0, 0, levels, 0)
        with _single_thread():
            padded = [
                cv2.copyMakeBorder(np.ascontiguousarray(x), *margin, cv2.BORDER_REPLICATE)
                for x in (left, right)
            ]
            matched = matcher.compute(*padded)[:, levels:].astype(np.float32) / SUBPIXELS
            disparity = fill_rows(matched, matched >= 0)
            if self.median:
                disparity = np.asarray(cv2.medianBlur(disparity, self.median))
            return _refine_disparity(left, right, disparity)


def fill_rows(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Give unknown pixels the smaller of the next known values in their row; 0 without any.

    Occluded background lies beside a nearer object: the farther side (smaller disparity) is the better guess.
    """
    columns = np.arange(values.shape[1])
    before = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, columns, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    padded = np.pad(values, ((0, 0), (0, 1)), constant_values=np.inf)  # index -1 and W both read infinity
    filled = np.minimum(np.take_along_axis(padded, before, 1), np.take_along_axis(padded, after, 1))
    filled = np.where(known, values, filled)
    return np.where(np.isfinite(filled), filled, 0).astype(np.float32)


def _refine_disparity(left: np.ndarray, right: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """Move disparities (H, W) between their sixteenths of a pixel by variational refinement.

    Where it wanders by a pixel, or off the row, it has lost the match and the given value stays.
    """
    refinement = cv2.VariationalRefinement.create()
    refinement.setFixedPointIterations(10)
    refinement.setAlpha(50.0)  # smoothness: flat roads matter more than fine relief
    horizontal, vertical = -disparity, np.zeros_like(disparity)
    first, second = (cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY) for x in (left, right))
    refinement.calcUV(first, second, horizontal, vertical)
    refined = -horizontal
    trusted = (np.abs(refined - disparity) < 1) & (np.abs(vertical) < 0.5) & (disparity > 0)
    return np.where(trusted, np.maximum(refined, 0), disparity)


def _dis_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the float32 flow (H, W, 2) between two uint8 grey images."""
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    matcher.setFinestScale(0)  # full resolution: a quarter less error than the preset's half
    with _single_thread():
        return matcher.calc(first, second, None)  # type: ignore[call-overload]  # None: no initial flow


@contextmanager
def _single_thread() -> Iterator[None]:
    """Let OpenCV use one thread, so that results do not depend on the machine; restore its setting."""
    with _THREADS:
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            yield
        finally:
            cv2.setNumThreads(threads)


def _colour(images: Tensor) -> list[np.ndarray]:
    """Return RGB images (B, 3, H, W) in [0, 1] as uint8 arrays (H, W, 3)."""
    return list((images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())


def _grey(images: Tensor) -> list[np.ndarray]:
    return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in _colour(images)]


def _to_tensor(maps: list[np.ndarray], like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(maps), dtype=np.float32)).to(like.device)
