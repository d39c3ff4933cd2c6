"""The scene graph: a street with everything in it, drawn from a seed. Nothing here depends on the rendering style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from nolabel.world import objects
from nolabel.world.objects import Site
from nolabel.world.parts import Material, PartList, Parts, Shape, Trajectory

# Cityscapes train ids (nolabel.labels.CITYSCAPES_19 has the names in this order).
ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN = range(10)
SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(10, 19)

DURATION = 3.5  # seconds for which traffic is kept free of collisions
KERB = 0.12  # metres
STREET_END = 130.0  # metres


@dataclass(frozen=True)
class Layout:
    """The street's cross-section (metres): half width of the road, a lane, the paved strip; the crossing street."""

    road_half: float
    lane: float
    pavement: float
    crossing_z: float  # centre of the crossing street; far away where there is none
    crossing_half: float
    grass: bool  # beyond the paved strip: grass, otherwise paved up to the houses


@dataclass(frozen=True)
class Weather:
    """Light and air: sun azimuth and elevation (rad), and dusk, overcast, wet, haze in [0, 1]."""

    sun_azimuth: float
    sun_elevation: float
    dusk: float
    overcast: float
    wet: float
    haze: float

    def towards_sun(self) -> np.ndarray:
        """Unit vector (3,) to the sun, world axes (y down)."""
        c = np.cos(self.sun_elevation)
        return np.array(
            [c * np.sin(self.sun_azimuth), -np.sin(self.sun_elevation), c * np.cos(self.sun_azimuth)]
        )


@dataclass(frozen=True)
class Ego:
    """The recording car: its path and where the left camera sits on it."""

    path: Trajectory
    height: float
    tilt: float  # rad, positive looks down

    def camera_pose(self, time: float) -> np.ndarray:
        """Camera-to-world (4, 4) float64 of the left camera."""
        pose = self.path.pose(time)
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        pose[:3, :3] = pose[:3, :3] @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
        pose[1, 3] = -self.height
        return pose


@dataclass(frozen=True)
class Scene:
    """Everything about one street scene; `actors[0]` is the static world."""

    seed: int
    parts: Parts
    actors: tuple[Trajectory, ...]
    ego: Ego
    layout: Layout
    weather: Weather

    def actor_poses(self, time: float) -> np.ndarray:
        """Actor-to-world transforms (A, 4, 4) float64 at `time` (s)."""
        return np.stack([actor.pose(time) for actor in self.actors])

    @property
    def num_instances(self) -> int:
        """Instances are numbered 1..num_instances, the same at all times and in both eyes."""
        return int(self.parts.instance.max(initial=0))


@dataclass
class _Builder:
    rng: np.random.Generator
    parts: PartList = field(default_factory=PartList)
    actors: list[Trajectory] = field(default_factory=lambda: [Trajectory()])
    instances: int = 0
    tracks: list[np.ndarray] = field(default_factory=list)  # (T, discs, 3): x, z, radius over time

    def site(self, path: Trajectory, label: int, thing: bool = False, same_actor: bool = False) -> Site:
        """A new object; `same_actor` joins it to the last one (a rider and the bicycle below)."""
        if not same_actor:
            self.actors.append(path)
        self.instances += int(thing)
        return Site(
            self.parts, len(self.actors) - 1, self.instances if thing else 0, label, float(self.rng.random())
        )

    def free(self, path: Trajectory, length: float, radius: float) -> bool:
        """Whether the path keeps clear of all earlier ones; if so it is reserved."""
        times = np.linspace(0.0, DURATION, 15)
        poses = np.stack([path.pose(float(t)) for t in times])
        offsets = np.linspace(-1, 1, max(1, int(np.ceil(length / 1.5)))) * max(0.0, length / 2 - radius)
        if len(offsets) == 1:
            offsets = np.zeros(1)
        centres = poses[:, None, [0, 2], 3] + offsets[None, :, None] * poses[:, None, [0, 2], 2]
        track = np.concatenate([centres, np.full((*centres.shape[:2], 1), radius)], -1)
        for other in self.tracks:
            gap = np.linalg.norm(track[:, :, None, :2] - other[:, None, :, :2], axis=-1)
            if (gap < track[:, :, None, 2] + other[:, None, :, 2] + 0.25).any():
                return False
        self.tracks.append(track)
        return True


