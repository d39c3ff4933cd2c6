"""A class for every cell of a 3D grid."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import VOID, LabelSpace
from nolabel.structures._checks import as_tensor, integer_map, need_labels_of, need_shape
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_bytes
from nolabel.structures.pictures import Picture

__all__ = ["VoxelScene"]


@dataclass(frozen=True, eq=False)
class VoxelScene(Result):
    """A semantic scene completion.

    Args:
        classes: (X, Y, Z) labels of ``space``, 255 void; label 0 is empty. Z is the upward axis (SSCBench).
        origin: (3,) metres, the outer corner of cell (0, 0, 0).
        voxel_size: edge of a cell, metres, > 0.
        space: what the labels mean.

    Raises:
        DataError: another shape, labels outside the space, a size that is not positive.
    """

    classes: Tensor
    origin: Tensor
    voxel_size: float
    space: LabelSpace

    def __post_init__(self) -> None:
        classes = integer_map(self.classes, "classes", ("X", "Y", "Z"))
        need_labels_of(classes, "classes", self.space.num_classes, self.space.name)
        origin = need_shape(as_tensor(self.origin, "origin"), "origin", (3,)).double()
        if not self.voxel_size > 0:
            raise DataError(f"voxel_size: expected metres > 0, got {self.voxel_size}")
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "origin", origin)

    @property
    def occupied(self) -> Tensor:
        """(X, Y, Z) bool: neither empty nor void."""
        return (self.classes > 0) & (self.classes != VOID)

    def colours(self) -> Picture:
        """The scene from above, (X, Y, 3) uint8: in every column the highest occupied cell; far cells first.

        Row 0 is the largest X (far ahead) and column 0 the largest Y (left), so the picture is a map with the
        driving direction up.
        """
        heights = torch.arange(1, self.classes.shape[2] + 1)
        top = (self.occupied * heights).max(dim=2).values
        label = self.classes.gather(2, (top - 1).clamp(min=0)[..., None])[..., 0]
        label = torch.where(top > 0, label, VOID)
        return self.space.palette[label.flip(0, 1).numpy()]

    def save(self, path: str | Path, stem: str | None = None) -> list[Path]:
        """Write ``<stem>_voxels.npz`` (classes, origin, voxel_size) and ``<stem>_voxels.ply`` (coloured cells).

        The PLY holds the centres of occupied cells as points, which every 3D viewer opens.
        """
        folder, stem = destination(path, stem)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            classes=self.classes.numpy().astype(np.uint8),
            origin=self.origin.numpy(),
            voxel_size=np.float64(self.voxel_size),
        )
        return [
            write_bytes(folder / f"{stem}_voxels.npz", buffer.getvalue()),
            write_bytes(folder / f"{stem}_voxels.ply", self._ply()),
        ]

    def _ply(self) -> bytes:
        index = self.occupied.nonzero()
        vertices = np.empty(len(index), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
        vertices["xyz"] = (self.origin + self.voxel_size * (index + 0.5)).numpy()
        vertices["rgb"] = self.space.palette[self.classes[self.occupied].numpy()]
        header = [
            "ply",
            "format binary_little_endian 1.0",
            f"element vertex {len(vertices)}",
            *(f"property float {axis}" for axis in "xyz"),
            *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
            "end_header",
        ]
        return "\n".join([*header, ""]).encode("ascii") + vertices.tobytes()
