"""KITTI-360 as posed views of four cameras (spec ``scenedino.md`` 10.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nolabel.data.files import examples, read_map
from nolabel.data.kitti360_calibration import (
    PERSPECTIVE,
    SIDE,
    SIDE_TILT,
    Kitti360Calibration,
    lidar_depth,
    read_kitti360_calibration,
)
from nolabel.data.posed_rig import CameraPair, Drive, Moment, PosedDrives, RigCamera, read_poses
from nolabel.data.resizing import resize_labels
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import fisheye_grid, sample_fisheye
from nolabel.labels import CITYSCAPES_19, raw_table

__all__ = [
    "KITTI360_SOURCE",
    "SPLIT_DRIVES",
    "Kitti360Views",
    "prepared_folder",
    "prepared_sizes",
    "raw_folder",
    "read_split",
    "resize_bilinear",
    "view_maker",
]

KITTI360_SOURCE = (
    "get KITTI-360 from https://www.cvlibs.net/datasets/kitti-360 (registration): perspective and fisheye images "
    "(data_2d_raw), calibrations (calibration), vehicle poses (data_poses); semantics (data_2d_semantics) for scores"
)
SPLIT_DRIVES: Mapping[str, tuple[int, ...]] = {
    "train": (0, 2, 3, 4, 5, 7, 10),
    "val": (6,),
    "test": (9,),
}
"""The drives of SSCBench's splits; training starts from both perspective cameras, the others from the left one."""

_SIDES = {"l": PERSPECTIVE[0], "r": PERSPECTIVE[1]}
_SEMANTICS = "data_2d_semantics/train"