_Vehicle = Callable[[Site, np.random.Generator], float]
_VEHICLES: dict[int, tuple[_Vehicle, float, float]] = {
    CAR: (objects.car, 4.9, 1.0),
    TRUCK: (objects.truck, 9.0, 1.3),
    BUS: (objects.bus, 12.0, 1.4),
    TRAIN: (objects.tram, 17.5, 1.4),
}


def _vehicle(b: _Builder, label: int, path: Trajectory) -> bool:
    build, length, radius = _VEHICLES[label]
    if not b.free(path, length, radius):
        return False
    build(b.site(path, label, thing=True), b.rng)
    return True


def _two_wheeler(b: _Builder, label: int, path: Trajectory, ridden: bool) -> bool:
    if not b.free(path, 1.9, 0.4):
        return False
    motor = label == MOTORCYCLE
    (objects.motorcycle if motor else objects.bicycle)(b.site(path, label, thing=True), b.rng)
    if ridden:
        objects.rider(b.site(path, RIDER, thing=True, same_actor=True), b.rng, motor)
    return True


def _pedestrian(b: _Builder, path: Trajectory) -> bool:
    if not b.free(path, 0.7, 0.35):
        return False
    objects.person(b.site(path, PERSON, thing=True), b.rng, path.speed > 0)
    return True


def _layout(rng: np.random.Generator) -> Layout:
    lane = float(rng.uniform(3.1, 3.6))
    parking = 2.3 if rng.random() < 0.75 else 0.6
    crossing = float(rng.uniform(16, 38)) if rng.random() < 0.65 else 1e4
    return Layout(
        lane + parking,
        lane,
        float(rng.uniform(2.4, 4.0)),
        crossing,
        float(rng.uniform(3.6, 5.0)),
        bool(rng.random() < 0.5),
    )


def _weather(rng: np.random.Generator) -> Weather:
    dusk = float(rng.uniform(0.6, 1.0)) if rng.random() < 0.22 else 0.0
    elevation = float(rng.uniform(0.12, 0.3)) if dusk else float(rng.uniform(0.45, 1.0))
    overcast = float(rng.uniform(0.7, 1.0)) if rng.random() < 0.3 else float(rng.uniform(0.0, 0.25))
    wet = float(rng.uniform(0.5, 1.0)) if rng.random() < 0.25 else 0.0
    return Weather(
        float(rng.uniform(-np.pi, np.pi)), elevation, dusk, overcast, wet, float(rng.uniform(0.15, 1.0))
    )


def _ground(b: _Builder, layout: Layout) -> None:
    far = 220.0
    b.parts.add(Shape.BOX, ROAD, Material.ROAD, (0, 0.5, 60), (far, 0.5, far), (0.085, 0.085, 0.09))
    spans = [(-60.0, far)]
    if layout.crossing_z < far:
        spans = [
            (-60.0, layout.crossing_z - layout.crossing_half),
            (layout.crossing_z + layout.crossing_half, far),
        ]
    for low, high in spans:
        for side in (-1, 1):
            centre = (side * (layout.road_half + 100.0), (0.5 - KERB) / 2, (low + high) / 2)
            b.parts.add(
                Shape.BOX,
                SIDEWALK,
                Material.PAVEMENT,
                centre,
                (100.0, (0.5 + KERB) / 2, (high - low) / 2),
                (0.22, 0.21, 0.20),
            )


_WALLS = (
    (0.42, 0.33, 0.22), (0.50, 0.44, 0.35), (0.30, 0.12, 0.08), (0.38, 0.36, 0.34), (0.55, 0.50, 0.42), (0.25, 0.20, 0.16),
    (0.46, 0.28, 0.18), (0.34, 0.38, 0.40), (0.52, 0.40, 0.20),
)  # fmt: skip


