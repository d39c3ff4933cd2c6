"""Builders of street objects out of parts: vehicles, people, riders, trees and street furniture.

Each function adds the parts of one object in the object's own frame: origin on the ground, x right, z forward, and
`(x, height, z)` centres with the height upwards in metres. Colours are linear RGB albedos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nolabel.world.parts import Material, PartList, Shape, Values, pitch, roll, yaw

Colour = Values
RUBBER = (0.02, 0.02, 0.022)
STEEL = (0.23, 0.24, 0.25)
CAR_COLOURS = (
    (0.62, 0.62, 0.63), (0.30, 0.31, 0.33), (0.035, 0.036, 0.04), (0.42, 0.03, 0.03), (0.03, 0.07, 0.28),
    (0.70, 0.69, 0.66), (0.10, 0.11, 0.13), (0.05, 0.16, 0.10), (0.55, 0.35, 0.06), (0.16, 0.27, 0.40),
)  # fmt: skip
CLOTHES = (
    (0.04, 0.05, 0.10), (0.30, 0.04, 0.05), (0.07, 0.15, 0.30), (0.35, 0.33, 0.28), (0.03, 0.03, 0.03), (0.45, 0.30, 0.06),
    (0.08, 0.20, 0.12), (0.55, 0.52, 0.50), (0.25, 0.10, 0.25), (0.50, 0.16, 0.05),
)  # fmt: skip
SKIN_TONES = ((0.55, 0.34, 0.24), (0.42, 0.25, 0.17), (0.22, 0.12, 0.07), (0.62, 0.42, 0.32))
HAIR = ((0.03, 0.02, 0.015), (0.10, 0.06, 0.03), (0.28, 0.19, 0.09), (0.18, 0.17, 0.16))
TILT_TO_Z = pitch(np.pi / 2)  # turns the cylinder axis (y) to z
TILT_TO_X = roll(np.pi / 2)  # turns the cylinder axis (y) to x


@dataclass
class Site:
    """Where the parts of one object go: the list, the actor, the instance, the class and the texture seed."""

    parts: PartList
    actor: int
    instance: int
    label: int
    seed: float

    def add(
        self,
        shape: Shape,
        material: Material,
        centre: Values,
        half: Values,
        colour: Colour,
        rotation: np.ndarray | None = None,
        params: Values = (0.0, 0.0, 0.0),
        label: int | None = None,
    ) -> None:
        """Add one part; the second coordinate of `centre` is the height."""
        self.parts.add(
            shape, self.label if label is None else label, material, (centre[0], -centre[1], centre[2]), half, colour,
            actor=self.actor, instance=self.instance, rotation=rotation, params=params, seed=self.seed,
        )  # fmt: skip

    def limb(self, material: Material, start: Values, end: Values, radius: float, colour: Colour) -> None:
        """A thin cylinder from `start` to `end`, both (x, height, z)."""
        a, b = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
        middle, axis = (a + b) / 2, (b - a) * (1.0, -1.0, 1.0)
        length = float(np.linalg.norm(axis))
        y = axis / length
        helper = np.array([1.0, 0.0, 0.0]) if abs(y[0]) < 0.9 else np.array([0.0, 0.0, 1.0])
        z = np.cross(helper, y)
        z /= np.linalg.norm(z)
        frame = np.stack([np.cross(y, z), y, z], 1)
        self.add(Shape.CYLINDER, material, middle, (radius, length / 2, radius), colour, frame)


def _pick(rng: np.random.Generator, options: Sequence[Colour]) -> Colour:
    return options[int(rng.integers(len(options)))]


def _wheels(site: Site, half_width: float, axles: Values, radius: float) -> None:
    for z in axles:
        for side in (-1, 1):
            centre = (side * (half_width - 0.10), radius, z)
            site.add(Shape.CYLINDER, Material.TYRE, centre, (radius, 0.12, radius), RUBBER, TILT_TO_X)


def car(site: Site, rng: np.random.Generator) -> float:
    """A saloon, hatchback, estate or van; returns its length (m)."""
    kind = int(rng.integers(4))
    length = (4.5, 3.9, 4.6, 4.9)[kind] * float(rng.uniform(0.95, 1.05))
    half_width = float(rng.uniform(0.86, 0.95))
    waist = (0.92, 0.95, 1.02, 1.08)[kind]
    top = (1.44, 1.50, 1.66, 1.95)[kind]
    cabin_half, cabin_shift = ((1.22, -0.22), (1.28, -0.42), (1.62, -0.50), (2.0, -0.32))[kind]
    colour = np.asarray(_pick(rng, CAR_COLOURS)) * float(rng.uniform(0.8, 1.15))
    half = length / 2
    middle = (0.28 + waist) / 2
    site.add(
        Shape.WEDGE,
        Material.PAINT,
        (0, middle, 0),
        (half_width, (waist - 0.28) / 2, half),
        colour,
        params=(0.07, 0.10, 0.04),
    )
    front = (0.62, 0.60, 0.45, 0.42)[kind]
    rear = (0.45, 0.22, 0.20, 0.06)[kind]
    cabin = (0, (waist + top) / 2, cabin_shift)
    site.add(
        Shape.WEDGE, Material.CABIN, cabin, (half_width * 0.93, (top - waist) / 2, cabin_half), colour,
        params=(0.20, front, rear),
    )  # fmt: skip
    site.add(Shape.BOX, Material.DARK, (0, 0.32, 0), (half_width * 0.9, 0.13, half * 0.93), RUBBER)
    _wheels(site, half_width, (0.62 * half, -0.62 * half), 0.33)
    for side in (-1, 1):
        site.add(
            Shape.BOX,
            Material.DARK,
            (side * (half_width + 0.07), waist + 0.08, cabin_half * 0.45),
            (0.09, 0.07, 0.06),
            colour,
        )
    return length


def truck(site: Site, rng: np.random.Generator) -> float:
    """A lorry with a cab and a cargo box; returns its length (m)."""
    length = float(rng.uniform(6.8, 9.0))
    half_width, top = 1.18, float(rng.uniform(2.9, 3.5))
    colour = np.asarray(_pick(rng, CAR_COLOURS))
    cargo = np.asarray(
        _pick(rng, ((0.6, 0.6, 0.6), (0.5, 0.42, 0.1), (0.12, 0.25, 0.4), (0.45, 0.1, 0.08), (0.2, 0.3, 0.2)))
    )
    half = length / 2
    site.add(
        Shape.BOX,
        Material.CARGO,
        (0, (0.95 + top) / 2, -0.85),
        (half_width, (top - 0.95) / 2, half - 0.9),
        cargo,
    )
    site.add(
        Shape.WEDGE,
        Material.PAINT,
        (0, 0.95, half - 0.9),
        (half_width * 0.97, 0.5, 0.88),
        colour,
        params=(0.0, 0.05, 0.0),
    )
    site.add(
        Shape.WEDGE,
        Material.CABIN,
        (0, 1.95, half - 0.95),
        (half_width * 0.95, 0.52, 0.8),
        colour,
        params=(0.05, 0.18, 0.0),
    )
    site.add(Shape.BOX, Material.DARK, (0, 0.72, -0.3), (half_width * 0.7, 0.2, half - 0.5), RUBBER)
    _wheels(site, half_width, (half - 1.1, -half + 1.3, -half + 2.5), 0.48)
    return length


def bus(site: Site, rng: np.random.Generator) -> float:
    """A city bus; returns its length (m)."""
    length, half_width, top = float(rng.uniform(10.0, 12.0)), 1.25, 3.05
    colour = _pick(
        rng,
        ((0.55, 0.06, 0.05), (0.06, 0.22, 0.48), (0.55, 0.45, 0.08), (0.10, 0.34, 0.16), (0.6, 0.6, 0.58)),
    )
    site.add(
        Shape.WEDGE,
        Material.COACH,
        (0, (0.35 + top) / 2, 0),
        (half_width, (top - 0.35) / 2, length / 2),
        colour,
        params=(0.04, 0.03, 0.01),
    )
    site.add(Shape.BOX, Material.DARK, (0, 0.35, 0), (half_width * 0.92, 0.15, length / 2 * 0.96), RUBBER)
    _wheels(site, half_width, (length / 2 - 2.6, -length / 2 + 3.0), 0.48)
    return length


def tram(site: Site, rng: np.random.Generator) -> float:
    """A tram of two coaches; returns its length (m)."""
    half_width, top, coach = 1.25, 3.4, 8.5
    colour = _pick(rng, ((0.55, 0.42, 0.05), (0.45, 0.05, 0.06), (0.55, 0.55, 0.5)))
    for z in (-coach / 2 - 0.25, coach / 2 + 0.25):
        site.add(
            Shape.WEDGE,
            Material.COACH,
            (0, (0.3 + top) / 2, z),
            (half_width, (top - 0.3) / 2, coach / 2),
            colour,
            params=(0.06, 0.03, 0.03),
        )
        site.add(Shape.BOX, Material.DARK, (0, 0.2, z), (half_width * 0.85, 0.18, coach * 0.4), RUBBER)
    site.add(Shape.BOX, Material.DARK, (0, 1.75, 0), (half_width * 0.85, 1.45, 0.5), (0.05, 0.05, 0.05))
    site.add(Shape.BOX, Material.DARK, (0, 3.6, coach / 2), (0.5, 0.15, 1.2), STEEL)
    return 2 * coach + 0.5


def _head(site: Site, rng: np.random.Generator, centre: Values, helmet: Colour | None) -> None:
    x, h, z = centre
    site.add(Shape.ELLIPSOID, Material.SKIN, centre, (0.085, 0.12, 0.10), _pick(rng, SKIN_TONES))
    cover = _pick(rng, HAIR) if helmet is None else helmet
    grow = 0.0 if helmet is None else 0.03
    site.add(
        Shape.ELLIPSOID,
        Material.CLOTH,
        (x, h + 0.04, z - 0.025),
        (0.095 + grow, 0.10 + grow, 0.105 + grow),
        cover,
    )


def person(site: Site, rng: np.random.Generator, walking: bool) -> None:
    """A pedestrian in a fixed stride (the body moves rigidly)."""
    s = float(rng.uniform(0.92, 1.08))
    shirt, trousers = _pick(rng, CLOTHES), np.asarray(_pick(rng, CLOTHES)) * 0.7
    stride = float(rng.uniform(0.18, 0.36)) * s * float(rng.choice((-1, 1))) if walking else 0.03
    for side in (-1, 1):
        foot = side * stride
        knee = (side * 0.10, 0.47 * s, foot * 0.5 + 0.05)
        site.limb(Material.CLOTH, (side * 0.09, 0.90 * s, 0), knee, 0.085, trousers)
        site.limb(Material.CLOTH, knee, (side * 0.10, 0.07, foot), 0.062, trousers)
        site.add(
            Shape.ELLIPSOID,
            Material.DARK,
            (side * 0.10, 0.05, foot + 0.06),
            (0.055, 0.055, 0.14),
            (0.03, 0.025, 0.02),
        )
        hand = (side * 0.27, 0.82 * s, -foot * 0.8 + 0.06)
        elbow = (side * 0.27, 1.10 * s, -foot * 0.35)
        site.limb(Material.CLOTH, (side * 0.21, 1.40 * s, 0), elbow, 0.055, shirt)
        site.limb(Material.CLOTH, elbow, hand, 0.045, shirt)
        site.add(Shape.ELLIPSOID, Material.SKIN, hand, (0.045, 0.06, 0.045), SKIN_TONES[0])
    site.add(
        Shape.WEDGE,
        Material.CLOTH,
        (0, 1.17 * s, 0),
        (0.23, 0.29 * s, 0.13),
        shirt,
        pitch(np.pi),
        params=(0.28, 0.1, 0.1),
    )
    site.add(Shape.ELLIPSOID, Material.CLOTH, (0, 1.42 * s, 0), (0.21, 0.10, 0.11), shirt)
    site.add(Shape.ELLIPSOID, Material.CLOTH, (0, 0.92 * s, 0), (0.17, 0.14, 0.13), trousers)
    _head(site, rng, (0, 1.62 * s, 0.02), None)
    if rng.random() < 0.3:
        site.add(Shape.BOX, Material.CLOTH, (0, 1.20 * s, -0.2), (0.15, 0.22, 0.09), _pick(rng, CLOTHES))


def bicycle(site: Site, rng: np.random.Generator) -> None:
    """A bicycle standing upright."""
    frame = np.asarray(_pick(rng, CAR_COLOURS)) + 0.02
    for z in (-0.52, 0.52):
        site.add(Shape.RING, Material.TYRE, (0, 0.34, z), (0.34, 0.028, 0.34), RUBBER, TILT_TO_X)
    hub, crank, saddle, steering = (0, 0.34, -0.52), (0, 0.32, -0.05), (0, 0.85, -0.18), (0, 0.82, 0.36)
    for a, b in (
        (hub, crank),
        (hub, saddle),
        (crank, saddle),
        (crank, steering),
        (saddle, steering),
        (steering, (0, 0.34, 0.52)),
    ):
        site.limb(Material.METAL, a, b, 0.028, frame)
    site.limb(Material.METAL, steering, (0, 1.0, 0.32), 0.025, frame)
    site.limb(Material.DARK, (-0.27, 1.0, 0.30), (0.27, 1.0, 0.30), 0.025, RUBBER)
    site.add(Shape.ELLIPSOID, Material.DARK, (0, 0.92, -0.2), (0.09, 0.05, 0.14), RUBBER)


def motorcycle(site: Site, rng: np.random.Generator) -> None:
    """A motorcycle standing upright."""
    colour = _pick(rng, CAR_COLOURS)
    for z in (-0.68, 0.68):
        site.add(Shape.CYLINDER, Material.TYRE, (0, 0.31, z), (0.31, 0.075, 0.31), RUBBER, TILT_TO_X)
    site.add(Shape.ELLIPSOID, Material.PAINT, (0, 0.78, 0.15), (0.17, 0.17, 0.38), colour)
    site.add(Shape.BOX, Material.DARK, (0, 0.48, 0.02), (0.15, 0.17, 0.32), STEEL)
    site.add(Shape.ELLIPSOID, Material.DARK, (0, 0.78, -0.42), (0.15, 0.08, 0.40), RUBBER)
    site.add(Shape.ELLIPSOID, Material.PAINT, (0, 0.62, -0.72), (0.13, 0.14, 0.26), colour)
    site.limb(Material.METAL, (0, 0.95, 0.42), (0, 0.31, 0.68), 0.06, STEEL)
    site.limb(Material.DARK, (-0.34, 1.0, 0.38), (0.34, 1.0, 0.38), 0.03, RUBBER)
    site.add(Shape.ELLIPSOID, Material.LAMP, (0, 0.88, 0.55), (0.10, 0.10, 0.07), (0.8, 0.8, 0.7))


def rider(site: Site, rng: np.random.Generator, motor: bool) -> None:
    """The person on a bicycle or motorcycle."""
    shirt, trousers = _pick(rng, CLOTHES), np.asarray(_pick(rng, CLOTHES)) * 0.7
    hip = 0.90 if motor else 0.98
    lean = 0.18 if motor else 0.28
    seat = (0.0, hip, -0.2)
    chest = (0.0, hip + 0.48, -0.2 + lean)
    for side, drop in ((-1, 0.0), (1, 0.18)):
        knee = (side * 0.14, 0.62 + 0.12 * drop, 0.16)
        foot = (side * 0.12, 0.26 + drop, 0.0)
        site.limb(Material.CLOTH, (side * 0.09, hip, -0.18), knee, 0.085, trousers)
        site.limb(Material.CLOTH, knee, foot, 0.065, trousers)
        site.add(Shape.ELLIPSOID, Material.DARK, (foot[0], foot[1] - 0.04, 0.06), (0.05, 0.05, 0.13), RUBBER)
        site.limb(
            Material.CLOTH, (side * 0.2, hip + 0.45, -0.2 + lean), (side * 0.27, 1.02, 0.28), 0.055, shirt
        )
    angle = -float(np.arctan2(lean, 0.48))
    centre = [(a + b) / 2 for a, b in zip(seat, chest, strict=True)]
    site.add(
        Shape.WEDGE,
        Material.CLOTH,
        centre,
        (0.22, 0.31, 0.14),
        shirt,
        pitch(angle) @ pitch(np.pi),
        params=(0.25, 0.1, 0.1),
    )
    site.add(Shape.ELLIPSOID, Material.CLOTH, chest, (0.21, 0.11, 0.12), shirt)
    helmet = _pick(rng, CAR_COLOURS) if motor or rng.random() < 0.6 else None
    _head(site, rng, (0, hip + 0.72, -0.12 + lean), helmet)


def tree(site: Site, rng: np.random.Generator) -> None:
    """A trunk and a crown of overlapping ragged blobs."""
    height = float(rng.uniform(4.5, 9.0))
    trunk = height * float(rng.uniform(0.3, 0.42))
    spread = height * float(rng.uniform(0.2, 0.3))
    bark = np.asarray((0.10, 0.07, 0.05)) * float(rng.uniform(0.7, 1.4))
    green = np.asarray((0.075, 0.15, 0.03)) * rng.uniform(0.65, 1.35, 3)
    site.add(
        Shape.CYLINDER,
        Material.BARK,
        (0, trunk * 0.62, 0),
        (0.02 * height, trunk * 0.62, 0.02 * height),
        bark,
    )
    centre = (trunk + height) / 2
    rise = (height - trunk) / 2
    site.add(
        Shape.FOLIAGE,
        Material.LEAVES,
        (0, centre, 0),
        (spread * 0.8, rise, spread * 0.8),
        green,
        params=(rng.random(), 0, 0),
    )
    for index in range(6):
        angle = index * 2.4 + float(rng.uniform(0, 1))
        h = centre + rise * float(rng.uniform(-0.55, 0.6))
        away = spread * float(rng.uniform(0.45, 0.75))
        size = spread * float(rng.uniform(0.45, 0.65))
        site.add(
            Shape.FOLIAGE, Material.LEAVES, (away * np.sin(angle), h, away * np.cos(angle)), (size, size * 0.85, size),
            green * float(rng.uniform(0.85, 1.2)), yaw(angle), (rng.random(), 0, 0),
        )  # fmt: skip


def bush(site: Site, rng: np.random.Generator) -> None:
    """A low shrub."""
    green = np.asarray((0.07, 0.13, 0.03)) * rng.uniform(0.65, 1.4, 3)
    for x in (-0.5, 0.1, 0.6):
        r = float(rng.uniform(0.4, 0.7))
        site.add(
            Shape.FOLIAGE,
            Material.LEAVES,
            (x, r * 0.7, float(rng.uniform(-0.3, 0.3))),
            (r, r * 0.9, r),
            green,
            params=(rng.random(), 0, 0),
        )


def street_lamp(site: Site, rng: np.random.Generator) -> None:
    """A tall post whose arm reaches towards -x."""
    height = float(rng.uniform(6.0, 7.5))
    site.add(Shape.CYLINDER, Material.METAL, (0, height / 2, 0), (0.075, height / 2, 0.075), STEEL)
    site.add(Shape.CYLINDER, Material.METAL, (0, 0.5, 0), (0.12, 0.5, 0.12), STEEL)
    site.limb(Material.METAL, (0, height - 0.05, 0), (-1.6, height + 0.15, 0), 0.045, STEEL)
    site.add(Shape.ELLIPSOID, Material.LAMP, (-1.75, height + 0.12, 0), (0.35, 0.08, 0.13), (0.85, 0.75, 0.5))


def traffic_light(site: Site, rng: np.random.Generator, label_light: int) -> None:
    """A post with a three-lamp head facing -z; parts of the head are labelled `label_light`."""
    site.add(Shape.CYLINDER, Material.METAL, (0, 1.6, 0), (0.065, 1.6, 0.065), STEEL)
    lit = float(rng.integers(3))
    for height in (2.75,) if rng.random() < 0.6 else (2.75, 5.0):
        x = 0.0 if height < 4 else -1.8
        if x:
            site.add(Shape.CYLINDER, Material.METAL, (0, 4.0, 0), (0.065, 1.4, 0.065), STEEL)
            site.limb(Material.METAL, (0, 5.3, 0), (x, 5.3, 0), 0.045, STEEL)
        site.add(
            Shape.BOX,
            Material.TRAFFIC_LIGHT,
            (x, height, -0.14),
            (0.19, 0.5, 0.14),
            (0.03, 0.035, 0.03),
            params=(lit, 0, 0),
            label=label_light,
        )


def sign(site: Site, rng: np.random.Generator, label_sign: int) -> None:
    """A thin post with one or two signs facing -z."""
    height = float(rng.uniform(2.3, 2.9))
    site.add(Shape.CYLINDER, Material.METAL, (0, height / 2, 0.05), (0.04, height / 2, 0.04), STEEL)
    kind = int(rng.integers(4))
    if kind in (0, 1):
        colour = ((0.5, 0.03, 0.03), (0.02, 0.10, 0.45))[kind]
        site.add(
            Shape.CYLINDER,
            Material.SIGN,
            (0, height, 0),
            (0.34, 0.02, 0.34),
            colour,
            TILT_TO_Z,
            (kind, 0, 0),
            label=label_sign,
        )
    elif kind == 2:
        site.add(
            Shape.BOX,
            Material.SIGN,
            (0, height, 0),
            (0.30, 0.30, 0.02),
            (0.7, 0.5, 0.03),
            roll(np.pi / 4),
            (2, 0, 0),
            label=label_sign,
        )
    else:
        site.add(
            Shape.BOX,
            Material.SIGN,
            (0, height, 0),
            (0.55, 0.36, 0.02),
            (0.02, 0.10, 0.42),
            params=(3, 0, 0),
            label=label_sign,
        )
    if rng.random() < 0.4:
        site.add(
            Shape.BOX,
            Material.SIGN,
            (0, height - 0.62, 0),
            (0.30, 0.16, 0.02),
            (0.75, 0.75, 0.72),
            params=(4, 0, 0),
            label=label_sign,
        )


def bollard(site: Site, rng: np.random.Generator) -> None:
    """A short post at the kerb."""
    site.add(
        Shape.CYLINDER,
        Material.METAL,
        (0, 0.45, 0),
        (0.06, 0.45, 0.06),
        _pick(rng, (STEEL, (0.5, 0.05, 0.04), (0.05, 0.05, 0.05))),
    )
