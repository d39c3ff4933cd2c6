"""Files in the layouts of KITTI-360 and SSCBench-KITTI-360: two perspective and two fisheye cameras, poses, LiDAR, voxels.

The car is level; its cameras have KITTI-360's field of view at any image size, and the LiDAR sits where KITTI-360's does
relative to the left camera, so that the evaluation's voxel grid and field of view hold as they are (spec ``scenedino.md``
10.1, 11.2). Clip i is one drive, ``2013_05_28_drive_<1000 + i>_sync`` (val: 2000, test: 3000); ``splits/`` lists the
samples.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor

from nolabel.geometry import FisheyeCamera, PinholeCamera, VoxelGrid, invert, transform
from nolabel.labels import CITYSCAPES_19, SSCBENCH_19, VOID, cityscapes_label_ids
from nolabel.structures.files import encode_png
from nolabel.world.encoding import image_png, to_uint8
from nolabel.world.render import Renderer, WorldFrame
from nolabel.world.scenes import Scene
from nolabel.world.settings import WorldSettings
from nolabel.world.voxels import voxel_labels

__all__ = ["SSC_GRID", "common_files", "drive_name", "kitti360_files", "sscbench_voxels"]

File = tuple[str, Callable[[], bytes]]
SSC_GRID = VoxelGrid((0.0, -25.6, -2.0), 0.2, (256, 256, 32))
"""SSCBench's grid in the LiDAR's frame (x forward, y left, z up)."""

_SIZE = (376, 1408)  # of KITTI-360's rectified images; its numbers are shares of these
_FOCAL, _CENTRE = 552.554261, (682.049453, 238.769549)
_CAMERA_TO_LIDAR = (
    (0.04307104361, -0.08829286498, 0.995162929, 0.8043914418),
    (-0.999004371, 0.007784614041, 0.04392796942, 0.2993489574),
    (-0.01162548558, -0.9960641394, -0.08786966659, -0.1770225824),
    (0.0, 0.0, 0.0, 1.0),
)
_LIDAR_HEIGHT = 1.73  # metres above the road
_BASELINE = 0.594
# Vehicle frame: x forward, y right, z down. The side cameras look left and right, their x axes along the street.
_LIDAR_TO_VEHICLE = (
    (1.0, 0.0, 0.0, 0.77),
    (0.0, -1.0, 0.0, 0.3),
    (0.0, 0.0, -1.0, -0.84),
    (0.0, 0.0, 0.0, 1.0),
)
_SIDES = {
    "image_02": (
        (1.0, 0.0, 0.0, 0.70),
        (0.0, 0.0, -1.0, -0.52),
        (0.0, 1.0, 0.0, -0.65),
        (0.0, 0.0, 0.0, 1.0),
    ),
    "image_03": ((-1.0, 0.0, 0.0, 0.70), (0.0, 0.0, 1.0, 0.81), (0.0, 1.0, 0.0, -0.65), (0.0, 0.0, 0.0, 1.0)),
}
_MEI = (
    2.2134,
    0.016798,
    1.6548,
    1336.3 / 1400,
    1335.8 / 1400,
    0.5,
    0.5,
)  # the last four as shares of the side
_SIDE_TILT = -15.0  # degrees about x
_TERRAIN_OF = {"wall": "other-structure", "traffic light": "other-object", "traffic sign": "traffic-sign"}
_SSC_NAMES = _TERRAIN_OF | {"rider": "person", "bus": "other-vehicle", "train": "other-vehicle"}


def _matrix(rows: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def drive_name(split: str, scene: int) -> str:
    """The drive that clip number ``scene`` of a split becomes."""
    first = {"train": 1000, "val": 2000, "test": 3000}.get(split, 4000)
    return f"2013_05_28_drive_{first + scene}_sync"


def perspective_matrix(size: tuple[int, int]) -> Tensor:
    """The cameras' matrix (3, 3) for images of this (height, width); coordinates count from the image's edge."""
    height, width = size[0] / _SIZE[0], size[1] / _SIZE[1]
    return _matrix(
        (
            (_FOCAL * width, 0.0, _CENTRE[0] * width),
            (0.0, _FOCAL * height, _CENTRE[1] * height),
            (0.0, 0.0, 1.0),
        )
    )


def camera_to_vehicle(camera: str) -> Tensor:
    """Where a camera sits on the car, (4, 4)."""
    if camera in _SIDES:
        return _matrix(_SIDES[camera])
    pose = _matrix(_LIDAR_TO_VEHICLE) @ _matrix(_CAMERA_TO_LIDAR)
    if camera == "image_01":
        pose[:3, 3] += pose[:3, 0] * _BASELINE
    return pose


def vehicle_pose(scene: Scene, time: float) -> Tensor:
    """Vehicle to world (4, 4) of a level car on its path."""
    ground = torch.from_numpy(scene.ego.path.pose(time))
    axes = ground[:3, :3] @ torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = axes, ground[:3, 3]
    pose[1, 3] = -(_LIDAR_HEIGHT + _LIDAR_TO_VEHICLE[2][3])  # world y points down
    return pose


def _tilt() -> Tensor:
    cosine, sine = math.cos(math.radians(_SIDE_TILT)), math.sin(math.radians(_SIDE_TILT))
    return _matrix(((1, 0, 0, 0), (0, cosine, -sine, 0), (0, sine, cosine, 0), (0, 0, 0, 1)))


def calibration_files(size: tuple[int, int]) -> dict[str, bytes]:
    """KITTI-360's calibration files of our car, for images of this size."""

    def row(values: Tensor) -> str:
        return " ".join(f"{value:.10f}" for value in values.flatten().tolist())

    poses = [f"{name}: {row(camera_to_vehicle(name)[:3])}" for name in ("image_00", "image_01", *_SIDES)]
    lines = []
    for name, shift in (("00", 0.0), ("01", -_BASELINE)):
        matrix = perspective_matrix(size)
        projection = torch.cat([matrix, torch.tensor([[matrix[0, 0] * shift], [0.0], [0.0]])], dim=1)
        lines += [f"S_rect_{name}: {size[1]:.6f} {size[0]:.6f}"]
        lines += [f"R_rect_{name}: {row(torch.eye(3))}", f"P_rect_{name}: {row(projection)}"]
    side = fisheye_size(size)[0]
    files = {
        "perspective.txt": "\n".join(lines) + "\n",
        "calib_cam_to_pose.txt": "\n".join(poses) + "\n",
        "calib_cam_to_velo.txt": row(_matrix(_CAMERA_TO_LIDAR)[:3]) + "\n",
    }
    for name in _SIDES:
        xi, k1, k2, *shares = _MEI
        gamma1, gamma2, u0, v0 = (share * side for share in shares)
        files[f"{name}.yaml"] = (
            f"%YAML:1.0\n---\nmodel_type: MEI\ncamera_name: {name}\nimage_width: {side}\nimage_height: {side}\n"
            f"mirror_parameters:\n   xi: {xi}\ndistortion_parameters:\n   k1: {k1}\n   k2: {k2}\n   p1: 0.0\n   p2: 0.0\n"
            f"projection_parameters:\n   gamma1: {gamma1}\n   gamma2: {gamma2}\n   u0: {u0}\n   v0: {v0}\n"
        )
    return {f"calibration/{name}": text.encode() for name, text in files.items()}


