"""Video files of pictures, whole or absent."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from nolabel.errors import ConfigError, DataError
from nolabel.structures.files import atomic_path
from nolabel.viz.colours import Picture, to_picture

__all__ = ["VideoFile"]

_SMALLEST = 16  # pixels on a side that encoders accept


class VideoFile:
    """Writes pictures to an ``.mp4`` file (MPEG-4), which appears when it is complete.

    Use it as a context manager: leaving it by an error leaves no file. All frames get the size of the first; sizes
    are made even by repeating the last row or column.

    Args:
        path: the file, with the suffix ``.mp4``.
        fps: frames per second.

    Raises:
        ConfigError: fps is not above 0, or another suffix.
        DataError: OpenCV cannot write such a video here.
    """

    def __init__(self, path: str | Path, fps: float = 10.0) -> None:
        self.path, self.fps, self.count = Path(path), fps, 0
        if fps <= 0:
            raise ConfigError(f"a video needs more than {fps} frames per second")
        if self.path.suffix.lower() != ".mp4":
            raise ConfigError(f"{self.path} must end in .mp4")
        self._size: tuple[int, int] = (0, 0)
        self._writer: cv2.VideoWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            if kind is None:
                self._encoded.replace(self._written)
        self._open.__exit__(kind, error, trace)

    def add(self, picture: ArrayLike | Tensor) -> None:
        """Append a picture, see :func:`~nolabel.viz.to_picture`."""
        frame = to_picture(picture)
        if self._writer is None:
            self._start(frame)
        assert self._writer is not None
        height, width = self._size
        if (frame.shape[0] + frame.shape[0] % 2, frame.shape[1] + frame.shape[1] % 2) != self._size:
            frame = to_picture(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
        missing = (height - frame.shape[0], width - frame.shape[1])
        frame = np.pad(frame, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        self._writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self.count += 1

    def _start(self, frame: Picture) -> None:
        height, width = (max(_SMALLEST, side + side % 2) for side in frame.shape[:2])
        self._size = (height, width)
        self._written = self._open.enter_context(atomic_path(self.path))
        # The encoder chooses the container by the suffix, which the temporary name has not.
        self._encoded = self._written.with_name(self._written.name + ".mp4")
        self._open.callback(self._encoded.unlink, missing_ok=True)
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._encoded), code, self.fps, (width, height))
        if not self._writer.isOpened():
            raise DataError(
                f"cannot write the video {self.path}",
                hint="this build of OpenCV has no MPEG-4 encoder; write pictures instead (overlay)",
            )
