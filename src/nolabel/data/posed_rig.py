"""Posed views from drives of a car, or any other rig, with several cameras fixed to it.

A reader of some layout lists drives (:class:`Drive`) with their cameras (:class:`RigCamera`) and the moments to start
from (:class:`Moment`); which frames make a sample, reading them and their cameras is done here once for all layouts
(spec ``scenedino.md`` 6 and 10.1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.files import examples, read_image
from nolabel.data.posed_views import PosedSample
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import invert, pixel_intrinsics

__all__ = ["CameraPair", "Drive", "Moment", "PosedDrives", "RigCamera", "read_poses"]

Offset = tuple[int, int]


@dataclass(frozen=True, eq=False)
class RigCamera:
    """One camera of a rig.

    Attributes:
        name: of the camera.
        matrix: (3, 3) pinhole matrix of the views, normalised to -1..1.
        to_rig: (4, 4) camera to rig.
        path: frame number -> image file.
        bring: an image as read (3, h, w) -> the view (3, H, W).
    """

    name: str
    matrix: Tensor
    to_rig: Tensor
    path: Callable[[int], Path]
    bring: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Drive:
    """One recording.

    Attributes:
        name: of the recording; safe as part of a file name.
        frames: frame numbers, rising.
        poses: (N, 4, 4) float64 rig to world at these frames, metres.
        cameras: by name.
    """

    name: str
    frames: tuple[int, ...]
    poses: Tensor
    cameras: dict[str, RigCamera]


@dataclass(frozen=True)
class Moment:
    """Where a sample starts: a place in a drive's ``frames``, and the camera of view 0."""

    drive: str
    place: int
    camera: str


@dataclass(frozen=True)
class CameraPair:
    """Two views of one camera.

    Args:
        camera: its name.
        offset: frames after the moment, drawn from first..last for each sample; (0, 0) is the moment itself. Pairs with
            one ``offset`` share the draw.
    """

    camera: str
    offset: Offset = (0, 0)