def fisheye_size(size: tuple[int, int]) -> tuple[int, int]:
    """Side images are square and about as wide as the perspective ones, as in KITTI-360."""
    return (size[1], size[1])


def fisheye_camera(size: tuple[int, int]) -> FisheyeCamera:
    """The side cameras for perspective images of this size; integer coordinates are pixel centres."""
    side = fisheye_size(size)[0]
    shares = torch.tensor(_MEI, dtype=torch.float64)
    shares[3:] *= side
    shares[5:] -= 0.5
    return FisheyeCamera(shares)


def sscbench_voxels(scene: Scene, time: float, device: torch.device | str = "cpu") -> np.ndarray:
    """SSCBench's labels (256, 256, 32) uint8 around the LiDAR: 0 empty, 1..18, 255 unknown.

    Cells that are enclosed on all sides (the inside of houses, cars, the ground) are unknown: no sensor sees them.
    """
    lidar = vehicle_pose(scene, time) @ _matrix(_LIDAR_TO_VEHICLE)
    train_ids = voxel_labels(scene, time, SSC_GRID, lidar, device)
    free = (train_ids == VOID).float()[None, None]
    seen = torch.nn.functional.max_pool3d(free, 3, stride=1, padding=1)[0, 0] > 0
    table = np.zeros(256, np.uint8)
    for label, name in enumerate(CITYSCAPES_19.names):
        known = _SSC_NAMES.get(name, name)
        table[label] = SSCBENCH_19.index(known) if known in SSCBENCH_19.names else 0
    table[VOID] = 0
    return np.where(seen.cpu().numpy(), table[train_ids.cpu().numpy()], VOID).astype(np.uint8)


