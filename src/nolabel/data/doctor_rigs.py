"""Checks of posed footage: KITTI-360 and own rigs. Frames, poses, cameras, and whether the pictures agree with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from nolabel.data.doctor_report import Request
from nolabel.data.kitti360 import SPLIT_DRIVES, Kitti360Views, prepared_sizes
from nolabel.data.posed_rig import Drive, PosedDrives, RigCamera
from nolabel.data.rig_folder import RigFolderViews, read_rig
from nolabel.data.rig_measures import RigMeasures, measure_views
from nolabel.data.sscbench import SscbenchFrames
from nolabel.errors import DataError, NolabelError
from nolabel.geometry import invert

__all__ = ["check_kitti360", "check_pose_path", "check_rig"]

OFFICIAL_SAMPLES = {"train": 96902, "val": 9186, "test": 13246}
"""Lines of the published lists: scores of other numbers of samples cannot be compared with published ones."""
MEASURED = 8  # samples whose pictures are compared with their poses
MEASURED_SIZE = (384, 1280)
RIGID = 0.01  # how far a rotation may be from one
JUMP = (5.0, 3.0)  # a step is a jump if it is so many times the usual one and longer than so many metres
LONGEST_STEP, SHORTEST_STEP = 12.0, 0.003  # metres from frame to frame, in the median, of drives that move
ALONG = 0.5  # cosine between where the first camera looks and where it goes
MIDDLE = 0.6  # principal point, from -1 to 1
FIELD_OF_VIEW = (25.0, 140.0)  # degrees across
SQUARE = (0.85, 1.18)  # focal lengths in pixels of the stored images
LINE = 2.0  # pixels off their epipolar lines, in the median
PACE = (0.7, 1.45)


def check_kitti360(request: Request) -> None:
    """Check KITTI-360: all cameras of a split, or those of the first split that is there."""
    splits = [request.split] if request.split else list(SPLIT_DRIVES)
    opened: Kitti360Views | None = None
    fault: DataError | None = None
    for split in splits:
        try:
            opened = _open_kitti360(request.path, split)
            break
        except DataError as error:
            fault = fault or error
    if opened is None:
        assert fault is not None
        raise fault
    request.facts["split"] = opened.split
    official = {f"2013_05_28_drive_{number:04d}_sync" for number in SPLIT_DRIVES.get(opened.split, ())}
    if official >= set(opened.drives):
        whole = OFFICIAL_SAMPLES[opened.split]
        request.facts["published samples"] = (
            f"{len(opened)} of {whole}; drives {len(opened.drives)} of {len(official)}"
        )
    calibrated = opened.calibration.image_size
    _check_images(request, opened, dict.fromkeys(("image_00", "image_01"), calibrated))
    _check_drives(request, opened, calibrated)
    if (request.path / "sscbench").is_dir():
        try:
            request.facts["voxel volumes"] = len(SscbenchFrames(request.path, split=None))
        except DataError as error:
            request.findings.add("voxel labels without image", error.message)


def _open_kitti360(root: Path, split: str) -> Kitti360Views:
    """With side cameras where they are calibrated; prepared images where there are no others."""
    published = all(
        any((root / "data_2d_raw").glob(f"*/{camera}/{folder}"))
        for camera, folder in (("image_00", "data_rect"), ("image_02", "data_rgb"))
    )
    prepared = prepared_sizes(root)
    size = MEASURED_SIZE if published or not prepared else prepared[-1]
    try:
        return Kitti360Views(root, split, side_offset=10, size=size, check_files=False)
    except DataError:
        return Kitti360Views(root, split, side_cameras=False, size=size, check_files=False)


def check_rig(request: Request) -> None:
    """Check an own rig: rig.yaml, poses and images."""
    rig = read_rig(request.path)
    split = request.split or next(iter(rig.splits), "train")
    opened = RigFolderViews(request.path, split, size=MEASURED_SIZE, check_files=False)
    if rig.splits:
        request.facts["split"] = split
    size = _check_images(request, opened, {})
    _check_drives(request, opened, size)


def _check_images(
    request: Request, opened: PosedDrives, calibrated: dict[str, tuple[int, int]]
) -> tuple[int, int] | None:
    """Missing, unreadable and differing images; return the size of the first camera's."""
    cameras = [pair.camera for pair in opened.pairs]
    frames = sum(len(drive.frames) for drive in opened.drives.values())
    request.facts.update(
        {"drives": len(opened.drives), "frames with pose": frames, "cameras": ", ".join(cameras)}
    )
    request.facts["samples"] = len(opened)
    missing = opened.missing()
    request.findings.add("missing images", *map(request.shown, missing))
    first: tuple[int, int] | None = None
    gone = set(missing)
    for camera in cameras:
        paths = [
            path
            for drive in opened.drives.values()
            for path in map(drive.cameras[camera].path, drive.frames)
            if path not in gone and path.is_file()
        ]
        sizes: dict[tuple[int, int], str] = {}
        for path in request.some(paths):
            size = request.size(path)
            if size is not None:
                sizes.setdefault(size, request.shown(path))
        shown = [f"{height}x{width}: {name}" for (height, width), name in sizes.items()]
        if len(sizes) > 1:
            request.findings.add("images of another size", *shown[1:])
        wanted = calibrated.get(camera)
        for height, width in sizes:
            shape = wanted is not None and abs(width / height / (wanted[1] / wanted[0]) - 1) > 0.02
            prepared = wanted is not None and (height, width) == opened.size
            if shape and not prepared:
                request.findings.add(
                    "implausible camera", f"{camera}: images of {height}x{width}, calibrated for {wanted}"
                )
        if sizes and first is None:
            first = next(iter(sizes))
            request.facts["size"] = f"{first[0]}x{first[1]}"
    return first


