"""A class for every cell of a 3D grid."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import VOID, LabelSpace
from nolabel.structures._checks import as_tensor, integer_map, need_labels_of, need_shape
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_bytes
from nolabel.structures.gltf import GltfPart
from nolabel.structures.pictures import Picture
from nolabel.structures.ply import encode_ply
from nolabel.structures.voxel_mesh import VoxelFaces, merged_faces

__all__ = ["VoxelMesh", "VoxelScene"]


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

    def mesh(self) -> VoxelMesh:
        """The surface of the occupied cells; see :func:`nolabel.structures.voxel_mesh.merged_faces`."""
        labels, occupied = self.classes.numpy(), self.occupied.numpy()
        return VoxelMesh(
            merged_faces(labels, occupied), self.origin.numpy(), self.voxel_size, self.space.palette
        )

    def centres(self, cells: Tensor) -> Tensor:
        """Centres (N, 3) of cells (N, 3), metres, float64."""
        return self.origin + self.voxel_size * (cells + 0.5)

    def _ply(self) -> bytes:
        points = self.centres(self.occupied.nonzero()).numpy()
        return encode_ply(points, self.space.palette[self.classes[self.occupied].numpy()])


@dataclass(frozen=True, eq=False)
class VoxelMesh:
    """The surface of a scene in metres.

    Attributes:
        faces: rectangles, in cells.
        origin: (3,) metres.
        voxel_size: metres.
        palette: (256, 3) uint8.
    """

    faces: VoxelFaces
    origin: npt.NDArray[np.float64]
    voxel_size: float
    palette: npt.NDArray[np.uint8]

    @property
    def points(self) -> npt.NDArray[np.float64]:
        """(4 F, 3) metres: corners, four of each face one after another."""
        return self.origin + self.voxel_size * self.faces.corners.reshape(-1, 3)

    @property
    def quads(self) -> npt.NDArray[np.int64]:
        """(F, 4) places of each face's corners among the points."""
        return np.arange(4 * len(self.faces.labels)).reshape(-1, 4)

    @property
    def colours(self) -> npt.NDArray[np.uint8]:
        """(4 F, 3) uint8 RGB."""
        return np.repeat(self.palette[self.faces.labels], 4, axis=0)

    def ply(self) -> bytes:
        """The mesh as a PLY file of coloured quads."""
        return encode_ply(self.points, self.colours, quads=self.quads)

    def gltf(self, name: str = "voxels") -> GltfPart:
        """The mesh as a part of a GLB file; see :func:`nolabel.structures.gltf.encode_glb`."""
        normals = np.repeat(self.faces.normals, 4, axis=0)
        return GltfPart(name, self.points, self.colours, self.quads, normals)
