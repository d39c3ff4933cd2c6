"""A displacement for every pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.structures._checks import as_tensor, need_shape
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_bytes
from nolabel.structures.pictures import Picture, flow_colours

__all__ = ["Flow"]


@dataclass(frozen=True, eq=False)
class Flow(Result):
    """Optical flow on the grid of the first image: the pixel at p is at p + flow in the second.

    Args:
        flow: (2, H, W) = (dx, dy) in pixels; stored as float32.
        valid: (H, W) bool, where the flow is known; None: wherever it is finite.

    Raises:
        DataError: another shape.
    """

    flow: Tensor
    valid: Tensor | None = None

    def __post_init__(self) -> None:
        flow = need_shape(as_tensor(self.flow, "flow"), "flow", (2, "H", "W")).float()
        finite = torch.isfinite(flow).all(dim=0)
        if self.valid is not None:
            valid = need_shape(as_tensor(self.valid, "valid"), "valid", tuple(flow.shape[1:]))
            finite = finite & valid.bool()
        object.__setattr__(self, "flow", flow)
        object.__setattr__(self, "valid", finite)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.flow.shape[1], self.flow.shape[2]

    def colours(self) -> Picture:
        """Direction as hue and length as saturation, (H, W, 3) uint8; unknown flow is black."""
        return flow_colours(torch.where(self.known, self.flow, torch.nan))

    @property
    def known(self) -> Tensor:
        """(H, W) bool: where the flow is known."""
        assert self.valid is not None  # set in __post_init__
        return self.valid

    def save(self, path: str | Path, stem: str | None = None) -> list[Path]:
        """Write ``<stem>_flow.png`` in KITTI's format: 16 bits, (64 dx + 32768, 64 dy + 32768, known).

        Values are rounded to 1/64 px; flow beyond 511.98 px is written as unknown.
        """
        folder, stem = destination(path, stem)
        return [write_bytes(folder / f"{stem}_flow.png", self.png())]

    def png(self) -> bytes:
        """Return the file that :meth:`save` writes."""
        coded = (torch.where(self.known, self.flow, 0.0) * 64 + 32768).round()
        known = self.known & ((coded >= 0) & (coded <= 65535)).all(dim=0)
        channels = torch.stack([known.float(), *torch.where(known, coded, 0.0).flip(0)], dim=-1)  # BGR
        _, encoded = cv2.imencode(".png", channels.numpy().astype(np.uint16))
        return encoded.tobytes()

    @classmethod
    def load(cls, path: str | Path) -> Flow:
        """Read a flow PNG in KITTI's format.

        Raises:
            DataError: the file is missing or is not a 16-bit PNG with three channels.
        """
        array = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if Path(path).is_file() else None
        if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] != 3:
            raise DataError(
                f"{path} is not a flow file", hint="expected a 16-bit PNG with 3 channels, KITTI's format"
            )
        channels = torch.from_numpy(array[..., ::-1].astype(np.float32)).permute(2, 0, 1)
        return cls((channels[:2] - 32768) / 64, channels[2] > 0)
