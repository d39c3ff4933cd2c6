"""What stereo footage says about itself: black frames, repeated frames, a calibration that cannot be right.

Every threshold was measured on the embedded world (tests/data/test_footage.py keeps the margins): the camera height
comes out within 4 % of the truth, so a baseline that is wrong by 2 lands far outside the range of road vehicles.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from torch import Tensor

from nolabel.geometry.ground import GroundPlane, fit_ground
from nolabel.models.features.stereo_geometry import consistent_disparity
from nolabel.structures import StereoCalibration

__all__ = ["CalibrationFault", "PairMeasures", "calibration_faults", "image_fault", "measure_pair", "repeats"]

BLACK = 0.08  # grey value that 99 % of a black image stay below (video black is 16 of 255)
FLAT = 0.01  # standard deviation of the grey values of an image of one colour
SAME = 0.999  # share of pixels that are equal in a repeated frame (the rest: time stamps burnt in)
STILL = 0.1  # pixels: flow of what does not move
HEIGHTS = (1.0, 2.3)  # metres above the road: cameras of cars and vans
PITCH = 5.5  # degrees
MIDDLE = (0.35, 0.65)  # principal point, as share of the image's sides
FIELD_OF_VIEW = (30.0, 130.0)  # degrees across
FASTEST = 60.0  # metres per second
GROUND_REACH = 20.0  # metres: ground that tells the step of the camera


def image_fault(image: Tensor) -> str | None:
    """Say what is wrong with an image (3, H, W) in [0, 1]: ``black``, ``of one colour``, or None."""
    grey = image.as_subclass(Tensor).mean(dim=0).flatten()
    if float((grey < BLACK).float().mean()) > 0.99:
        return "black"
    return "of one colour" if float(grey.std()) < FLAT else None


def repeats(first: Tensor, second: Tensor) -> bool:
    """Whether the second image (3, H, W) shows the very pixels of the first; a standing camera's noise differs."""
    same = (first.as_subclass(Tensor) - second.as_subclass(Tensor)).abs().amax(dim=0) < 0.5 / 255
    return float(same.float().mean()) >= SAME


@dataclass(frozen=True)
class PairMeasures:
    """What one stereo video pair says about its camera; None where there is no ground in sight.

    Attributes:
        camera_height: metres above the ground.
        pitch: degrees by which the camera looks down.
        step: metres that the camera moves forward between the two frames.
        still: share of the pixels that move less than a tenth of a pixel.
        stereo: share of the pixels whose left and right disparity agree.
    """

    camera_height: float | None
    pitch: float | None
    step: float | None
    still: float | None
    stereo: float

    def record(self) -> dict[str, Any]:
        """Return rounded values for JSON."""
        return {name: None if value is None else round(value, 3) for name, value in asdict(self).items()}


def measure_pair(
    disparity: Tensor,
    disparity_right: Tensor,
    calibration: StereoCalibration,
    flow: Tensor | None = None,
) -> PairMeasures:
    """Measure camera height, pitch and step from one pair's motion.

    Args:
        disparity: (1, H, W) pixels of the left image.
        disparity_right: (1, H, W) pixels of the right image.
        calibration: of these images.
        flow: (2, H, W) pixels to the next frame; without it ``step`` and ``still`` are None.
    """
    known = consistent_disparity(disparity, disparity_right) & (disparity[0] > 0)
    ground = fit_ground(disparity[0], known, calibration.matrix(), calibration.baseline)
    return PairMeasures(
        camera_height=ground.height if ground else None,
        pitch=math.degrees(ground.pitch) if ground else None,
        step=None if flow is None or ground is None else _step(disparity[0], flow, ground, calibration),
        still=None if flow is None else float((flow.norm(dim=0) < STILL).float().mean()),
        stereo=float(known.float().mean()),
    )


def _step(
    disparity: Tensor, flow: Tensor, ground: GroundPlane, calibration: StereoCalibration
) -> float | None:
    """Return how much nearer the ground comes, in the median: metres from one frame to the next."""
    height, width = disparity.shape
    plane = ground.disparity(height, width)
    focal_baseline = calibration.fx * calibration.baseline
    near = (plane > focal_baseline / GROUND_REACH) & ((disparity - plane).abs() < 0.03 * plane + 0.5)
    a, b, _ = ground.coefficients
    next_plane = plane + a * flow[0] + b * flow[1]
    near &= next_plane > focal_baseline / (2 * GROUND_REACH)
    if float(near.float().mean()) < 0.01:
        return None
    return float((focal_baseline / plane - focal_baseline / next_plane)[near].median())


