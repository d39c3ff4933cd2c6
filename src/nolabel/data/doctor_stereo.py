"""Checks of stereo video: partners, sizes, numbering, rectification, calibration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from nolabel.data.cityscapes import CITYSCAPES_SOURCE, list_frames, read_camera
from nolabel.data.clips import frame_step, is_gap, runs
from nolabel.data.doctor_report import CANNOT_OPEN, Request
from nolabel.data.files import list_images, read_image
from nolabel.data.folder import STEREO_HELP, find_calibration, stereo_clips
from nolabel.data.footage import PairMeasures, calibration_faults, image_fault, measure_pair, repeats
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.errors import DataError
from nolabel.models.motion import OpenCVMotion
from nolabel.structures import StereoCalibration

__all__ = ["check_cityscapes_video", "check_kitti_raw", "check_stereo_folder"]

Item = TypeVar("Item")

MEASURED_FRAMES = 6
MEASURED_WIDTH = 768  # pixels: enough for the ground, and seconds instead of minutes
SMALLEST_SIDE = 64  # pixels: below, nothing is measured
COMPARED_FRAMES = 60


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
    following = [
        step for names, numbers in clips.values() for run in runs(names, numbers) for step in pairwise(run)
    ]
    steps = [(a, b) for a, b in following if a in right and b in right]
    _check_repeats(request, [(view[a], view[b]) for view in (left, right) for a, b in steps])
    try:
        values = find_calibration(root, request.calibration)
    except DataError as error:
        request.findings.add("missing calibration", error.message)
    else:
        complete = [(left[a], right[a], left[b]) for a, b in steps]
        _check_calibration(request, "calibration", values, size, _measure(request, complete, values))


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
    steps = [(a, b) for a, b in pairwise(sorted(left)) if a[:2] == b[:2] and {a, b} <= set(right)]
    _check_repeats(request, [(view[a], view[b]) for view in (left, right) for a, b in steps])
    complete = [(left[a], right[a], left[b]) for a, b in steps]
    there = {(camera.city, camera.sequence) for camera in cameras}
    lonely = sorted({f"{key[0]}_{key[1]}" for key in left if key[:2] not in there})
    request.findings.add("missing calibration", *lonely, remedy=CITYSCAPES_SOURCE)
    for place, camera in enumerate(request.some(cameras)):
        try:
            values = read_camera(camera.path)
            # Cameras of one data set are alike: the ground is measured with the first.
            measures = _measure(request, complete, values) if place == 0 else ()
            _check_calibration(request, request.shown(camera.path), values, size, measures)
        except DataError as error:
            request.findings.add("implausible calibration", error.message)


def check_kitti_raw(request: Request) -> None:
    """Check the drives that are used."""
    dataset = KittiRawStereoVideo(request.path)
    request.facts["pairs"] = len(dataset)
    size = _check_views(request, [(p.left_0, p.right_0, p.left_0.parts[-4]) for p in dataset.pairs])
    pairs = dataset.pairs
    _check_repeats(request, [(pair.left_0, pair.left_1) for pair in pairs])
    complete = [(pair.left_0, pair.right_0, pair.left_1) for pair in pairs]
    for place, index in enumerate(request.some(range(len(dataset)))):
        values = dataset.calibration(index)
        measures = _measure(request, complete, values) if place == 0 else ()
        _check_calibration(request, pairs[index].name, values, size, measures)


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
    request: Request,
    name: str,
    calibration: StereoCalibration,
    size: tuple[int, int] | None,
    measures: Sequence[PairMeasures] = (),
) -> None:
    """Compare a calibration with the images, and with what the stereo ground says about it."""
    if size is None:
        return
    for fault in calibration_faults(calibration, size, measures):
        request.findings.add(fault.kind, f"{name}: {fault.detail}", remedy=fault.remedy)


def _measure(
    request: Request, pairs: Sequence[tuple[Path, Path, Path | None]], calibration: StereoCalibration
) -> list[PairMeasures]:
    """Measure camera height, tilt and step on a few stereo frames (left, right, next left), scaled down."""
    motion = OpenCVMotion()
    measures = []
    for left, right, following in _few(pairs, MEASURED_FRAMES):
        try:
            images = [read_image(path).as_subclass(torch.Tensor)[None] for path in (left, right)]
            if following is not None:
                images.append(read_image(following).as_subclass(torch.Tensor)[None])
        except DataError:
            continue  # found and said elsewhere
        if len({image.shape for image in images}) > 1:
            continue
        scale = min(1.0, MEASURED_WIDTH / images[0].shape[-1])
        images = [F.interpolate(image, scale_factor=scale, mode="area") for image in images]
        if min(images[0].shape[-2:]) < SMALLEST_SIDE:
            continue
        measures.append(
            measure_pair(
                motion.disparity(images[0], images[1])[0],
                motion.disparity(images[0], images[1], "right")[0],
                calibration.scaled(scale),
                motion.flow(images[0], images[2])[0] if following is not None else None,
            )
        )
    heights = [m.camera_height for m in measures if m.camera_height is not None]
    if heights:
        request.facts["camera height"] = f"{np.median(heights):.2f} m above the ground, by this calibration"
    elif measures:
        request.facts["camera height"] = "unknown: no ground in sight, so the baseline cannot be checked"
    return measures


def _check_repeats(request: Request, steps: Sequence[tuple[Path, Path]]) -> None:
    """Compare consecutive frames of a view: equal ones hold no motion."""
    for first, second in _few(steps, COMPARED_FRAMES):
        try:
            images = read_image(first), read_image(second)
        except DataError:
            continue
        black = any(image_fault(image) for image in images)  # said elsewhere
        if not black and images[0].shape == images[1].shape and repeats(*images):
            request.findings.add("repeated frames", f"{request.shown(second)} repeats {first.name}")


def _few(items: Sequence[Item], count: int) -> list[Item]:
    """Choose at most ``count`` items, evenly spread."""
    if not items:
        return []
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in np.unique(places)]
