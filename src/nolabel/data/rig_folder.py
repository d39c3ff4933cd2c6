"""Everyone's own posed footage: cameras and poses in two small files beside the images.

::

    root/rig.yaml              the cameras, see below
    root/poses.txt             rows: frame number, 12 numbers of the 3x4 matrix rig -> world (metres)
    root/<folder>/<frame>.png  images of a camera; the last number in a file's name is its frame
    root/labels/<frame>.png    optional: classes (train ids, 255 void) of the first camera

    cameras:
      front:
        folder: front          # the camera's name by default
        fx: 552.6              # pixels of the images in this folder; integer coordinates are pixel centres
        fy: 552.6
        cx: 682.0
        cy: 238.8
        to_rig: [12 numbers]   # 3x4 camera -> rig; camera x right, y down, z forward. The identity by default
      side:
        fisheye: {xi: 2.2, k1: 0.017, k2: 1.65, gamma1: 1336.3, gamma2: 1335.8, u0: 716.9, v0: 705.8}
        view: {fx: 552.6, fy: 552.6, cx: 682.0, cy: 238.8, width: 1408, height: 376, tilt: -15}
        to_rig: [12 numbers]   # of the fisheye itself
        offset: [10, 40]       # frames by which its views are later than the first camera's; 0 by default
    splits: {train: [0, 4000], val: [4000, 4200]}     # optional: frames from, up to but without

A rig may also hold several drives: then every direct subfolder with a poses.txt is one, and ``splits`` names them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import torch
import yaml
from torch import Tensor

from nolabel.config import Config, load_config
from nolabel.data.files import IMAGE_SUFFIXES, image_size, read_map
from nolabel.data.kitti360 import resize_bilinear
from nolabel.data.kitti360_calibration import SIDE_TILT, side_rotation
from nolabel.data.posed_rig import CameraPair, Drive, Moment, PosedDrives, RigCamera, read_poses
from nolabel.data.resizing import resize_labels
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import fisheye_grid, normalised_fisheye, normalised_intrinsics, sample_fisheye

__all__ = [
    "FisheyeSettings",
    "PictureSettings",
    "RigCameraSettings",
    "RigFolderViews",
    "RigSettings",
    "read_rig",
]

RIG_FILE = "rig.yaml"
_HELP = "rig.yaml lists cameras with folder, fx, fy, cx, cy and to_rig; see the documentation of nolabel.data.rig_folder"
_LAST_NUMBER = re.compile(r"(\d+)\D*$")


class FisheyeSettings(Config):
    """The MEI model of a fisheye camera, pixels of its images."""

    xi: float
    k1: float = 0.0
    k2: float = 0.0
    gamma1: float = pydantic.Field(gt=0)
    gamma2: float = pydantic.Field(gt=0)
    u0: float
    v0: float


class PictureSettings(Config):
    """The perspective picture that is made of a fisheye image."""

    fx: float = pydantic.Field(gt=0)
    fy: float = pydantic.Field(gt=0)
    cx: float
    cy: float
    width: pydantic.PositiveInt
    height: pydantic.PositiveInt
    tilt: float = SIDE_TILT
    """Degrees about the camera's x axis; negative looks down."""


class RigCameraSettings(Config):
    """One camera: a pinhole (fx, fy, cx, cy) or a fisheye with its picture."""

    folder: str | None = None
    fx: float | None = pydantic.Field(None, gt=0)
    fy: float | None = pydantic.Field(None, gt=0)
    cx: float | None = None
    cy: float | None = None
    fisheye: FisheyeSettings | None = None
    view: PictureSettings | None = None
    to_rig: tuple[float, ...] = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    offset: int | tuple[int, int] = 0


class RigSettings(Config):
    """A rig: its cameras, the first one being that of view 0, and named parts of the drives."""

    cameras: dict[str, RigCameraSettings]
    splits: dict[str, list[int | str]] = pydantic.Field(default_factory=dict)


def read_rig(root: str | Path) -> RigSettings:
    """Read ``rig.yaml``.

    Raises:
        DataError: it is missing, or says something impossible.
    """
    path = Path(root) / RIG_FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint=_HELP) from None
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}", hint=_HELP) from None
    if not isinstance(content, dict) or not content.get("cameras"):
        raise DataError(f"{path} lists no cameras", hint=_HELP)
    try:
        rig = load_config(RigSettings, None, [], **content)
    except ConfigError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint or _HELP) from None
    for name, camera in rig.cameras.items():
        pinhole = all(getattr(camera, key) is not None for key in ("fx", "fy", "cx", "cy"))
        if pinhole == (camera.fisheye is not None) or (camera.fisheye is None) != (camera.view is None):
            raise DataError(f"{path}: {name} needs fx, fy, cx, cy, or a fisheye and its view", hint=_HELP)
        if len(camera.to_rig) != 12:
            raise DataError(f"{path}: to_rig of {name} has {len(camera.to_rig)} numbers, not 12", hint=_HELP)
    return rig


