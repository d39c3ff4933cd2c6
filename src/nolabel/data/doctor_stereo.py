"""Checks of stereo video: partners, sizes, numbering, rectification, calibration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from nolabel.data.cityscapes import CITYSCAPES_SOURCE, list_frames, read_camera
from nolabel.data.clips import frame_step, is_gap, runs
from nolabel.data.doctor_report import CANNOT_OPEN, Request
from nolabel.data.files import list_images, read_image
from nolabel.data.folder import STEREO_HELP, find_calibration, stereo_clips
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.errors import DataError
from nolabel.structures import StereoCalibration

__all__ = ["check_cityscapes_video", "check_kitti_raw", "check_stereo_folder"]


def check_stereo_folder(request: Request) -> None:
    """Check left/, right/ and calibration.yaml."""
    root = request.path
    sides: dict[str, dict[str, Path]] = {}
    for side in ("left", "right"):
        files = list_images(root / side) if (root / side).is_dir() else []
        sides[side] = {f.relative_to(root / side).with_suffix("").as_posix(): f for f in files}
        if not files:
            request.findings.add(CANNOT_OPEN, f"there are no images in {root / side}", remedy=STEREO_HELP)
    left, right = sides["left"], sides["right"]
    single = [path for name, path in left.items() if name not in right]
    single += [path for name, path in right.items() if name not in left]
    request.findings.add("missing partner frames", *map(request.shown, single))
    clips = stereo_clips(left)
    _check_numbers(request, {clip: numbers for clip, (_, numbers) in clips.items()})
    pairs = [(left[n], right[n], clip) for clip, (names, _) in clips.items() for n in names if n in right]
    size = _check_views(request, pairs)
    try:
        values = find_calibration(root, request.calibration)
    except DataError as error:
        request.findings.add("missing calibration", error.message)
    else:
        _check_calibration(request, "calibration", values, size)


def check_cityscapes_video(request: Request, split: str) -> None:
    """Check the sequences and camera files of a split."""
    root = request.path
    frames = {}
    for side in ("left", "right"):
        listed = list_frames(root, f"{side}Img8bit_sequence", split, f"_{side}Img8bit.png")
        frames[side] = {frame.key: frame.path for frame in listed}
    left, right = frames["left"], frames["right"]
    single = [path for key, path in left.items() if key not in right]
    single += [path for key, path in right.items() if key not in left]
    request.findings.add("missing partner frames", *map(request.shown, single))
    clips: dict[str, list[int | None]] = defaultdict(list)
    for city, sequence, number in left:
        clips[f"{city}_{sequence}"].append(number)
    _check_numbers(request, clips)
    pairs = [(path, right[key], f"{key[0]}_{key[1]}") for key, path in left.items() if key in right]
    size = _check_views(request, pairs)
    try:
        cameras = list_frames(root, "camera", split, "_camera.json")
    except DataError as error:
        request.findings.add("missing calibration", error.message, remedy=CITYSCAPES_SOURCE)
        return
    there = {(camera.city, camera.sequence) for camera in cameras}
    lonely = sorted({f"{key[0]}_{key[1]}" for key in left if key[:2] not in there})
    request.findings.add("missing calibration", *lonely, remedy=CITYSCAPES_SOURCE)
    for camera in request.some(cameras):
        try:
            _check_calibration(request, request.shown(camera.path), read_camera(camera.path), size)
        except DataError as error:
            request.findings.add("implausible calibration", error.message)


def check_kitti_raw(request: Request) -> None:
    """Check the drives that are used."""
    dataset = KittiRawStereoVideo(request.path)
    request.facts["pairs"] = len(dataset)
    size = _check_views(request, [(p.left_0, p.right_0, p.left_0.parts[-4]) for p in dataset.pairs])
    for index in request.some(range(len(dataset))):
        _check_calibration(request, dataset.pairs[index].name, dataset.calibration(index), size)


def _check_numbers(request: Request, clips: Mapping[str, Sequence[int | None]]) -> None:
    """Look for gaps in the numbering of each clip's frames."""
    request.facts["clips"] = len(clips)
    for clip, numbers in clips.items():
        if all(len(piece) < 2 for piece in runs(numbers, numbers)):
            request.findings.add("clips without a pair", clip)
        step = frame_step(numbers)
        known = [number for number in numbers if number is not None]
        if step is not None:
            gaps = [f"{clip}: {a} -> {b}" for a, b in pairwise(known) if is_gap(a, b, step)]
            request.findings.add("gaps in frame numbers", *gaps)