def _building(b: _Builder, centre: tuple[float, float], half: tuple[float, float], height: float) -> None:
    """`centre` and `half` are (x, z)."""
    rng = b.rng
    colour = np.asarray(_WALLS[int(rng.integers(len(_WALLS)))]) * rng.uniform(0.85, 1.1, 3)
    site = b.site(Trajectory(centre[0], centre[1]), BUILDING)
    site.add(
        Shape.BOX, Material.FACADE, (0, height / 2 - 0.2, 0), (half[0], height / 2 + 0.2, half[1]), colour
    )
    if rng.random() < 0.55:
        roof = np.asarray(((0.20, 0.07, 0.045), (0.07, 0.07, 0.08), (0.15, 0.10, 0.07))[int(rng.integers(3))])
        rise = float(rng.uniform(1.2, 2.2))
        site.add(
            Shape.WEDGE,
            Material.ROOF,
            (0, height + rise, 0),
            (half[0] + 0.35, rise, half[1] + 0.1),
            roof,
            params=(0.75, 0.1, 0.1),
        )
    else:
        site.add(
            Shape.BOX,
            Material.ROOF,
            (0, height + 0.15, 0),
            (half[0] + 0.25, 0.2, half[1] + 0.12),
            colour * 0.75,
        )
    if rng.random() < 0.4:  # a bay or a lower annex, so that fronts are not all flat
        site.add(
            Shape.BOX,
            Material.FACADE,
            (0, height * 0.42, 0),
            (half[0] + float(rng.uniform(0.4, 0.9)), height * 0.42, half[1] * float(rng.uniform(0.2, 0.4))),
            colour * 1.06,
        )


def _plot(b: _Builder, side: int, front: float, low: float, high: float) -> None:
    """A gap between houses: a garden behind a wall or a fence, with trees."""
    rng = b.rng
    middle, half = (low + high) / 2, (high - low) / 2 - 0.1
    site = b.site(Trajectory(side * front, middle), WALL)
    if rng.random() < 0.5:
        height = float(rng.uniform(0.9, 2.4))
        stone = np.asarray((0.30, 0.27, 0.23)) * rng.uniform(0.7, 1.2, 3)
        site.add(Shape.BOX, Material.STONE, (0, height / 2, 0), (0.14, height / 2, half), stone)
        site.add(Shape.BOX, Material.STONE, (0, height + 0.05, 0), (0.2, 0.06, half), stone * 1.15)
    else:
        site.label = FENCE
        colour = ((0.16, 0.10, 0.05), (0.45, 0.45, 0.43), (0.05, 0.08, 0.06))[int(rng.integers(3))]
        site.add(Shape.BOX, Material.PLANKS, (0, float(rng.uniform(0.5, 0.75)), 0), (0.03, 0.7, half), colour)
    for z in np.arange(low + 2, high - 1, 5.0):
        path = Trajectory(side * (front + float(rng.uniform(2.5, 6))), float(z), float(rng.uniform(0, 6)))
        objects.tree(b.site(path, VEGETATION), rng)


def _houses(b: _Builder, layout: Layout) -> None:
    rng = b.rng
    garden = float(rng.uniform(1.5, 5.0)) if layout.grass else float(rng.uniform(0.0, 1.0))
    for side in (-1, 1):
        front = layout.road_half + layout.pavement + garden
        z = -12.0
        while z < STREET_END - 5:
            width = float(rng.uniform(9, 19))
            clear = layout.crossing_half + layout.pavement
            if z < layout.crossing_z + clear and z + width > layout.crossing_z - clear:
                width = layout.crossing_z - clear - z
                if width > 5:
                    _house(b, side, front, z, width)
                z = layout.crossing_z + clear
                continue
            if rng.random() < 0.80:
                _house(b, side, front, z, width)
            else:
                _plot(b, side, front, z, z + width)
                _building(b, (side * (front + 22), z + width / 2), (6, width / 2), float(rng.uniform(6, 14)))
            z += width
        if layout.crossing_z < STREET_END:
            _building(
                b, (side * float(rng.uniform(48, 65)), layout.crossing_z), (6, 22), float(rng.uniform(8, 18))
            )
    _building(
        b,
        (float(rng.uniform(-6, 6)), STREET_END + 8),
        (float(rng.uniform(16, 30)), 8),
        float(rng.uniform(10, 26)),
    )


def _house(b: _Builder, side: int, front: float, z: float, width: float) -> None:
    depth = float(b.rng.uniform(9, 14)) / 2
    back = float(b.rng.uniform(0.0, 0.5))
    _building(
        b, (side * (front + depth + back), z + width / 2), (depth, width / 2), float(b.rng.uniform(6.5, 19))
    )


def _at_crossing(layout: Layout, z: float, margin: float = 2.0) -> bool:
    return abs(z - layout.crossing_z) < layout.crossing_half + margin


