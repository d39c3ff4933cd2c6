"""Scenes that need no learning: what a learnt scene has to be better than."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nolabel.geometry import pixel_grid, sample
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.scenedino.scene_model import SceneModel, ViewPrediction, VolumePrediction

__all__ = ["BackProjection", "EmptyScene", "GroundPlane"]

MATTER = 10.0
"""Density (1 / metre) of what is there: opaque within a voxel."""


class EmptyScene:
    """Nothing anywhere."""

    def view(self, image: Tensor, intrinsics: Tensor, *, features: bool = False) -> ViewPrediction:
        """Nothing is seen."""
        return ViewPrediction()

    def volume(
        self, image: Tensor, intrinsics: Tensor, centres: Tensor, needed: Tensor | None = None
    ) -> VolumePrediction:
        """Nothing is there."""
        nothing = torch.zeros(centres.shape[:3], device=centres.device)
        return VolumePrediction(nothing, nothing.long())


class GroundPlane:
    """A road everywhere, at the height and with the tilt of KITTI-360's.

    Args:
        normal: unit vector upwards in the camera's frame. KITTI-360's left camera looks down by five degrees.
        height: of the camera above the road, metres.
        thickness: of the road, metres.
    """

    def __init__(
        self,
        normal: tuple[float, float, float] = (-0.01162548558, -0.9960641394, -0.08786966659),
        height: float = 1.55,
        thickness: float = 0.2,
    ) -> None:
        self.normal, self.height, self.thickness = normal, height, thickness

    def view(self, image: Tensor, intrinsics: Tensor, *, features: bool = False) -> ViewPrediction:
        """Where rays meet the road; rays into the sky end 80 metres away."""
        height, width = image.shape[-2:]
        pixels = pixel_grid(height, width, dtype=torch.float32, device=image.device).reshape(2, -1).T
        rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=1) @ torch.linalg.inv(intrinsics).mT
        rays = rays / rays.norm(dim=1, keepdim=True)
        sinking = -(rays @ rays.new_tensor(self.normal))
        distance = torch.where(sinking > 1e-3, self.height / sinking.clamp(min=1e-3), 80.0).clamp(max=80.0)
        return ViewPrediction(distance=distance.view(height, width))

    def volume(
        self, image: Tensor, intrinsics: Tensor, centres: Tensor, needed: Tensor | None = None
    ) -> VolumePrediction:
        """Matter near the plane."""
        above = centres @ centres.new_tensor(self.normal) + self.height
        density = MATTER * (above.abs() <= self.thickness / 2).float()
        return VolumePrediction(density, torch.full_like(density, CITYSCAPES_19.index("road")).long())


class BackProjection:
    """Matter only where a model's own view sees a surface, with the class of the pixel.

    What is behind stays empty: the difference to a model's whole volume is what it completes.

    Args:
        seen: a model with distances and classes, or a function that gives (distance, classes), (H, W) each, of an image.
        head: whose classes are taken.
        thickness: of surfaces along the ray, metres.
    """

    def __init__(
        self,
        seen: SceneModel | Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        head: str = "stego_cluster",
        thickness: float = 0.4,
    ) -> None:
        self.seen, self.head, self.thickness = seen, head, thickness

    def view(self, image: Tensor, intrinsics: Tensor, *, features: bool = False) -> ViewPrediction:
        """What the model sees."""
        if not callable(self.seen):
            return self.seen.view(image, intrinsics)
        distance, classes = self.seen(image, intrinsics)
        return ViewPrediction(classes={self.head: classes}, distance=distance)

    def volume(
        self, image: Tensor, intrinsics: Tensor, centres: Tensor, needed: Tensor | None = None
    ) -> VolumePrediction:
        """Matter within half the thickness of the seen surface."""
        seen = self.view(image, intrinsics)
        assert seen.distance is not None
        points = centres.reshape(-1, 3)
        projected = points @ intrinsics.to(points).mT
        ahead = projected[:, 2] > 1e-3
        pixels = (projected[:, :2] / projected[:, 2:].clamp(min=1e-3)).T[None, :, None]  # (1, 2, 1, P)
        maps = torch.stack([seen.distance.float(), seen.classes[self.head].float()])[None].to(points.device)
        found, inside = sample(maps, pixels, "nearest")
        distance, classes = found[0, :, 0]
        near = (points.norm(dim=1) - distance).abs() <= self.thickness / 2
        matter = ahead & inside[0, 0, 0] & near & (distance > 0)
        density = MATTER * matter.float()
        return VolumePrediction(density.view(centres.shape[:3]), classes.long().view(centres.shape[:3]))
