"""What fields, renderers and those who train or evaluate them hand to each other.

Units: metres; colours RGB in [0, 1]. Cameras: x right, y down, z forward; integer pixel coordinates are pixel centres
(``nolabel.geometry.normalised_intrinsics`` turns a matrix in pixels into the one of the papers, whose image spans -1..1
from edge to edge). N scenes, V views, P points, R rays, S samples on a ray, C feature channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Field", "FieldSample", "Rays", "Rendered", "Views"]


@dataclass(frozen=True, eq=False)
class Views:
    """Posed images: what a field is conditioned on, what colours are looked up in, or what is rendered.

    Args:
        images: (N, V, 3, H, W) RGB in [0, 1].
        intrinsics: (N, V, 3, 3) pinhole matrices in pixels of these images.
        poses: (N, V, 4, 4) camera to world, metres.
    """

    images: Tensor
    intrinsics: Tensor
    poses: Tensor

    def __post_init__(self) -> None:
        scenes = self.images.shape[:2]
        if self.images.ndim != 5 or self.images.shape[2] != 3:
            raise ValueError(f"images: expected (N, V, 3, H, W), got {tuple(self.images.shape)}")
        for name, sides in (("intrinsics", 3), ("poses", 4)):
            found = getattr(self, name).shape
            if found != (*scenes, sides, sides):
                raise ValueError(f"{name}: expected {(*scenes, sides, sides)}, got {tuple(found)}")

    def __getitem__(self, views: slice | list[int] | Tensor) -> Views:
        """Return some of the views, in the order asked for."""
        return Views(self.images[:, views], self.intrinsics[:, views], self.poses[:, views])


@dataclass(frozen=True, eq=False)
class FieldSample:
    """What a field says at points.

    Attributes:
        density: (N, P) >= 0, 1 / metre.
        features: (N, P, C) the compact ones, as the field's decoder gives them (no unit length).
        colour: (N, P, V, 3) looked up in the views the field was given for colours, in [0, 1].
        invalid: (N, P, V) bool: outside of that colour view, or of what the field was conditioned on.
    """

    density: Tensor
    features: Tensor | None = None
    colour: Tensor | None = None
    invalid: Tensor | None = None


class Field(Protocol):
    """Anything with matter at places: a network's scene, an analytic one, a stub of a test."""

    def query(self, points: Tensor, *, features: bool = True, colour: bool = False) -> FieldSample:
        """Look at points (N, P, 3) of the world, metres.

        Args:
            points: where.
            features: whether the features are wanted.
            colour: whether colours and their validity are wanted.
        """
        ...


@dataclass(frozen=True, eq=False)
class Rays:
    """Where to look along.

    Args:
        origins: (N, R, 3) metres, world.
        directions: (N, R, 3) unit length, so that a sample's parameter is its distance (not its depth along z).
        near: (N, R) metres, > 0.
        far: (N, R) metres.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor


@dataclass(frozen=True, eq=False)
class Rendered:
    """What was seen along rays.

    Attributes:
        depth: (N, R) expected distance along the ray, metres.
        weights: (N, R, S) share of each sample in the picture.
        alphas: (N, R, S) opacity of each sample's stretch of ray, 0..1.
        distances: (N, R, S) metres, rising.
        features: (N, R, C) compact features, composited.
        colour: (N, R, V, 3) one picture for each colour view.
        invalid: (N, R, S, V) bool, of each sample; see :class:`FieldSample`.
        sample_colour: (N, R, S, V, 3) before compositing.
    """

    depth: Tensor
    weights: Tensor
    alphas: Tensor
    distances: Tensor
    features: Tensor | None = None
    colour: Tensor | None = None
    invalid: Tensor | None = None
    sample_colour: Tensor | None = None
