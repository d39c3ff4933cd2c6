"""Posed footage with known faults, made from a good KITTI-360 world: what the doctor must find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nolabel.structures.files import write_bytes

__all__ = ["FAULTS", "change_poses", "double_focal_length", "remove_frame"]

Rows = np.ndarray


def change_poses(root: Path, change: Callable[[Rows], Rows]) -> None:
    """Let a function change the rows (N, 13) of every ``poses.txt``: frame number and the 3x4 matrix's numbers."""
    for path in sorted(root.glob("data_poses/*/poses.txt")):
        rows = change(np.loadtxt(path, ndmin=2))
        lines = (f"{int(row[0])} " + " ".join(f"{value:.9f}" for value in row[1:]) for row in rows)
        write_bytes(path, ("\n".join(lines) + "\n").encode())


def double_focal_length(root: Path) -> None:
    """Write twice the focal lengths into ``calibration/perspective.txt``, as of images twice as large and cut."""
    path = root / "calibration" / "perspective.txt"
    lines = []
    for line in path.read_text().splitlines():
        name, values = line.split(":", 1)
        numbers = values.split()
        if name.startswith("P_rect"):
            numbers[0], numbers[5] = (repr(2 * float(numbers[place])) for place in (0, 5))
        lines.append(f"{name}: {' '.join(numbers)}")
    write_bytes(path, ("\n".join(lines) + "\n").encode())


def remove_frame(root: Path, frame: int, camera: str = "image_01") -> None:
    """Take away a frame's image in every drive."""
    for path in sorted(root.glob(f"data_2d_raw/*/{camera}/*/{frame:010d}.png")):
        path.unlink()


def _inverted(rows: Rows) -> Rows:
    """World to vehicle; of a drive that had turned by 90 degrees before, as any real one has."""
    whole = np.tile(np.eye(4), (len(rows), 1, 1))
    whole[:, :3] = rows[:, 1:].reshape(-1, 3, 4)
    turn = np.array([[0, -1, 0, 4], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    inverse = np.linalg.inv(turn @ whole)
    return np.concatenate([rows[:, :1], inverse[:, :3].reshape(len(rows), 12)], axis=1)


def _centimetres(rows: Rows) -> Rows:
    rows = rows.copy()
    rows[:, [4, 8, 12]] *= 100
    return rows


def _sheared(rows: Rows) -> Rows:
    rows = rows.copy()
    rows[1, 1:4] *= 1.3
    return rows


def _late(rows: Rows) -> Rows:
    """Every pose is that of the frame before."""
    rows = rows.copy()
    rows[1:, 1:] = rows[:-1, 1:].copy()
    return rows


def _half_steps(rows: Rows) -> Rows:
    rows = rows.copy()
    rows[:, [4, 8, 12]] *= 0.5
    return rows


FAULTS: dict[str, Callable[[Path], None]] = {
    "inverted poses": lambda root: change_poses(root, _inverted),
    "poses in centimetres": lambda root: change_poses(root, _centimetres),
    "poses at half their scale": lambda root: change_poses(root, _half_steps),
    "a matrix that is no rotation": lambda root: change_poses(root, _sheared),
    "poses a frame late": lambda root: change_poses(root, _late),
    "twice the focal length": double_focal_length,
    "a missing image": lambda root: remove_frame(root, 1),
}
"""Name -> what spoils a world in place."""