def kitti360_files(s: WorldSettings, renderer: Renderer, scene: int, index: int) -> Iterator[File]:
    """The files of one instant; drawn by `nolabel.world.writers`."""
    drive, time, size = drive_name(s.split, scene), index / s.rig.fps, s.rig.size
    stem = f"{index:010d}"
    vehicle = vehicle_pose(renderer.scene, time)
    matrix = perspective_matrix(size)
    matrix[:2, 2] -= 0.5  # the renderer's integer coordinates are pixel centres

    def perspective(camera: str, number: int) -> Callable[[], WorldFrame]:
        pose = vehicle @ camera_to_vehicle(camera)
        return cache(lambda: renderer.view(time, pose, matrix, size, "left", number))

    left = perspective("image_00", 0)
    yield f"data_2d_raw/{drive}/image_00/data_rect/{stem}.png", lambda: image_png(left())
    right = perspective("image_01", 1)
    yield f"data_2d_raw/{drive}/image_01/data_rect/{stem}.png", lambda: image_png(right())
    for number, camera in enumerate(_SIDES, start=2):
        yield _side_file(s, renderer, drive, stem, camera, number, time, vehicle, matrix)
    raw = cityscapes_label_ids(CITYSCAPES_19)
    yield (
        f"data_2d_semantics/train/{drive}/image_00/semantic/{stem}.png",
        lambda: encode_png(raw[left().semantic.cpu().numpy()].astype(np.uint8)),
    )
    yield f"data_3d_raw/{drive}/velodyne_points/data/{stem}.bin", lambda: _lidar_points(left())
    if index in s.annotated():
        yield f"sscbench/{drive}/{index:06d}_1_1.npy", lambda: _npy(sscbench_voxels(renderer.scene, time))
    if index == s.frames - 1:
        yield f"data_poses/{drive}/poses.txt", lambda: _poses(s, renderer.scene)


def _side_file(
    s: WorldSettings,
    renderer: Renderer,
    drive: str,
    stem: str,
    camera: str,
    number: int,
    time: float,
    vehicle: Tensor,
    matrix: Tensor,
) -> File:
    """A side camera's fisheye image, or the perspective picture that is made of it."""
    size = s.rig.size
    pose = vehicle @ camera_to_vehicle(camera)
    folder = f"data_2d_raw/{drive}/{camera}"
    if s.side_pictures:
        name = f"{folder}/data_{size[0]}x{size[1]}_0x{_SIDE_TILT:.0f}/{stem}.png"
        return name, lambda: image_png(renderer.view(time, pose @ _tilt(), matrix, size, "left", number))
    return (
        f"{folder}/data_rgb/{stem}.png",
        lambda: encode_png(
            to_uint8(renderer.fisheye(time, pose, fisheye_camera(size), fisheye_size(size), number))
        ),
    )


def _lidar_points(frame: WorldFrame) -> bytes:
    """What the left camera sees as points (x, y, z, reflectance) float32 in the LiDAR's frame."""
    points = PinholeCamera(frame.matrix).backproject(frame.depth.double())[frame.depth > 0]
    points = transform(_matrix(_CAMERA_TO_LIDAR).to(points.device), points)
    return torch.cat([points, torch.zeros_like(points[:, :1])], dim=1).float().cpu().numpy().tobytes()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _poses(s: WorldSettings, scene: Scene) -> bytes:
    """Frame number and the pose's 12 numbers, relative to the first frame's."""
    start = invert(vehicle_pose(scene, 0.0))
    lines = []
    for index in range(s.frames):
        pose = start @ vehicle_pose(scene, index / s.rig.fps)
        lines.append(f"{index} " + " ".join(f"{value:.9f}" for value in pose[:3].flatten().tolist()))
    return ("\n".join(lines) + "\n").encode()


def split_lines(s: WorldSettings, scene: int) -> list[str]:
    """The samples of a clip as the official lists write them: drive, row of poses.txt, first camera."""
    sides = "lr" if s.split == "train" else "l"
    last = max(1, s.frames - 1)  # the last frame has none after it
    return [f"{drive_name(s.split, scene)} {index} {side}" for index in range(last) for side in sides]


def common_files(s: WorldSettings) -> dict[str, bytes]:
    """Calibration and list of samples of a whole world."""
    lines = [line for scene in range(s.scenes) for line in split_lines(s, scene)]
    return calibration_files(s.rig.size) | {f"splits/{s.split}_files.txt": ("\n".join(lines) + "\n").encode()}