class Kitti360Views(PosedDrives):
    """Eight views: both perspective cameras now and a frame later, both side cameras one to four seconds later.

    ::

        root/data_2d_raw/<drive>/image_00|image_01/data_rect/<10 digits>.png     or data_<H>x<W>/ as `prepare` writes it
        root/data_2d_raw/<drive>/image_02|image_03/data_rgb/<10 digits>.png      or data_<H>x<W>_0x-15/
        root/data_poses/<drive>/poses.txt
        root/calibration/
        root/data_2d_semantics/train/<drive>/image_00/semantic/<10 digits>.png   labels
        root/data_3d_raw/<drive>/velodyne_points/data/<10 digits>.bin            depth

    Side images are used as if a perspective camera, turned down by 15 degrees, had taken them. Images that ``prepare``
    brought to the views' size are taken where they are there; otherwise it is done while reading, several times slower.

    Args:
        root: the folder above.
        split: ``train``, ``val`` or ``test``.
        size: (height, width) of the views; the field of view is that of the whole image at any size.
        lists: folder of the official lists ``<split>_files.txt``, or one such file. By default ``root/splits``, where it
            is there; else every frame with a pose of the split's drives (:data:`SPLIT_DRIVES`).
        poses: folder of ``<drive>/poses.txt``; ORB-SLAM's, for instance. By default ``root/data_poses``.
        prepared: where ``prepare`` wrote its images, if not beside the published ones.
        drives: only these (names or parts of names).
        stereo: whether views of both perspective cameras are read.
        side_cameras: whether views of the side cameras are read.
        side_offset: frames by which these are later: one number, or the ends of a range to draw from.
        step: frames between the two views of a camera.
        labels: classes of view 0: ``none``; ``present``, where there is a map; ``required``: only samples with maps of this
            frame and the next.
        depth: whether the LiDAR's depth of view 0 is read, where it is there.
        reference_compat: grids of the side cameras and depth maps to the pixel as the original has them.
        check_files: whether missing images are an error at once.

    Raises:
        DataError: calibration, poses, or images are missing.
        ConfigError: an impossible setting.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        size: tuple[int, int] = (192, 640),
        lists: str | Path | None = None,
        poses: str | Path | None = None,
        prepared: str | Path | None = None,
        drives: Sequence[str] | None = None,
        stereo: bool = True,
        side_cameras: bool = True,
        side_offset: int | tuple[int, int] = (10, 40),
        step: int = 1,
        labels: str = "none",
        depth: bool = False,
        reference_compat: bool = False,
        check_files: bool = True,
    ) -> None:
        if labels not in ("none", "present", "required"):
            raise ConfigError(f"labels={labels!r}", hint="none, present or required")
        self.root, self.split, self.reference_compat = Path(root), split, reference_compat
        self.prepared = self.root if prepared is None else Path(prepared)
        self.calibration = read_kitti360_calibration(self.root / "calibration")
        places = read_split(
            self.root, split, lists, Path(poses) if poses else self.root / "data_poses", drives
        )
        cameras = [*(PERSPECTIVE if stereo else PERSPECTIVE[:1]), *(SIDE if side_cameras else ())]
        first, last = (side_offset, side_offset) if isinstance(side_offset, int) else side_offset
        pairs = [CameraPair(name, (first, last) if name in SIDE else (0, 0)) for name in cameras]
        opened = [self._drive(name, cameras, size, part) for name, part in places.items()]
        moments = [
            Moment(name, place, camera)
            for name, part in places.items()
            for place, camera in part.starts
            if camera in cameras
            and (labels != "required" or self._labelled(name, camera, part.frames, place))
        ]
        super().__init__(
            opened,
            moments,
            pairs,
            size,
            step=step,
            labels=None if labels == "none" else self._read_labels,
            depth=self._read_depth if depth else None,
            hint=KITTI360_SOURCE,
            check_files=check_files,
        )

    def _drive(self, name: str, cameras: Iterable[str], size: tuple[int, int], part: DriveSplit) -> Drive:
        rig = {}
        for camera in cameras:
            prepared = prepared_folder(self.prepared, name, camera, size)
            folder = prepared if prepared.is_dir() else raw_folder(self.root, name, camera)
            if camera not in self.calibration.camera_to_vehicle:
                raise DataError(
                    f"{self.root / 'calibration'} does not describe {camera}", hint=KITTI360_SOURCE
                )
            rig[camera] = RigCamera(
                camera,
                self.calibration.matrix,
                self.calibration.camera_to_vehicle[camera],
                partial(_frame_path, folder),
                _as_it_is
                if prepared.is_dir()
                else view_maker(self.calibration, camera, size, self.reference_compat),
            )
        return Drive(name, part.frames, part.poses, rig)

    def _label_path(self, drive: str, frame: int) -> Path:
        return _frame_path(self.root / _SEMANTICS / drive / PERSPECTIVE[0] / "semantic", frame)

    def _labelled(self, drive: str, camera: str, frames: Sequence[int], place: int) -> bool:
        following = frames[min(place + 1, len(frames) - 1)]
        return camera == PERSPECTIVE[0] and all(
            self._label_path(drive, frame).is_file() for frame in (frames[place], following)
        )

    def _read_labels(self, drive: str, frame: int, camera: str) -> Tensor | None:
        path = self._label_path(drive, frame)
        if camera != PERSPECTIVE[0] or not path.is_file():
            return None
        table = raw_table("kitti_360", CITYSCAPES_19)
        raw = torch.from_numpy(table[read_map(path).clip(-1, len(table) - 1)].astype(np.int64))
        return resize_labels(raw, self.size)

    def _read_depth(self, drive: str, frame: int, camera: str) -> Tensor | None:
        path = self.root / "data_3d_raw" / drive / "velodyne_points" / "data" / f"{frame:010d}.bin"
        if not path.is_file():
            return None
        points = torch.from_numpy(np.fromfile(path, np.float32).reshape(-1, 4))
        return lidar_depth(
            points,
            self.calibration.matrix,
            self.calibration.lidar_to_camera(camera),
            self.size,
            reference_compat=self.reference_compat,
        )


def _frame_path(folder: Path, frame: int) -> Path:
    return folder / f"{frame:010d}.png"


def _as_it_is(image: Tensor) -> Tensor:
    return image


def prepared_folder(root: Path, drive: str, camera: str, size: tuple[int, int]) -> Path:
    """Where images of the views' size are kept."""
    tilt = f"_0x{SIDE_TILT:.0f}" if camera in SIDE else ""
    return root / "data_2d_raw" / drive / camera / f"data_{size[0]}x{size[1]}{tilt}"


def prepared_sizes(root: Path) -> list[tuple[int, int]]:
    """Sizes of the views that lie prepared for some camera, smallest first."""
    found = set()
    for folder in (root / "data_2d_raw").glob("*/image_0[0-3]/data_*x*"):
        match = re.match(r"data_(\d+)x(\d+)(_|$)", folder.name)
        if match:
            found.add((int(match[1]), int(match[2])))
    return sorted(found)


