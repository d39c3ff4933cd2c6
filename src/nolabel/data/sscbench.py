"""SSCBench-KITTI-360: voxel labels around the car, and the image each belongs to (spec ``scenedino.md`` 10.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.files import examples, read_image
from nolabel.data.kitti360 import SPLIT_DRIVES, prepared_folder, raw_folder, resize_bilinear
from nolabel.data.kitti360_calibration import PERSPECTIVE, read_kitti360_calibration
from nolabel.data.posed_rig import read_poses
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import pixel_intrinsics

__all__ = ["SSCBENCH_SOURCE", "VOXEL_SHAPE", "SscFrame", "SscbenchFrames", "find_voxels", "read_voxels"]

SSCBENCH_SOURCE = (
    "get SSCBench-KITTI-360 from https://github.com/ai4ce/SSCBench: <drive>/<6 digits>_1_1.npy, and the images of "
    "data_2d_raw/<drive>/image_00/data_rect (drive 2013_05_28_drive_0009_sync is the test split)"
)
VOXEL_SHAPE = (256, 256, 32)
_NAME = re.compile(r"^(\d+)_(1_1\.np[yz]|voxels\.npz)$")


@dataclass(frozen=True, eq=False)
class SscFrame:
    """An image and the labels of the space before it.

    Attributes:
        name: drive and frame; safe as a file name stem.
        image: (3, H, W) RGB in [0, 1] of the left camera.
        intrinsics: (3, 3) in pixels of this image.
        voxels: (256, 256, 32) uint8 labels as published: 0 empty, 1..18, 255 unknown.
    """

    name: str
    image: Tensor
    intrinsics: Tensor
    voxels: Tensor


def find_voxels(folder: str | Path, drives: Sequence[str] | None = None) -> list[Path]:
    """All label volumes below a folder, ``<drive>/<frame>_1_1.npy`` or ``_voxels.npz``, sorted.

    Raises:
        DataError: there are none.
    """
    found = sorted(path for path in Path(folder).glob("*/*.np[yz]") if _NAME.match(path.name))
    if drives is not None:
        found = [path for path in found if any(part in path.parent.name for part in drives)]
    if not found:
        raise DataError(f"{folder} holds no <drive>/<frame>_1_1.npy", hint=SSCBENCH_SOURCE)
    return found


def read_voxels(path: Path) -> Tensor:
    """Read labels (X, Y, Z) uint8 from an ``.npy`` file or from what ``VoxelScene.save`` wrote (``.npz``).

    Raises:
        DataError: the file is damaged, or holds no volume of labels.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        array = loaded["classes"] if path.suffix == ".npz" else loaded
        array = np.asarray(array)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read voxels of {path}: {error}", hint=SSCBENCH_SOURCE) from None
    if array.ndim != 3 or (array.size and (array.min() < 0 or array.max() > 255)):
        raise DataError(
            f"{path}: expected labels (X, Y, Z) in 0..255, got {array.dtype} {array.shape}",
            hint=SSCBENCH_SOURCE,
        )
    return torch.from_numpy(array.astype(np.uint8))


class SscbenchFrames(Dataset[SscFrame]):
    """Frames with voxel labels.

    ::

        voxels/<drive>/<6 digits>_1_1.npy
        images/data_2d_raw/<drive>/image_00/data_rect/<6 digits>.png     as SSCBench publishes them, or
        images/ as KITTI-360: frame numbers are those in the rows of data_poses/<drive>/poses.txt
        images/calibration/

    Args:
        images: root of the images.
        voxels: folder of the labels; ``images/sscbench`` by default.
        split: drives of ``images/splits/<split>_files.txt`` where there is such a list; else of SSCBench: ``test`` is drive
            0009, ``val`` 0006. None takes every drive that has labels.
        size: (height, width) of the images.
        drives: only these (names or parts of names); overrides ``split``.

    Raises:
        DataError: there are no labels, or images of theirs are missing.
    """

    def __init__(
        self,
        images: str | Path,
        voxels: str | Path | None = None,
        split: str | None = "test",
        *,
        size: tuple[int, int] = (192, 640),
        drives: Sequence[str] | None = None,
    ) -> None:
        root = Path(images)
        self.size = size
        self.matrix = read_kitti360_calibration(root / "calibration").matrix
        if drives is None and split is not None:
            drives = _drives_of(root, split)
        volumes = find_voxels(voxels if voxels is not None else root / "sscbench", drives)
        self.frames = [(_image_of(root, path, size), path) for path in volumes]
        missing = [image for image, _ in self.frames if not image.is_file()]
        if missing:
            raise DataError(
                f"{len(missing)} images of voxel labels are missing: {examples(missing)}",
                hint=SSCBENCH_SOURCE,
            )

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> SscFrame:
        image, volume = self.frames[index]
        voxels = read_voxels(volume)
        if tuple(voxels.shape) != VOXEL_SHAPE:
            raise DataError(
                f"{volume}: expected labels {VOXEL_SHAPE}, got {tuple(voxels.shape)}", hint=SSCBENCH_SOURCE
            )
        return SscFrame(
            name=f"{volume.parent.name}_{_number(volume):06d}",
            image=resize_bilinear(read_image(image).as_subclass(Tensor), self.size),
            intrinsics=pixel_intrinsics(self.matrix, *self.size).float(),
            voxels=voxels,
        )


def _drives_of(root: Path, split: str) -> list[str]:
    """Names of a split's drives, or the part of theirs that tells them."""
    lists = root / "splits" / f"{split}_files.txt"
    if lists.is_file():
        return sorted({line.split()[0] for line in lists.read_text().splitlines() if line.strip()})
    if split not in SPLIT_DRIVES:
        raise ConfigError(
            f"SSCBench-KITTI-360 has no split {split!r}", hint=f"known: {', '.join(SPLIT_DRIVES)}"
        )
    return [f"_drive_{number:04d}_" for number in SPLIT_DRIVES[split]]


def _number(volume: Path) -> int:
    match = _NAME.match(volume.name)
    assert match is not None
    return int(match[1])


def _image_of(root: Path, volume: Path, size: tuple[int, int]) -> Path:
    """SSCBench's own image of a volume, or KITTI-360's of the frame in that row of the poses."""
    drive, row = volume.parent.name, _number(volume)
    own = raw_folder(root, drive, PERSPECTIVE[0]) / f"{row:06d}.png"
    poses = root / "data_poses" / drive / "poses.txt"
    if own.is_file() or not poses.is_file():
        return own
    frames = _frames(poses)
    if row >= len(frames):
        return own
    name = f"{frames[row]:010d}.png"
    prepared = prepared_folder(root, drive, PERSPECTIVE[0], size) / name
    return prepared if prepared.is_file() else raw_folder(root, drive, PERSPECTIVE[0]) / name


@lru_cache(maxsize=16)
def _frames(poses: Path) -> tuple[int, ...]:
    return read_poses(poses)[0]