class RigFolderViews(PosedDrives):
    """Two views of each camera of an own rig; the layout is in the module's documentation.

    Args:
        root: the folder of ``rig.yaml``.
        split: a name in ``splits``; without splits everything.
        size: (height, width) of the views: images are resized to it, whatever their shape.
        step: frames between the two views of a camera.
        labels: whether classes of view 0 are read, where they are there.
        check_files: whether missing images are an error at once.

    Raises:
        DataError: the rig, poses, or images are missing or wrong.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        size: tuple[int, int] = (192, 640),
        step: int = 1,
        labels: bool = False,
        check_files: bool = True,
    ) -> None:
        self.root, self.split = Path(root), split
        self.rig = read_rig(self.root)
        folders = drive_folders(self.root)
        drives, moments = [], []
        first = next(iter(self.rig.cameras))
        chosen = self._chosen(split)
        for name, folder in folders.items():
            frames, poses = read_poses(folder / "poses.txt")
            cameras = {
                camera: _open_camera(folder, camera, settings, size)
                for camera, settings in self.rig.cameras.items()
            }
            drives.append(Drive(name, frames, poses, cameras))
            moments += [
                Moment(name, place, first)
                for place, frame in enumerate(frames[:-1] if len(frames) > 1 else frames)
                if chosen(name, frame)
            ]
        pairs = [CameraPair(name, _range(settings.offset)) for name, settings in self.rig.cameras.items()]
        read = partial(_read_labels, {name: folder / "labels" for name, folder in folders.items()}, size)
        super().__init__(
            drives,
            moments,
            pairs,
            size,
            step=step,
            labels=read if labels else None,
            hint=_HELP,
            check_files=check_files,
        )

    def _chosen(self, split: str) -> Callable[[str, int], bool]:
        if not self.rig.splits:
            return lambda drive, frame: True
        if split not in self.rig.splits:
            raise DataError(
                f"{self.root / RIG_FILE} has no split {split!r}", hint=f"it has: {', '.join(self.rig.splits)}"
            )
        part = self.rig.splits[split]
        if len(part) == 2 and all(isinstance(value, int) for value in part):
            start, stop = int(part[0]), int(part[1])
            return lambda drive, frame: start <= frame < stop
        names = {str(value) for value in part}
        return lambda drive, frame: drive in names


def drive_folders(root: Path) -> dict[str, Path]:
    """The drives of a rig by name: the folder itself, or its subfolders with poses.

    Raises:
        DataError: there is no poses.txt.
    """
    if (root / "poses.txt").is_file():
        return {root.resolve().name: root}
    found = {path.parent.name: path.parent for path in sorted(root.glob("*/poses.txt"))}
    if not found:
        raise DataError(f"{root} has no poses.txt, nor has a folder in it", hint=_HELP)
    return found


def camera_images(folder: Path) -> dict[int, Path]:
    """The images of a folder by the last number of their names."""
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    return {int(match[1]): path for path in paths if (match := _LAST_NUMBER.search(path.stem))}


def _range(offset: int | Sequence[int]) -> tuple[int, int]:
    return (offset, offset) if isinstance(offset, int) else (offset[0], offset[1])


def _open_camera(folder: Path, name: str, settings: RigCameraSettings, size: tuple[int, int]) -> RigCamera:
    place = folder / (settings.folder or name)
    images = camera_images(place)
    path: Any = partial(_path_in, images, place)
    to_rig = torch.eye(4, dtype=torch.float64)
    to_rig[:3] = torch.tensor(settings.to_rig, dtype=torch.float64).view(3, 4)
    if not images:
        raise DataError(f"{place} holds no images with a frame number in their names", hint=_HELP)
    height, width = image_size(next(iter(images.values())))
    if settings.fisheye is None:
        assert None not in (settings.fx, settings.fy, settings.cx, settings.cy)
        matrix = _pinhole(settings.fx, settings.fy, settings.cx, settings.cy)  # type: ignore[arg-type]
        normalised = normalised_intrinsics(matrix, height, width)
        return RigCamera(name, normalised, to_rig, path, partial(resize_bilinear, size=size))
    view, mei = settings.view, settings.fisheye
    assert view is not None
    normalised = normalised_intrinsics(_pinhole(view.fx, view.fy, view.cx, view.cy), view.height, view.width)
    parameters = torch.tensor(
        [mei.xi, mei.k1, mei.k2, mei.gamma1, mei.gamma2, mei.u0, mei.v0], dtype=torch.float64
    )
    rotation = side_rotation(view.tilt)
    grid = fisheye_grid(normalised, rotation, normalised_fisheye(parameters, height, width), size)
    turned = torch.eye(4, dtype=torch.float64)
    turned[:3, :3] = rotation
    return RigCamera(name, normalised, to_rig @ turned, path, partial(sample_fisheye, grid=grid))


def _pinhole(fx: float, fy: float, cx: float, cy: float) -> Tensor:
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def _path_in(images: dict[int, Path], folder: Path, frame: int) -> Path:
    return images.get(frame, folder / f"{frame}.png")


def _read_labels(
    folders: dict[str, Path], size: tuple[int, int], drive: str, frame: int, camera: str
) -> Tensor | None:
    path = camera_images(folders[drive]).get(frame)
    return None if path is None else resize_labels(torch.from_numpy(read_map(path).astype(np.int64)), size)