def _furniture(b: _Builder, layout: Layout) -> None:
    rng = b.rng
    edge = layout.road_half
    avenue = rng.random() < 0.6
    spacing = float(rng.uniform(8, 15))
    for side in (-1, 1):
        facing = 0.0 if side > 0 else np.pi
        for z in np.arange(6 + rng.uniform(0, 6), 100, spacing):
            if _at_crossing(layout, z, 4.0):
                continue
            x = side * (edge + 0.9) if not layout.grass else side * (edge + layout.pavement + 0.8)
            if avenue and rng.random() < 0.75:
                path = Trajectory(x, float(z), float(rng.uniform(0, 6)))
                if b.free(path, 0.5, 0.3):
                    objects.tree(b.site(path, VEGETATION), rng)
            if layout.grass and rng.random() < 0.6:
                objects.bush(
                    b.site(Trajectory(side * (edge + layout.pavement + 1.0), float(z) + 4, 1.57), VEGETATION),
                    rng,
                )
        for z in np.arange(9 + rng.uniform(0, 15), 110, 26.0):
            if b.free(Trajectory(side * (edge + 0.45), float(z)), 0.4, 0.15):
                objects.street_lamp(b.site(Trajectory(side * (edge + 0.45), float(z), facing), POLE), rng)
        for z in rng.uniform(9, 55, int(rng.integers(1, 4))):
            turned = float(rng.uniform(-0.2, 0.2)) + (np.pi if rng.random() < 0.3 else 0.0)
            if not _at_crossing(layout, z, 1.0) and b.free(
                Trajectory(side * (edge + 0.5), float(z)), 0.6, 0.3
            ):
                objects.sign(
                    b.site(Trajectory(side * (edge + 0.5), float(z), turned), POLE), rng, TRAFFIC_SIGN
                )
        if rng.random() < 0.35:
            for z in np.arange(7, 40, 2.2):
                if not _at_crossing(layout, z, 1.0) and b.free(
                    Trajectory(side * (edge + 0.4), float(z)), 0.2, 0.1
                ):
                    objects.bollard(b.site(Trajectory(side * (edge + 0.4), float(z)), POLE), rng)
    if layout.crossing_z < 100 and rng.random() < 0.8:
        for side, ahead in ((1, -1), (-1, -1), (1, 1), (-1, 1)):
            z = layout.crossing_z + ahead * (layout.crossing_half + 0.8)
            path = Trajectory(side * (edge + 0.6), z, 0.0 if side > 0 else np.pi)
            if b.free(path, 0.4, 0.2):
                objects.traffic_light(b.site(path, POLE), rng, TRAFFIC_LIGHT)


def _parked(b: _Builder, layout: Layout) -> None:
    rng = b.rng
    for side in (-1, 1):
        heading = 0.0 if side > 0 else np.pi
        fill = float(rng.uniform(0.25, 0.8)) if layout.road_half > layout.lane + 1 else 0.0
        z = float(rng.uniform(3, 8))
        while z < 95:
            path = Trajectory(side * (layout.road_half - 1.12), z, heading + float(rng.normal(0, 0.02)))
            if not _at_crossing(layout, z, 5.0) and rng.random() < fill:
                draw = rng.random()
                if draw < 0.05:
                    _vehicle(b, TRUCK, path)
                elif draw < 0.12:
                    _two_wheeler(b, MOTORCYCLE, path, ridden=False)
                else:
                    _vehicle(b, CAR, path)
            z += float(rng.uniform(5.6, 6.8))
        for z in rng.uniform(8, 40, int(rng.integers(0, 4))):
            x = side * (layout.road_half + float(rng.uniform(0.8, 1.4)))
            kind = BICYCLE if rng.random() < 0.75 else MOTORCYCLE
            if not _at_crossing(layout, z):
                _two_wheeler(b, kind, Trajectory(x, float(z), float(rng.uniform(-0.6, 0.6))), ridden=False)
        for z in rng.uniform(8, 60, int(rng.integers(1, 5))):
            x = side * (layout.road_half + float(rng.uniform(0.7, layout.pavement - 1.2)))
            speed = float(rng.uniform(0.9, 1.8)) if rng.random() < 0.75 else 0.0
            heading = float(rng.choice((0.0, np.pi))) if speed else float(rng.uniform(0, 6.28))
            if not _at_crossing(layout, z, 3.0):
                _pedestrian(b, Trajectory(x, float(z), heading, speed))


