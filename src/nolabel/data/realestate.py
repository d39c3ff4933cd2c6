"""RealEstate10K: video of walks through houses with estimated cameras (spec ``scenedino.md`` 10.2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.files import examples, read_image
from nolabel.data.posed_views import PosedSample
from nolabel.errors import DataError
from nolabel.geometry import invert, pixel_intrinsics

__all__ = ["CoveringCrop", "RealEstateViews", "covering_crop", "read_camera_file"]

_SOURCE = (
    "get the camera files from https://google.github.io/realestate10k (<split>/<clip>.txt) and store the frames they "
    "name as frames_720/<split>/<clip>/<timestamp in ms>.jpg"
)


@dataclass(frozen=True)
class CoveringCrop:
    """How an image comes to a size: scaled until it covers the size, then cut around its middle.

    Args:
        resized: (height, width) after scaling.
        top, left: of the cut.
        size: (height, width) of the result.
    """

    resized: tuple[int, int]
    top: int
    left: int
    size: tuple[int, int]

    def __call__(self, image: Tensor) -> Tensor:
        """Scale and cut an image (3, H, W) float, with OpenCV's bilinear filter."""
        if tuple(image.shape[-2:]) != self.resized:
            pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
            pixels = cv2.resize(pixels, self.resized[::-1], interpolation=cv2.INTER_LINEAR)
            image = torch.from_numpy(pixels).permute(2, 0, 1)
        height, width = self.size
        return image[:, self.top : self.top + height, self.left : self.left + width].contiguous()

    def intrinsics(self, camera: Tensor, *, reference_compat: bool = False) -> Tensor:
        """The matrix (3, 3), normalised to -1..1, of the result.

        Args:
            camera: (4,) fx, fy, cx, cy as shares of the original's width and height.
            reference_compat: as if nothing were cut, as the original has it.
        """
        fx, fy, cx, cy = camera.unbind()
        if not reference_compat:
            height, width = self.size
            fx, cx = fx * self.resized[1] / width, (cx * self.resized[1] - self.left) / width
            fy, cy = fy * self.resized[0] / height, (cy * self.resized[0] - self.top) / height
        zero, one = torch.zeros_like(fx), torch.ones_like(fx)
        rows = [[2 * fx, zero, 2 * cx - 1], [zero, 2 * fy, 2 * cy - 1], [zero, zero, one]]
        return torch.stack([torch.stack(row) for row in rows])


def covering_crop(image_size: tuple[int, int], size: tuple[int, int]) -> CoveringCrop:
    """The scaling and the cut that bring an image of one (height, width) to another."""
    (height, width), (rows, columns) = image_size, size
    if image_size == size:
        return CoveringCrop(size, 0, 0, size)
    if rows / height >= columns / width:
        resized = (rows, max(columns, round(width * rows / height)))
    else:
        resized = (max(rows, round(height * columns / width)), columns)
    return CoveringCrop(resized, (resized[0] - rows) // 2, (resized[1] - columns) // 2, size)


def read_camera_file(path: Path) -> tuple[list[int], Tensor, Tensor]:
    """Read one clip's camera file: an address, then lines of a timestamp and 18 numbers.

    Returns:
        Timestamps (microseconds); cameras (N, 4) fx, fy, cx, cy as shares of the image; poses (N, 4, 4) camera to
        world.

    Raises:
        DataError: the file is missing, or a line has another number of values.
    """
    try:
        rows = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
        values = torch.tensor([[float(value) for value in row[1:]] for row in rows], dtype=torch.float64)
        times = [int(row[0]) for row in rows]
        cameras, to_camera = values[:, :4], values[:, 6:].reshape(-1, 3, 4)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint=_SOURCE) from None
    except (ValueError, IndexError, RuntimeError) as error:
        raise DataError(f"{path} is no camera file of RealEstate10K: {error}", hint=_SOURCE) from None
    return times, cameras.float(), camera_to_world(to_camera)


def camera_to_world(world_to_camera: Tensor) -> Tensor:
    """Poses (N, 4, 4) of matrices (N, 3, 4)."""
    bottom = world_to_camera.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*world_to_camera.shape[:-2], 1, 4)
    return invert(torch.cat([world_to_camera, bottom], dim=-2))


class RealEstateViews(Dataset[PosedSample]):
    """Four frames of a walk: i, i + 3, i + 6, i + 9 of every tenth i.

    ::

        root/<split>/<clip>.txt                                   cameras
        root/frames_720/<split>/<clip>/<timestamp in ms>.jpg      frames

    Args:
        root: the folder above.
        split: ``train`` or ``test``.
        size: (height, width) of the views.
        views: frames of a sample.
        spacing: frames between two views.
        every: frames between two samples.
        reference_compat: leave the camera matrix as it was before the cut.

    Raises:
        DataError: there are no clips, or frames are missing.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        size: tuple[int, int] = (288, 512),
        views: int = 4,
        spacing: int = 3,
        every: int = 10,
        reference_compat: bool = False,
    ) -> None:
        self.root, self.split, self.size = Path(root), split, size
        self.views, self.spacing, self.reference_compat = views, spacing, reference_compat
        self.clips = {path.stem: read_camera_file(path) for path in sorted((self.root / split).glob("*.txt"))}
        if not self.clips:
            raise DataError(f"{self.root / split} holds no camera files", hint=_SOURCE)
        self.places = [
            (clip, i) for clip, (times, _, _) in self.clips.items() for i in range(0, len(times), every)
        ]
        wanted = {self._path(clip, k) for clip, i in self.places for k in self._frames(clip, i)}
        missing = sorted(path.relative_to(self.root) for path in wanted if not path.is_file())
        if missing:
            raise DataError(
                f"{self.root}: {len(missing)} frames are missing: {examples(missing)}", hint=_SOURCE
            )

    def _path(self, clip: str, index: int) -> Path:
        time = self.clips[clip][0][index]
        return self.root / "frames_720" / self.split / clip / f"{time // 1000}.jpg"

    def _frames(self, clip: str, first: int) -> list[int]:
        last = len(self.clips[clip][0]) - 1
        return [min(first + view * self.spacing, last) for view in range(self.views)]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> PosedSample:
        clip, first = self.places[index]
        frames = self._frames(clip, first)
        times, cameras, poses = self.clips[clip]
        images, matrices = [], []
        for frame in frames:
            image = read_image(self._path(clip, frame)).as_subclass(Tensor)
            crop = covering_crop((image.shape[1], image.shape[2]), self.size)
            images.append(crop(image))
            matrices.append(crop.intrinsics(cameras[frame], reference_compat=self.reference_compat))
        return PosedSample(
            name=f"{clip}_{times[first] // 1000}",
            images=torch.stack(images),
            intrinsics=pixel_intrinsics(torch.stack(matrices), *self.size, first_centre=0.0),
            poses=poses[frames].float(),
            frame_ids=tuple(frames),
            cameras=("camera",) * self.views,
        )
