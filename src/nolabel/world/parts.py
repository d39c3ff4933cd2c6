"""Scene parts: convex analytic primitives, kept as arrays, grouped into rigidly moving actors.

World axes: x right, y DOWN, z forward along the street; the road surface is the plane y = 0, so a height h is y = -h.
A part is a unit shape (cube, sphere, cylinder about y, ...) scaled by `half`, rotated by `rotation` and moved to
`centre` in the frame of its actor; the actor moves rigidly in the world (actor 0 is the static world).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

Values = Sequence[float] | np.ndarray


class Shape(IntEnum):
    """Unit shapes; every one lies inside the cube [-1, 1]^3."""

    BOX = 0
    WEDGE = 1  # a box whose top is narrower: params = (sides, front, rear) shrink at the top, as share of the half size
    ELLIPSOID = 2
    FOLIAGE = 3  # an ellipsoid shell with holes, so that crowns have ragged outlines
    CYLINDER = 4  # axis y
    RING = 5  # a cylinder without the middle of its caps: bicycle wheels


class Material(IntEnum):
    """What the surface is made of: selects the procedural texture."""

    ROAD = 0
    PAVEMENT = 1
    FACADE = 2
    ROOF = 3
    STONE = 4
    PLANKS = 5
    METAL = 6
    TRAFFIC_LIGHT = 7
    SIGN = 8
    LEAVES = 9
    BARK = 10
    PAINT = 11
    CABIN = 12
    TYRE = 13
    CARGO = 14
    COACH = 15
    CLOTH = 16
    SKIN = 17
    LAMP = 18
    DARK = 19


# Parts of these materials are the ground itself: nothing is shaded by them.
GROUND_MATERIALS = (Material.ROAD, Material.PAVEMENT)


def yaw(angle: float) -> np.ndarray:
    """Rotation about the vertical axis by `angle` (rad); local +z turns towards world +x. Returns (3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def pitch(angle: float) -> np.ndarray:
    """Rotation about x (rad); the top of an upright part (local -y) leans towards -z for positive angles. Returns (3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def roll(angle: float) -> np.ndarray:
    """Rotation about z (rad). Returns (3, 3)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Parts:
    """Struct of arrays over N parts, sorted by shape.

    shape, actor, instance, label, material: (N,) int64 (`label` is a Cityscapes train id; `instance` 0 = none);
    centre, half, colour: (N, 3) float64 (colour: linear RGB albedo in [0, 1]); rotation: (N, 3, 3); params: (N, 3);
    seed: (N,) float64 in [0, 1), the texture offset, shared by the parts of one object; solid: (N,) bool, casts shadows.
    """

    shape: np.ndarray
    actor: np.ndarray
    instance: np.ndarray
    label: np.ndarray
    material: np.ndarray
    centre: np.ndarray
    half: np.ndarray
    rotation: np.ndarray
    colour: np.ndarray
    params: np.ndarray
    seed: np.ndarray
    solid: np.ndarray

    def __len__(self) -> int:
        return len(self.shape)


@dataclass
class PartList:
    """Collects parts while a scene is built; `add` works in the frame of the current actor and instance."""

    rows: list[tuple] = field(default_factory=list)

    def add(
        self,
        shape: Shape,
        label: int,
        material: Material,
        centre: Values,
        half: Values,
        colour: Values,
        *,
        actor: int = 0,
        instance: int = 0,
        rotation: np.ndarray | None = None,
        params: Values = (0.0, 0.0, 0.0),
        seed: float = 0.0,
    ) -> None:
        """Append one part. `centre` and `half` in metres (centre[1] is negative above the ground)."""
        turn = np.eye(3) if rotation is None else rotation
        solid = material not in GROUND_MATERIALS
        self.rows.append(
            (int(shape), actor, instance, label, int(material), tuple(centre), tuple(half), turn, tuple(colour),
             tuple(params), seed, solid)
        )  # fmt: skip

    def build(self) -> Parts:
        """Sort by shape (stable) and stack into arrays."""
        rows = sorted(self.rows, key=lambda row: row[0])
        columns = [np.asarray(column) for column in zip(*rows, strict=True)]
        shape, actor, instance, label, material = (column.astype(np.int64) for column in columns[:5])
        centre, half, rotation, colour, params, seed = (column.astype(np.float64) for column in columns[5:11])
        return Parts(
            shape, actor, instance, label, material, centre, half, rotation, colour, params, seed, columns[11]
        )


@dataclass(frozen=True)
class Trajectory:
    """Planar motion of a rigid body: constant speed and turning rate.

    x, z: position at time 0 (m); heading: rad, 0 = +z, positive towards +x; speed: m/s along the heading; turn: rad/s.
    """

    x: float = 0.0
    z: float = 0.0
    heading: float = 0.0
    speed: float = 0.0
    turn: float = 0.0

    def pose(self, time: float) -> np.ndarray:
        """Body-to-world transform (4, 4) float64 at `time` (s)."""
        heading = self.heading + self.turn * time
        if abs(self.turn) < 1e-9:
            dx, dz = np.sin(self.heading) * time, np.cos(self.heading) * time
        else:
            dx = (np.cos(self.heading) - np.cos(heading)) / self.turn
            dz = (np.sin(heading) - np.sin(self.heading)) / self.turn
        pose = np.eye(4)
        pose[:3, :3] = yaw(heading)
        pose[0, 3], pose[2, 3] = self.x + self.speed * dx, self.z + self.speed * dz
        return pose

    @property
    def moving(self) -> bool:
        """Whether the body moves at all."""
        return self.speed != 0.0 or self.turn != 0.0
