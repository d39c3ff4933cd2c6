"""KITTI-360's calibration files, and LiDAR points as a depth map (spec ``scenedino.md`` 10.1).

Frames: ``vehicle`` is that of KITTI-360's poses (GPS/IMU: x forward, y right, z down); cameras have x right, y down,
z forward. A side camera's images are used as if it were a perspective camera turned ``SIDE_TILT`` about its x axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

from nolabel.errors import DataError
from nolabel.geometry import invert, normalised_fisheye, normalised_intrinsics, transform

__all__ = [
    "CAMERAS",
    "PERSPECTIVE",
    "SIDE",
    "SIDE_TILT",
    "Kitti360Calibration",
    "lidar_depth",
    "read_kitti360_calibration",
    "side_rotation",
]

PERSPECTIVE = ("image_00", "image_01")
SIDE = ("image_02", "image_03")
CAMERAS = PERSPECTIVE + SIDE
SIDE_TILT = -15.0
"""Degrees about x: side cameras' pictures look down by this, onto the street instead of the sky."""

# KITTI-360's coordinates are read as counted from the edge of the image, as the original does.
_FIRST_CENTRE = 0.5
_FILES = (
    "calibration/ of KITTI-360 holds perspective.txt, calib_cam_to_pose.txt, calib_cam_to_velo.txt, image_02.yaml and "
    "image_03.yaml; get it from https://www.cvlibs.net/datasets/kitti-360/download.php (registration)"
)


@dataclass(frozen=True, eq=False)
class Kitti360Calibration:
    """Cameras and LiDAR of the car; all float64.

    Attributes:
        matrix: (3, 3) of both perspective cameras, normalised to -1..1.
        image_size: (height, width) of the rectified images, pixels.
        camera_to_vehicle: by camera: (4, 4) of the rectified perspective cameras and of the side cameras' pictures.
        fisheye: by side camera: (7,) MEI parameters, normalised to -1..1.
        rotation: by side camera: (3, 3); a ray r of its picture is rotation r in the fisheye's frame.
        lidar_to_vehicle: (4, 4).
    """

    matrix: Tensor
    image_size: tuple[int, int]
    camera_to_vehicle: dict[str, Tensor]
    fisheye: dict[str, Tensor]
    rotation: dict[str, Tensor]
    lidar_to_vehicle: Tensor

    def lidar_to_camera(self, camera: str) -> Tensor:
        """LiDAR to a camera's frame, (4, 4)."""
        return invert(self.camera_to_vehicle[camera]) @ self.lidar_to_vehicle