def raw_folder(root: Path, drive: str, camera: str) -> Path:
    """Where the published images of a camera are."""
    return root / "data_2d_raw" / drive / camera / ("data_rgb" if camera in SIDE else "data_rect")


def view_maker(
    calibration: Kitti360Calibration, camera: str, size: tuple[int, int], reference_compat: bool = False
) -> Callable[[Tensor], Tensor]:
    """A function from a camera's published image (3, h, w) to its view (3, height, width)."""
    if camera in PERSPECTIVE:
        return partial(resize_bilinear, size=size)
    grid = fisheye_grid(
        calibration.matrix,
        calibration.rotation[camera],
        calibration.fisheye[camera],
        size,
        reference_compat=reference_compat,
    )
    return partial(sample_fisheye, grid=grid, reference_compat=reference_compat)


def resize_bilinear(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (3, h, w) float to (height, width) as OpenCV does, which does not blur before it shrinks."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)).permute(2, 0, 1)


Starts = list[tuple[int, str]]


@dataclass(frozen=True, eq=False)
class DriveSplit:
    """What a split takes of a drive.

    Attributes:
        starts: (place, camera) of the samples.
        frames: frame numbers by place.
        poses: (N, 4, 4) float64 vehicle to world by place.
    """

    starts: Starts
    frames: tuple[int, ...]
    poses: Tensor


def read_split(
    root: Path,
    split: str,
    lists: str | Path | None,
    poses: Path,
    drives: Sequence[str] | None = None,
) -> dict[str, DriveSplit]:
    """The samples of a split, by drive.

    Places count the rows of poses.txt, as the official lists do. Drives without images are left out.

    Raises:
        DataError: the list or the poses are missing, or none of the drives is there.
        ConfigError: no such split.
    """
    file = _list_file(root, split, lists)
    if file is None and split not in SPLIT_DRIVES:
        raise ConfigError(f"KITTI-360 has no split {split!r}", hint=f"known: {', '.join(SPLIT_DRIVES)}")
    listed = None if file is None else _read_list(file)
    names = (
        [f"2013_05_28_drive_{number:04d}_sync" for number in SPLIT_DRIVES[split]]
        if listed is None
        else listed
    )
    found: dict[str, DriveSplit] = {}
    for name in names:
        wanted = drives is None or any(part in name for part in drives)
        if not wanted or not (root / "data_2d_raw" / name).is_dir():
            continue
        frames, matrices = read_poses(poses / name / "poses.txt")
        cameras = PERSPECTIVE if split == "train" else PERSPECTIVE[:1]
        if listed is None:  # the last frame has none after it
            starts = [(place, camera) for place in range(len(frames) - 1) for camera in cameras]
        else:
            starts = listed[name]
            end = max(place for place, _ in starts) + 1
            if end > len(frames):
                raise DataError(
                    f"{file} starts from row {end - 1} of {name}, which has {len(frames)} poses",
                    hint="the list and the poses belong to different releases",
                )
        found[name] = DriveSplit(starts, frames, matrices)
    if not found:
        raise DataError(f"{root} holds no drive of split {split!r}: {examples(names)}", hint=KITTI360_SOURCE)
    return found


def _list_file(root: Path, split: str, lists: str | Path | None) -> Path | None:
    folder = root / "splits" if lists is None else Path(lists)
    file = folder if folder.is_file() else folder / f"{split}_files.txt"
    if lists is None and not file.is_file():
        return None
    return file


def _read_list(file: Path) -> dict[str, Starts]:
    """Lines ``drive row l|r``."""
    result: dict[str, Starts] = {}
    try:
        for line in file.read_text().splitlines():
            if line.strip():
                drive, row, side = line.split()
                result.setdefault(drive, []).append((int(row), _SIDES[side]))
    except OSError as error:
        raise DataError(
            f"cannot read {file}: {error.strerror}", hint="lines: drive, row of poses.txt, l or r"
        ) from None
    except (ValueError, KeyError) as error:
        raise DataError(
            f"{file} is no list of KITTI-360: {error}", hint="lines: drive, row of poses.txt, l or r"
        ) from None
    return result