def _check_views(request: Request, pairs: Sequence[tuple[Path, Path, str]]) -> tuple[int, int] | None:
    """Decode frames, compare sizes within clips and between views; give the most common size."""
    request.facts["stereo frames"] = len(pairs)
    sizes: dict[tuple[int, int], int] = defaultdict(int)
    size_of_clip: dict[str, tuple[int, int]] = {}
    good: list[tuple[Path, Path]] = []
    chosen = request.some(pairs)
    for left, right, clip in chosen:
        left_size, right_size = request.size(left), request.size(right)
        if left_size is None or right_size is None:
            continue
        sizes[left_size] += 1
        if left_size != right_size:
            request.findings.add(
                "views of different size", f"{request.shown(left)}: {left_size}, {right_size}"
            )
            continue
        if size_of_clip.setdefault(clip, left_size) != left_size:
            request.findings.add("images of another size", f"{request.shown(left)}: {left_size}")
            continue
        good.append((left, right))
    request.facts["decoded"] = 2 * len(chosen)
    _check_rectification(request, good)
    if not sizes:
        return None
    size = max(sizes, key=lambda key: sizes[key])
    request.facts["size"] = f"{size[0]}x{size[1]}"
    return size


def _check_rectification(request: Request, pairs: Sequence[tuple[Path, Path]], count: int = 3) -> None:
    """Match points between the views of a few frames: rows must agree, and disparity must be positive."""
    if not pairs:
        return
    places = np.unique(np.linspace(0, len(pairs) - 1, count).round().astype(int))
    offsets = [_view_offset(*pairs[place]) for place in places]
    known = [offset for offset in offsets if offset is not None]
    if not known:
        return
    disparity, rows = (float(np.median([offset[axis] for offset in known])) for axis in (0, 1))
    request.facts["median disparity"] = f"{disparity:.1f} px"
    if disparity < -1:
        request.findings.add("left and right swapped", f"median disparity {disparity:.1f} px")
    if abs(rows) > 2:
        request.findings.add("views not rectified", f"rows differ by {rows:.1f} px in the median")


def _view_offset(left: Path, right: Path) -> tuple[float, float] | None:
    """Median (x_left - x_right, y_left - y_right) of matched ORB points, px; None with too few matches."""
    detector = cv2.ORB.create(1500)
    found = []
    for path in (left, right):
        grey = (read_image(path).as_subclass(torch.Tensor).mean(0) * 255).to(torch.uint8).numpy()
        found.append(detector.detectAndCompute(grey, None))
    (left_points, left_words), (right_points, right_words) = found
    if left_words is None or right_words is None:
        return None
    matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(left_words, right_words)
    near = [match for match in matches if match.distance < 40]
    if len(near) < 30:
        return None
    a = np.array([left_points[match.queryIdx].pt for match in near])
    b = np.array([right_points[match.trainIdx].pt for match in near])
    x, y = np.median(a - b, axis=0)
    return float(x), float(y)


def _check_calibration(
    request: Request, name: str, calibration: StereoCalibration, size: tuple[int, int] | None
) -> None:
    """Compare a calibration with what cameras on vehicles and tripods can have."""
    wrong = []
    if size is not None:
        height, width = size
        if not 0.25 * width <= calibration.fx <= 5 * width:
            wrong.append(f"fx = {calibration.fx:g} px for images {width} px wide")
        for axis, centre, side in (("cx", calibration.cx, width), ("cy", calibration.cy, height)):
            if not 0.25 * side <= centre <= 0.75 * side:
                wrong.append(f"{axis} = {centre:g} px is far from the middle of {side} px")
    if not 0.67 <= calibration.fx / calibration.fy <= 1.5:
        wrong.append(f"fx = {calibration.fx:g} and fy = {calibration.fy:g} differ")
    if not 0.01 <= calibration.baseline <= 5:
        wrong.append(f"baseline = {calibration.baseline:g} m")
    if calibration.fps is not None and not 0.5 <= calibration.fps <= 240:
        wrong.append(f"fps = {calibration.fps:g}")
    if wrong:
        request.findings.add("implausible calibration", f"{name}: {'; '.join(wrong)}")