class PosedDrives(Dataset[PosedSample]):
    """Samples of 2 views for each camera: at a moment (plus the camera's offset) and ``step`` frames later.

    The camera of the moment comes first; frames beyond the end of a drive are its last one. Offsets are drawn with torch's
    global generator, which trainings seed for each sample.

    Args:
        drives: the recordings.
        moments: the samples.
        pairs: the cameras; those with offset (0, 0) may be the first one of a moment.
        size: (height, width) of the views.
        step: frames between the two views of a camera.
        labels: (drive, frame number, camera) -> (H, W) classes of a moment's view, or None.
        depth: (drive, frame number, camera) -> (H, W) metres, or None.
        hint: what to do where images are missing.
        check_files: whether missing images are an error at once; they are one when they are read in any case.

    Raises:
        DataError: there are no moments, or images are missing.
        ConfigError: an impossible setting.
    """

    def __init__(
        self,
        drives: Sequence[Drive],
        moments: Sequence[Moment],
        pairs: Sequence[CameraPair],
        size: tuple[int, int],
        *,
        step: int = 1,
        labels: Callable[[str, int, str], Tensor | None] | None = None,
        depth: Callable[[str, int, str], Tensor | None] | None = None,
        hint: str | None = None,
        check_files: bool = True,
    ) -> None:
        self.drives = {drive.name: drive for drive in drives}
        self.moments, self.pairs, self.size, self.step = list(moments), list(pairs), size, step
        self.labels, self.depth = labels, depth
        if step < 1 or any(first < 0 or last < first for first, last in (pair.offset for pair in pairs)):
            raise ConfigError("frames between views: step at least 1, offsets rising from 0")
        if not self.moments:
            raise DataError("there is no frame with images and a pose to start from", hint=hint)
        missing = self.missing() if check_files else []
        if missing:
            raise DataError(f"{len(missing)} images are missing: {examples(missing)}", hint=hint)

    def missing(self) -> list[Path]:
        """The images that samples may need and that are not there; folders are listed once."""
        there: dict[Path, set[str]] = {}
        places: dict[tuple[str, str], set[int]] = {}
        for moment in self.moments:
            drive = self.drives[moment.drive]
            for pair in self.pairs:
                for offset in pair.offset:
                    needed = places.setdefault((moment.drive, pair.camera), set())
                    needed.update(self._places(drive, moment, offset))
        wanted: set[Path] = set()
        for (name, camera), needed in places.items():
            drive = self.drives[name]
            wanted.update(drive.cameras[camera].path(drive.frames[place]) for place in needed)
        for folder in {path.parent for path in wanted}:
            there[folder] = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        return sorted(path for path in wanted if path.name not in there[path.parent])

    def _places(self, drive: Drive, moment: Moment, offset: int) -> tuple[int, int]:
        last = len(drive.frames) - 1
        start = moment.place + offset
        return min(start, last), min(start + self.step, last)

    def __len__(self) -> int:
        return len(self.moments)

    def __getitem__(self, index: int) -> PosedSample:
        moment = self.moments[index]
        drive = self.drives[moment.drive]
        images, matrices, poses, frames, cameras = [], [], [], [], []
        drawn: dict[Offset, int] = {}
        for pair in self._ordered(moment.camera):
            if pair.offset not in drawn:
                first, last = pair.offset
                drawn[pair.offset] = int(torch.randint(first, last + 1, ())) if last > first else first
            camera = drive.cameras[pair.camera]
            for place in self._places(drive, moment, drawn[pair.offset]):
                frames.append(drive.frames[place])
                images.append(camera.bring(read_image(camera.path(frames[-1])).as_subclass(Tensor)))
                matrices.append(camera.matrix)
                poses.append(drive.poses[place] @ camera.to_rig)
                cameras.append(camera.name)
        start = invert(
            poses[0]
        )  # near the first camera float32 resolves millimetres; far from it it does not
        number = drive.frames[moment.place]
        return PosedSample(
            name=f"{drive.name}_{number:010d}_{moment.camera}",
            images=torch.stack(images),
            intrinsics=pixel_intrinsics(torch.stack(matrices), *self.size).float(),
            poses=torch.stack([start @ pose for pose in poses]).float(),
            frame_ids=tuple(frames),
            cameras=tuple(cameras),
            labels=None if self.labels is None else self.labels(drive.name, number, moment.camera),
            depth=None if self.depth is None else self.depth(drive.name, number, moment.camera),
        )

    def _ordered(self, first: str) -> list[CameraPair]:
        """The pairs, that of the moment's camera first, then the others with its offset."""
        now = [pair for pair in self.pairs if pair.offset == (0, 0)]
        later = [pair for pair in self.pairs if pair.offset != (0, 0)]
        return sorted(now, key=lambda pair: pair.camera != first) + later


def read_poses(path: Path) -> tuple[tuple[int, ...], Tensor]:
    """Read a file of poses: in each row a frame number and the 12 numbers of a 3x4 matrix, rig to world.

    Returns:
        The frame numbers and the poses (N, 4, 4) float64.

    Raises:
        DataError: the file is missing or a row has another number of values.
    """
    try:
        rows = [
            [float(value) for value in line.split()] for line in path.read_text().splitlines() if line.strip()
        ]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint="check the path of the poses") from None
    except ValueError as error:
        raise DataError(f"{path} is no file of poses: {error}", hint=_POSE_ROW) from None
    wrong = [number for number, row in enumerate(rows, start=1) if len(row) != 13]
    if wrong or not rows:
        fault = f"rows {examples(wrong)} do not have 13 numbers" if wrong else "it has no row"
        raise DataError(f"{path}: {fault}", hint=_POSE_ROW)
    values = torch.tensor(rows, dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    poses[:, :3] = values[:, 1:].view(-1, 3, 4)
    return tuple(int(row[0]) for row in rows), poses


_POSE_ROW = (
    "each row: frame number, then the 12 numbers of the 3x4 matrix that takes the rig's points to the world"
)