def side_rotation(degrees: float = SIDE_TILT) -> Tensor:
    """The right-handed rotation (3, 3) about x."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]], dtype=torch.float64)


def read_kitti360_calibration(folder: str | Path, side_tilt: float = SIDE_TILT) -> Kitti360Calibration:
    """Read a ``calibration`` folder; side cameras without files are left out.

    Raises:
        DataError: a file is missing or lacks a line.
    """
    folder = Path(folder)
    perspective = _lines(folder / "perspective.txt")
    to_pose = _lines(folder / "calib_cam_to_pose.txt")
    width, height = (
        round(value) for value in _numbers(perspective, "S_rect_00", 2, folder / "perspective.txt")
    )
    projection = torch.tensor(
        _numbers(perspective, "P_rect_00", 12, folder / "perspective.txt"), dtype=torch.float64
    ).view(3, 4)
    camera_to_vehicle, fisheye, rotation = {}, {}, {}
    for camera in PERSPECTIVE:
        if camera not in to_pose and camera != PERSPECTIVE[0]:
            continue
        rectify = torch.tensor(
            _numbers(perspective, f"R_rect_{camera[-2:]}", 9, folder / "perspective.txt"), dtype=torch.float64
        )
        unrectified = _rigid(_numbers(to_pose, camera, 12, folder / "calib_cam_to_pose.txt"))
        camera_to_vehicle[camera] = unrectified @ torch.linalg.inv(_homogeneous(rectify.view(3, 3)))
    for camera in SIDE:
        if camera in to_pose and (folder / f"{camera}.yaml").is_file():
            fisheye[camera] = _read_mei(folder / f"{camera}.yaml")
            rotation[camera] = side_rotation(side_tilt)
            to_vehicle = _rigid(_numbers(to_pose, camera, 12, folder / "calib_cam_to_pose.txt"))
            camera_to_vehicle[camera] = to_vehicle @ _homogeneous(rotation[camera])
    # The LiDAR is calibrated against camera 0 before rectification.
    unrectified = _rigid(_numbers(to_pose, PERSPECTIVE[0], 12, folder / "calib_cam_to_pose.txt"))
    return Kitti360Calibration(
        matrix=normalised_intrinsics(projection[:, :3], height, width, _FIRST_CENTRE),
        image_size=(height, width),
        camera_to_vehicle=camera_to_vehicle,
        fisheye=fisheye,
        rotation=rotation,
        lidar_to_vehicle=unrectified @ torch.linalg.inv(_rigid(_read_row(folder / "calib_cam_to_velo.txt"))),
    )


def lidar_depth(
    points: Tensor,
    matrix: Tensor,
    lidar_to_camera: Tensor,
    size: tuple[int, int],
    *,
    reference_compat: bool = False,
) -> Tensor:
    """The depth map that LiDAR points give a camera.

    Args:
        points: (N, 3 or more) metres, LiDAR frame; further columns are ignored.
        matrix: (3, 3) normalised to -1..1.
        lidar_to_camera: (4, 4).
        size: (H, W) of the map.
        reference_compat: pixels are the original's: coordinates from the edge of the image rounded instead of cut
            (half a pixel to the right and below); points behind the camera may blank a pixel; points of the last
            column and of the first one of the next row hide each other.

    Returns:
        (H, W) float32 metres along z of the nearest point of each pixel, 0 where there is none.
    """
    height, width = size
    points = transform(lidar_to_camera.double(), points[:, :3].double())
    projected = points @ matrix.double().mT
    image, depth = projected[:, :2] / projected[:, 2:], projected[:, 2]
    pixels = (image / 2 + 0.5) * image.new_tensor([width, height])
    pixels = pixels.round() if reference_compat else pixels.floor()
    inside = (pixels >= 0).all(dim=1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    if not reference_compat:
        inside &= depth > 0
    column, row = pixels[inside].long().unbind(dim=1)
    cell, values = row * width + column, depth[inside]
    empty = torch.full((height * width,), torch.inf, dtype=values.dtype)
    if not reference_compat:
        nearest = empty.scatter_reduce(0, cell, values, "amin")
    else:
        nearest = _original_nearest(empty, cell, row * (width - 1) + column, values)
    return torch.where(nearest.isfinite(), nearest, 0).clamp(min=0).float().view(height, width)


def _original_nearest(empty: Tensor, cell: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """The last point of every cell; then, for each key that several points share, the first one's cell gets the least."""
    order = torch.arange(len(cell))
    last = torch.full(empty.shape, -1).scatter_reduce(0, cell, order, "amax")
    result = torch.where(last >= 0, values[last.clamp(min=0)], empty) if len(values) else empty
    first = torch.full(empty.shape, len(cell)).scatter_reduce(0, key, order, "amin")
    least = empty.scatter_reduce(0, key, values, "amin")
    shared = (torch.bincount(key, minlength=len(empty)) > 1).nonzero().squeeze(1)
    result[cell[first[shared]]] = least[shared]
    return result


def _read_mei(path: Path) -> Tensor:
    """The side camera's parameters; its file begins with a directive that YAML parsers reject."""
    text = "\n".join(line for line in _read(path).splitlines() if not line.startswith("%"))
    try:
        content = yaml.safe_load(text)
        projection, distortion = content["projection_parameters"], content["distortion_parameters"]
        values = [content["mirror_parameters"]["xi"], distortion["k1"], distortion["k2"]]
        values += [projection[name] for name in ("gamma1", "gamma2", "u0", "v0")]
        parameters = torch.tensor([float(value) for value in values], dtype=torch.float64)
        height, width = int(content["image_height"]), int(content["image_width"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no MEI calibration: {type(error).__name__} {error}", hint=_FILES
        ) from None
    return normalised_fisheye(parameters, height, width, _FIRST_CENTRE)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint=_FILES) from None


def _lines(path: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in _read(path).splitlines() if ":" in line)


def _read_row(path: Path) -> list[float]:
    return _numbers({"row": _read(path)}, "row", 12, path)


def _numbers(lines: dict[str, str], key: str, count: int, path: Path) -> list[float]:
    try:
        values = [float(value) for value in lines[key].split()]
    except (KeyError, ValueError) as error:
        raise DataError(f"{path} is no KITTI-360 calibration: {error}", hint=_FILES) from None
    if len(values) != count:
        raise DataError(f"{path}: {key} has {len(values)} numbers instead of {count}", hint=_FILES)
    return values


def _rigid(values: list[float]) -> Tensor:
    bottom = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    return torch.cat([torch.tensor(values, dtype=torch.float64).view(3, 4), bottom])


def _homogeneous(rotation: Tensor) -> Tensor:
    result = torch.eye(4, dtype=torch.float64)
    result[:3, :3] = rotation
    return result
