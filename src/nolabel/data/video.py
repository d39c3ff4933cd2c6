"""Video files as map-style data sets of frames, with one frame in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from nolabel.data.files import VIDEO_SUFFIXES
from nolabel.errors import DataError
from nolabel.structures import ImageSample

__all__ = ["VideoFrames"]

_REENCODE = "re-encode it: ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4"


class VideoFrames(Dataset[ImageSample]):
    """The frames of a video file, named ``<file>_<frame:06d>``.

    Frames are exact: going forward skips by decoding, going back starts over (seeking by time stamps is not exact in
    many files). So read in order; a shard only pays for skipping once.

    Args:
        path: the video.
        transform: applied to each sample.

    Raises:
        DataError: the file is missing, cannot be decoded, or (on reading) ends early.
    """

    def __init__(self, path: str | Path, transform: v2.Transform | None = None) -> None:
        self.path = Path(path)
        self.transform = transform
        self._capture: Any = None
        self._position = 0
        if not self.path.is_file():
            raise DataError(f"there is no video {self.path}", hint="check the path")
        capture = self._open()
        self.fps: float | None = capture.get(cv2.CAP_PROP_FPS) or None
        self._count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._count <= 0:  # some containers do not say
            self._count = 0
            while capture.grab():
                self._count += 1
            self.close()
        if self._count == 0:
            raise DataError(f"{self.path} holds no frames", hint=_REENCODE)
        self.read(0)

    def __len__(self) -> int:
        return self._count

    @property
    def names(self) -> list[str]:
        """The frames' names, in order."""
        return [self._name(index) for index in range(len(self))]

    def __getitem__(self, index: int) -> ImageSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        sample: ImageSample = {"name": self._name(index), "image": self.read(index)}
        if self.transform is not None:
            sample = self.transform(sample)
        return sample

    def __iter__(self) -> Iterator[ImageSample]:
        for index in range(len(self)):
            yield self[index]

    def read(self, index: int) -> tv_tensors.Image:
        """Return frame ``index``: (3, H, W) float32 RGB in [0, 1]."""
        if self._capture is None or index < self._position:
            self.close()
            self._open()
        while self._position < index:
            if not self._capture.grab():
                raise self._ended()
            self._position += 1
        good, frame = self._capture.read()
        if not good:
            raise self._ended()
        self._position += 1
        pixels = torch.from_numpy(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)
        return tv_tensors.Image(pixels.to(torch.float32).div_(255).contiguous())

    def close(self) -> None:
        """Release the file; the next read opens it again."""
        if self._capture is not None:
            self._capture.release()
        self._capture, self._position = None, 0

    def _open(self) -> Any:
        self._capture = cv2.VideoCapture(str(self.path))
        self._position = 0
        if not self._capture.isOpened():
            self.close()
            known = ", ".join(sorted(VIDEO_SUFFIXES))
            raise DataError(
                f"cannot decode the video {self.path}", hint=f"{_REENCODE} (known kinds: {known})"
            )
        return self._capture

    def _ended(self) -> DataError:
        return DataError(
            f"{self.path} announces {self._count} frames and ends after {self._position}",
            hint=f"it was cut short or is damaged; {_REENCODE}",
        )

    def _name(self, index: int) -> str:
        return f"{self.path.stem}_{index:06d}"

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind: each worker opens its own."""
        return {**self.__dict__, "_capture": None, "_position": 0}