def _traffic(b: _Builder, layout: Layout, ego: Ego) -> None:
    """Moving actors; each kind of event is tried in a random order until enough are placed."""
    rng = b.rng
    lane = layout.lane / 2
    crossing = layout.crossing_z < 60

    def vehicle_kind() -> int:
        return int(rng.choice((CAR, TRUCK, BUS, TRAIN), p=(0.62, 0.15, 0.14, 0.09)))

    def leading() -> bool:
        z, factor = float(rng.uniform(11, 26)), float(rng.choice((0.35, 0.6, 1.35, 1.7)))
        speed = ego.path.speed * factor
        if rng.random() < 0.35:
            kind = BICYCLE if rng.random() < 0.6 else MOTORCYCLE
            return _two_wheeler(b, kind, Trajectory(lane + 0.7, z, 0.0, max(3.0, speed)), ridden=True)
        return _vehicle(b, vehicle_kind(), Trajectory(lane, z + 3, 0.0, speed))

    def oncoming() -> bool:
        path = Trajectory(-lane, float(rng.uniform(14, 48)), np.pi, float(rng.uniform(5, 11)))
        return _vehicle(b, vehicle_kind(), path)

    def crossing_vehicle() -> bool:
        side = float(rng.choice((-1, 1)))
        away = float(rng.uniform(1, 15))
        z = layout.crossing_z + side * layout.crossing_half * 0.5
        path = Trajectory(-side * away, z, side * np.pi / 2, float(rng.uniform(3.5, 9)))
        if rng.random() < 0.25:
            return _two_wheeler(b, int(rng.choice((BICYCLE, MOTORCYCLE))), path, ridden=True)
        return _vehicle(b, vehicle_kind(), path)

    def crossing_person() -> bool:
        side = float(rng.choice((-1, 1)))
        x = -side * float(rng.uniform(0.5, layout.road_half))
        return _pedestrian(
            b,
            Trajectory(
                x,
                float(rng.uniform(9, 22)),
                side * (np.pi / 2) + float(rng.normal(0, 0.15)),
                float(rng.uniform(1.2, 2.2)),
            ),
        )

    def cyclist() -> bool:
        oncoming_side = rng.random() < 0.4
        x = -(layout.lane - 0.5) if oncoming_side else layout.lane - 0.4
        path = Trajectory(
            x, float(rng.uniform(9, 22)), np.pi if oncoming_side else 0.0, float(rng.uniform(3.5, 6.5))
        )
        return _two_wheeler(b, BICYCLE if rng.random() < 0.7 else MOTORCYCLE, path, ridden=True)

    events: list[tuple[Callable[[], bool], float]] = [
        (leading, 1.0),
        (oncoming, 1.3),
        (crossing_person, 1.2),
        (cyclist, 0.8),
        (crossing_vehicle, 1.8 if crossing else 0.0),
    ]
    weights = np.array([weight for _, weight in events])
    wanted, placed = int(rng.integers(4, 8)), 0
    for _ in range(30):
        placed += events[int(rng.choice(len(events), p=weights / weights.sum()))][0]()
        if placed == wanted:
            break


def generate_scene(seed: int) -> Scene:
    """Draw a street scene; the same seed gives the same scene on every machine.

    Args:
        seed: any integer >= 0.
    """
    rng = np.random.default_rng([seed, 0x574F524C])
    layout, weather = _layout(rng), _weather(rng)
    path = Trajectory(
        layout.lane / 2,
        0.0,
        float(rng.normal(0, 0.015)),
        float(rng.uniform(5, 11)),
        float(rng.normal(0, 0.015)),
    )
    ego = Ego(path, float(rng.uniform(1.4, 1.65)), float(rng.uniform(0.01, 0.04)))
    b = _Builder(rng)
    b.free(path, 6.0, 1.0)
    _ground(b, layout)
    _traffic(b, layout, ego)
    _parked(b, layout)
    _furniture(b, layout)
    _houses(b, layout)
    return Scene(seed, b.parts.build(), tuple(b.actors), ego, layout, weather)


__all__ = ["Ego", "Layout", "Scene", "Weather", "generate_scene"]