@dataclass(frozen=True)
class CalibrationFault:
    """One thing that cannot be right about a calibration.

    Attributes:
        kind: its name in reports.
        detail: what was seen.
        remedy: what to do about it.
    """

    kind: str
    detail: str
    remedy: str


def calibration_faults(
    calibration: StereoCalibration, size: tuple[int, int], measures: Iterable[PairMeasures] = ()
) -> list[CalibrationFault]:
    """Compare a calibration with the images it is for.

    Args:
        calibration: of images of ``size``, before any scaling.
        size: (height, width) of these images.
        measures: of pairs; their medians are judged, so single failures do not count.
    """
    measures = list(measures)
    faults = _number_faults(calibration, size)
    heights = [m.camera_height for m in measures if m.camera_height is not None]
    if heights:
        faults += _height_faults(calibration, heights)
        faults += _pitch_faults([m.pitch for m in measures if m.pitch is not None])
    steps = [m.step for m in measures if m.step is not None]
    if steps and calibration.fps and abs(median(steps)) * calibration.fps > FASTEST:
        speed = median(steps) * calibration.fps
        faults.append(
            CalibrationFault(
                "implausible speed",
                f"the camera would move at {speed:.0f} m/s ({3.6 * speed:.0f} km/h)",
                "check `fps` and `baseline`: a baseline that is too large makes everything too far and too fast",
            )
        )
    return faults


def _number_faults(calibration: StereoCalibration, size: tuple[int, int]) -> list[CalibrationFault]:
    """What the numbers alone tell: the principal point of a camera lies near the middle of its images."""
    height, width = size
    places = {"cx": (calibration.cx, width), "cy": (calibration.cy, height)}
    off = {name: v / side for name, (v, side) in places.items() if not MIDDLE[0] <= v / side <= MIDDLE[1]}
    if len(off) == 2 and max(off.values()) < 1.3 * min(off.values()):
        factor = sum(off.values())  # the mean of both shares, over a half
        fault = CalibrationFault(
            "intrinsics of another image size",
            f"cx = {calibration.cx:g}, cy = {calibration.cy:g} is the middle of an image of about "
            f"{2 * calibration.cx:.0f}x{2 * calibration.cy:.0f} pixels, but these have {width}x{height}",
            f"divide fx, fy, cx and cy by {factor:.2g}, or use the images that the camera was calibrated with",
        )
        return [fault]
    angle = 2 * math.degrees(math.atan(width / (2 * calibration.fx)))
    wrong = [
        f"{name} = {places[name][0]:g} px is far from the middle of {places[name][1]} px" for name in off
    ]
    if not FIELD_OF_VIEW[0] <= angle <= FIELD_OF_VIEW[1]:
        wrong.append(f"fx = {calibration.fx:g} px for images {width} px wide: {angle:.0f} degrees across")
    if not 0.67 <= calibration.fx / calibration.fy <= 1.5:
        wrong.append(f"fx = {calibration.fx:g} and fy = {calibration.fy:g} differ")
    if not 0.01 <= calibration.baseline <= 5:
        wrong.append(f"baseline = {calibration.baseline:g} m")
    if calibration.fps is not None and not 0.5 <= calibration.fps <= 240:
        wrong.append(f"fps = {calibration.fps:g}")
    remedy = "check the units: pixels of these images, metres, frames per second"
    return [CalibrationFault("implausible calibration", "; ".join(wrong), remedy)] if wrong else []


def _height_faults(calibration: StereoCalibration, heights: Sequence[float]) -> list[CalibrationFault]:
    height = median(heights)
    if HEIGHTS[0] <= height <= HEIGHTS[1]:
        return []
    usual = 1.5
    high = height > HEIGHTS[1]
    return [
        CalibrationFault(
            "implausible camera height",
            f"by this calibration the camera is {height:.2f} m above the ground (median of {len(heights)} images); on "
            f"a car it is {HEIGHTS[0]:g} to {HEIGHTS[1]:g} m",
            f"baseline = {calibration.baseline:g} m is probably too {'large' if high else 'small'} (about "
            f"{calibration.baseline * usual / height:.2g} m would give {usual} m), and every distance with it; nothing, "
            f"if the camera really is mounted this {'high' if high else 'low'}",
        )
    ]


def _pitch_faults(pitches: Sequence[float]) -> list[CalibrationFault]:
    pitch = median(pitches)
    if abs(pitch) <= PITCH:
        return []
    return [
        CalibrationFault(
            "tilted ground",
            f"by this calibration the camera looks {abs(pitch):.0f} degrees {'down' if pitch > 0 else 'up'} at the "
            f"ground (median of {len(pitches)} images)",
            "cy does not fit the images (another image size, or a crop); nothing, if the camera really is tilted so",
        )
    ]