def _check_drives(request: Request, opened: PosedDrives, size: tuple[int, int] | None) -> None:
    first = opened.moments[0].camera
    for drive in opened.drives.values():
        check_pose_path(request, drive, first)
    for name, camera in next(iter(opened.drives.values())).cameras.items():
        _check_camera(request, name, camera, size if name == first else None)
    _check_pictures(request, opened)


def check_pose_path(request: Request, drive: Drive, first: str) -> None:
    """Check the poses of a drive: rigid, without jumps, in metres, rig to world."""
    rotation = drive.poses[:, :3, :3]
    error = (rotation @ rotation.mT - torch.eye(3, dtype=rotation.dtype)).abs().amax(dim=(1, 2))
    wrong = (error > RIGID) | (torch.linalg.det(rotation) < 0.5)
    frames = torch.tensor(drive.frames)
    request.findings.add(
        "poses that are no rigid motion",
        *(f"{drive.name}: frame {frame}" for frame in frames[wrong].tolist()),
    )
    falling = (frames[1:] <= frames[:-1]).nonzero().squeeze(1)
    request.findings.add(
        "poses out of order",
        *(f"{drive.name}: frame {drive.frames[i + 1]} after {drive.frames[i]}" for i in falling.tolist()),
        remedy="sort poses.txt by frame number; every frame may appear once",
    )
    if len(frames) < 3 or wrong.any():
        return
    step = (drive.poses[1:, :3, 3] - drive.poses[:-1, :3, 3]).norm(dim=1)
    pace = step / (frames[1:] - frames[:-1]).clamp(min=1)
    moving = pace[pace > SHORTEST_STEP]
    if not len(moving):
        request.findings.add("implausible steps", f"{drive.name}: it never moves more than {SHORTEST_STEP} m")
        return
    usual = float(moving.median())
    request.facts.setdefault("usual step", f"{usual:.2f} m")
    if usual > LONGEST_STEP:
        request.findings.add("implausible steps", f"{drive.name}: {usual:.1f} m from frame to frame")
    jumps = ((pace > JUMP[0] * usual) & (step > JUMP[1])).nonzero().squeeze(1).tolist()
    request.findings.add(
        "jumps in the poses",
        *(
            f"{drive.name}: {float(step[i]):.1f} m from frame {drive.frames[i]} to {drive.frames[i + 1]}"
            for i in jumps
        ),
    )
    _check_direction(request, drive, first)


