"""What SceneDINO says about one image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from nolabel.geometry import PinholeCamera, VoxelGrid, transform
from nolabel.labels import CITYSCAPES_19, VOID, LabelSpace
from nolabel.structures import SemanticMap, VoxelScene
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_bytes
from nolabel.structures.pictures import Picture, show_picture
from nolabel.viz import PrincipalColours, depth_colours

__all__ = ["PointCloud", "RenderedView", "ScenePrediction", "SurfaceVoxels"]

EDGE = 0.06  # neighbouring depths that differ by more than this share are an edge: no surface is between


@dataclass(frozen=True, eq=False)
class RenderedView:
    """The image's own view as the network renders it, at the network's size (h, w).

    Attributes:
        image: (3, h, w) RGB in [0, 1].
        intrinsics: (3, 3) pixels of that size.
        depth: (h, w) metres along z.
        labels: (h, w) int64; None without a semantic head.
        confidence: (h, w) 0..1; None without a semantic head.
        colours: (h, w, 3) uint8, the principal components of the features; None where no features were asked for.
    """

    image: Tensor
    intrinsics: Tensor
    depth: Tensor
    labels: Tensor | None = None
    confidence: Tensor | None = None
    colours: Picture | None = None


@dataclass(frozen=True, eq=False)
class SurfaceVoxels:
    """The occupied cells that touch empty ones.

    Attributes:
        cells: (N, 3) int64.
        pixels: (N, 3) uint8 RGB, what the image shows in their direction.
        colours: (N, 3) uint8, the principal components of their features; None where no features were asked for.
    """

    cells: Tensor
    pixels: Picture
    colours: Picture | None = None


@dataclass(frozen=True, eq=False)
class PointCloud:
    """What the image shows, as points in the frame of the voxels (x forward, y left, z up).

    Attributes:
        points: (N, 3) float64 metres.
        pixels: (N, 3) uint8 RGB of the image.
        labels: (N,) int64 classes; None without a semantic head.
        colours: (N, 3) uint8 colours of the features; None where no features were asked for.
    """

    points: Tensor
    pixels: Picture
    labels: Tensor | None = None
    colours: Picture | None = None

    def __getitem__(self, chosen: Tensor) -> PointCloud:
        """Return some of the points, by a bool mask or by numbers."""
        labels = None if self.labels is None else self.labels[chosen]
        colours = None if self.colours is None else self.colours[chosen.numpy()]
        return PointCloud(self.points[chosen], self.pixels[chosen.numpy()], labels, colours)


@dataclass(frozen=True, eq=False)
class ScenePrediction(Result):
    """Geometry, features and classes of one image.

    Attributes:
        image: (3, H, W) RGB in [0, 1].
        intrinsics: (3, 3) float64 pixels of the image.
        depth: (H, W) metres along z, the camera's axis (not the distance along a ray). It is rendered at the network's size
            and brought to that of the image.
        view: the same at the network's size, and what points are made from.
        camera_to_grid: (4, 4) from the camera's frame to that of the voxels (x forward, y left, z up), metres.
        classes: (H, W) classes with confidence; None where no semantic head was trained (stage 2).
        features: (C, h, w) at the network's size, compact (as rendered) or expanded (unit vectors); None if not asked for.
        voxels: cells with classes: 0 empty, 255 outside of the picture. Without a semantic head class 1 is ``matter``.
            None if not asked for.
        density: (X, Y, Z) 1 / metre at the centres of the cells; 0 where nobody looked.
        surface: cells that can be seen from somewhere.
        voxel_labels: (classes,) int64: the voxels' label of each class of pixels.
        basis: what made colours of features; give it to the next prediction for the same colours.
        notes: what was guessed, or is missing, in words.
    """

    image: Tensor
    intrinsics: Tensor
    depth: Tensor
    view: RenderedView
    camera_to_grid: Tensor
    classes: SemanticMap | None = None
    features: Tensor | None = None
    voxels: VoxelScene | None = None
    density: Tensor | None = None
    surface: SurfaceVoxels | None = None
    voxel_labels: Tensor | None = field(default=None, repr=False)
    basis: PrincipalColours | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.depth.shape[0], self.depth.shape[1]

    @property
    def grid(self) -> VoxelGrid | None:
        """The cells; None where no voxels were asked for."""
        if self.voxels is None:
            return None
        x, y, z = self.voxels.origin.tolist()
        shape = self.voxels.classes.shape
        return VoxelGrid((x, y, z), self.voxels.voxel_size, (shape[0], shape[1], shape[2]))

    @property
    def space(self) -> LabelSpace:
        """What :meth:`seen_labels` are labels of."""
        if self.voxels is not None:
            return self.voxels.space
        return CITYSCAPES_19 if self.classes is None else self.classes.space

    def colours(self) -> Picture:
        """The classes, or the depth where there are none, (H, W, 3) uint8."""
        return depth_colours(self.depth) if self.classes is None else self.classes.colours()

    def points(self, *, farthest: float | None = None) -> PointCloud:
        """The rendered surface as points, one for each pixel of the network's size that lies on no edge.

        Args:
            farthest: leave out what is farther away than so many metres along z.
        """
        depth = self.view.depth
        kept = ~_edges(depth)
        if farthest is not None:
            kept &= depth <= farthest
        points = PinholeCamera(self.view.intrinsics.double()).backproject(depth.double())[kept]
        pixels = (self.view.image.permute(1, 2, 0)[kept] * 255).round().to(torch.uint8).numpy()
        return PointCloud(
            transform(self.camera_to_grid, points),
            pixels,
            None if self.view.labels is None else self.view.labels[kept],
            None if self.view.colours is None else self.view.colours[kept.numpy()],
        )

    def show(self, image: Any = None) -> Image.Image:
        """Show everything on one sheet: image, depth, features, classes, and the voxels from above and from the side."""
        from nolabel.methods.scenedino.prediction_pictures import overview

        return show_picture(overview(self) if image is None else self.overlay(image))

    def save(
        self, path: str | Path, stem: str | None = None, formats: Iterable[str] | None = None
    ) -> list[Path]:
        """Write the result.

        Args:
            path: a folder (made if needed), or with ``stem`` None a path whose last part is the stem.
            stem: what the names of the files start with.
            formats: names of :data:`nolabel.methods.scenedino.prediction_files.SCENE_FORMATS`; by default all that this
                result can give.

        Returns:
            The files written. Each appears whole or not at all; the same result gives the same bytes.

        Raises:
            ConfigError: an unknown format, or one that this result has nothing for.
        """
        from nolabel.methods.scenedino.prediction_files import encode_prediction

        folder, stem = destination(path, stem)
        encoded = encode_prediction(self, stem, formats)
        return [write_bytes(folder / name, content) for name, content in encoded.items()]

    def seen_labels(self) -> list[int]:
        """Labels of the voxels' space (else of the classes') that occur, without empty and void."""
        if self.voxels is not None:
            found = torch.unique(self.voxels.classes[self.voxels.occupied])
        elif self.classes is not None:
            found = torch.unique(self.classes.labels)
        else:
            return []
        return [int(label) for label in found if label != VOID]


def _edges(depth: Tensor) -> Tensor:
    """Pixels (h, w) beside a jump of the depth: what is rendered there lies between two surfaces."""
    inverse = 1 / depth.clamp(min=1e-3)
    jump = torch.zeros_like(depth, dtype=torch.bool)
    for axis in (0, 1):
        low, high = (
            inverse.narrow(axis, 0, depth.shape[axis] - 1),
            inverse.narrow(axis, 1, depth.shape[axis] - 1),
        )
        apart = (low - high).abs() > EDGE * torch.minimum(low, high)
        jump.narrow(axis, 0, depth.shape[axis] - 1).logical_or_(apart)
        jump.narrow(axis, 1, depth.shape[axis] - 1).logical_or_(apart)
    return jump