def _check_direction(request: Request, drive: Drive, first: str) -> None:
    """The first camera looks along the path; if it does so only with inverted poses, these are world to rig."""
    to_rig = drive.cameras[first].to_rig.to(drive.poses)

    def along(poses: Tensor) -> float:
        cameras = poses @ to_rig
        steps = cameras[1:, :3, 3] - cameras[:-1, :3, 3]
        moves = steps.norm(dim=1) > SHORTEST_STEP
        cosine = (steps * cameras[:-1, :3, 2]).sum(dim=1) / steps.norm(dim=1).clamp(min=1e-9)
        return float(cosine[moves].median()) if moves.any() else math.nan

    straight, inverted = along(drive.poses), along(invert(drive.poses))
    if straight < ALONG and inverted > ALONG:
        request.findings.add(
            "poses in the wrong direction",
            f"{drive.name}: the first camera looks along the path (cosine {inverted:.2f}) only with inverted poses "
            f"({straight:.2f} as they are)",
        )
    elif straight < -ALONG:
        request.findings.add(
            "poses in the wrong direction",
            f"{drive.name}: the first camera drives backwards (cosine {straight:.2f})",
        )


def _check_camera(request: Request, name: str, camera: RigCamera, size: tuple[int, int] | None) -> None:
    """Angle of view, principal point and, with the stored size, the shape of the pixels."""
    fx, fy = float(camera.matrix[0, 0]), float(camera.matrix[1, 1])
    across = 2 * math.degrees(math.atan(1 / fx))
    if not FIELD_OF_VIEW[0] <= across <= FIELD_OF_VIEW[1]:
        request.findings.add("implausible camera", f"{name}: it sees {across:.0f} degrees across")
    for axis, value in zip("xy", camera.matrix[:2, 2].tolist(), strict=True):
        if abs(value) > MIDDLE:
            share = (value + 1) / 2
            request.findings.add(
                "implausible camera", f"{name}: c{axis} lies at {share:.2f} of the image, not near 0.5"
            )
    if size is not None:
        ratio = (fx * size[1]) / (fy * size[0])
        if not SQUARE[0] <= ratio <= SQUARE[1]:
            request.findings.add(
                "implausible camera", f"{name}: fx is {ratio:.2f} times fy in pixels of the images"
            )


def _check_pictures(request: Request, opened: PosedDrives) -> None:
    """Compare tracks in some samples' pictures with what poses and cameras say."""
    measured: list[RigMeasures] = []
    places = torch.linspace(0, len(opened) - 1, min(MEASURED, len(opened))).round().long().unique().tolist()
    near = [pair for pair in opened.pairs if pair.offset == (0, 0)][:2]
    probe = PosedDrives(
        list(opened.drives.values()),
        [opened.moments[place] for place in places],
        near,
        opened.size,
        check_files=False,
    )
    for index in range(len(probe)):
        try:
            measured.append(measure_views(probe[index]))
        except NolabelError:
            continue  # the image is missing or damaged: said above
    step = _usual([one.across_step for one in measured])
    cameras = _usual([one.across_cameras for one in measured])
    pace = _usual([one.pace for one in measured])
    behind = _usual([one.behind for one in measured])
    request.facts["tracks off their lines"] = ", ".join(
        f"{name} {value:.2f} px"
        for name, value in (("next frame", step), ("other camera", cameras))
        if value is not None
    )
    if pace is not None:
        request.facts["pace of the points"] = f"{pace:.2f} of what cameras and poses say"
    if step is not None and step > LINE:
        request.findings.add(
            "images do not fit the poses", f"tracks to the next frame end {step:.1f} px off their lines"
        )
    if cameras is not None and cameras > LINE:
        request.findings.add(
            "images do not fit the poses", f"tracks to the other camera end {cameras:.1f} px off their lines"
        )
    if behind is not None and behind > 0.5:
        request.findings.add(
            "images do not fit the poses", "points lie behind the cameras: are two of them swapped?"
        )
    elif pace is not None and not PACE[0] <= pace <= PACE[1]:
        request.findings.add(
            "intrinsics, positions and poses disagree",
            f"points come nearer {pace:.2f} times as fast as cameras and poses say",
        )


def _usual(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return median(known) if known else None
