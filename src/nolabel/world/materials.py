"""Procedural materials: what every surface point reflects, as functions of its position on the object.

Everything is fixed to the object (never to the image), so that both eyes and all instants see the same pattern, and is
faded out below the size of a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.world.noise import band, hash_cells, step, stripes, value_noise
from nolabel.world.parts import Material
from nolabel.world.scenes import Layout
from nolabel.world.styles import Style
from nolabel.world.surfaces import Surface


@dataclass(frozen=True)
class Paint:
    """Inputs of a material function for its n points, and its outputs, which it changes in place.

    colour (n, 3): the part's albedo; params (n, 3), seed (n,), half (n, 3): of the part; noise (n,): textured noise,
    about [-1, 1]; albedo (n, 3) linear; gloss (n,): mirror-like share; glow (n, 3): emitted light.
    """

    surface: Surface
    layout: Layout
    style: Style
    dusk: float
    colour: Tensor
    params: Tensor
    seed: Tensor
    half: Tensor
    noise: Tensor
    albedo: Tensor
    gloss: Tensor
    glow: Tensor

    def mix(self, colour: Tensor | tuple[float, float, float], amount: Tensor) -> None:
        """Blend the albedo towards `colour` by `amount` (n,)."""
        target = colour if isinstance(colour, Tensor) else self.albedo.new_tensor(colour)
        self.albedo.lerp_(target.expand_as(self.albedo), amount.unsqueeze(1))


def _draw(seed: Tensor, which: int) -> Tensor:
    """Independent uniform numbers per object from its seed (n,)."""
    return torch.frac(seed * (91.17 + 37.31 * which) + 0.317 * which)


# Per material: texture scale (bigger = coarser), stretch of the noise along local x, y, z, coarse and fine gain.
_GRAIN: dict[Material, tuple[float, tuple[float, float, float], float, float]] = {
    Material.ROAD: (1.0, (1.0, 1.0, 0.45), 0.30, 0.85),
    Material.PAVEMENT: (0.9, (1.0, 1.0, 0.7), 0.5, 0.6),
    Material.FACADE: (1.3, (1.0, 1.0, 1.0), 0.20, 0.38),
    Material.ROOF: (1.0, (1.0, 1.0, 1.0), 0.5, 0.5),
    Material.STONE: (1.0, (1.0, 1.0, 1.0), 0.7, 0.8),
    Material.PLANKS: (0.8, (1.0, 0.25, 1.0), 0.6, 0.5),
    Material.METAL: (0.6, (1.0, 0.5, 1.0), 0.35, 0.25),
    Material.TRAFFIC_LIGHT: (0.5, (1.0, 1.0, 1.0), 0.3, 0.3),
    Material.SIGN: (0.6, (1.0, 1.0, 1.0), 0.1, 0.1),
    Material.LEAVES: (0.75, (1.0, 1.0, 1.0), 1.0, 1.9),
    Material.BARK: (0.6, (1.0, 0.2, 1.0), 0.8, 0.9),
    Material.PAINT: (0.8, (1.0, 1.0, 1.0), 0.12, 0.12),
    Material.CABIN: (0.8, (1.0, 1.0, 1.0), 0.16, 0.12),
    Material.TYRE: (0.4, (1.0, 1.0, 1.0), 0.5, 0.5),
    Material.CARGO: (0.9, (1.0, 1.0, 1.0), 0.28, 0.25),
    Material.COACH: (0.9, (1.0, 1.0, 1.0), 0.20, 0.16),
    Material.CLOTH: (0.3, (1.0, 0.6, 1.0), 0.8, 0.6),
    Material.SKIN: (0.3, (1.0, 1.0, 1.0), 0.25, 0.15),
    Material.LAMP: (0.5, (1.0, 1.0, 1.0), 0.1, 0.1),
    Material.DARK: (0.5, (1.0, 1.0, 1.0), 0.4, 0.4),
}
_CELLS = (2.4, 0.8, 0.27, 0.09, 0.032)  # metres per noise cell of each octave


def grain(surface: Surface, material: Tensor, seed: Tensor) -> Tensor:
    """Multi-octave noise fixed to the object, band-limited to the pixel footprint: (n,), about [-1, 1]."""
    device = material.device
    table = torch.tensor([(s, *st, c, f) for s, st, c, f in (_GRAIN[m] for m in Material)], device=device)
    rows = table[material]
    point = surface.local * rows[:, 1:4] / rows[:, :1]
    shift = torch.stack([seed * 53.0, seed * 31.0, seed * 17.0], 1)
    footprint = (surface.width * surface.length).sqrt() / rows[:, 0]
    total = torch.zeros_like(seed)
    for octave, cell in enumerate(_CELLS):
        share = octave / (len(_CELLS) - 1)
        fade = (1.6 - 1.6 * footprint / cell).clamp(0, 1)
        gain = (rows[:, 4] * (1 - share) + rows[:, 5] * share) * fade
        alive = (gain > 0).nonzero().squeeze(1)  # far surfaces have no fine octaves left
        noise = value_noise(point[alive] / cell + shift[alive] * (octave + 1), channels=1)[:, 0]
        total.index_add_(0, alive, gain[alive] * noise)
    return total


def _road(p: Paint) -> None:
    s, layout = p.surface, p.layout
    x, z = s.world[:, 0], s.world[:, 2]
    w, length = s.width, s.length
    track = (1 - ((x.abs() - layout.lane / 2).abs() - 0.75).abs() / 0.45).clamp(0, 1)
    p.albedo.mul_(1 - 0.12 * p.style.grime * track.unsqueeze(1))
    if p.style.grime:
        patch = value_noise(torch.stack([x * 0.35, torch.zeros_like(x), z * 0.16], 1) + 7.7)
        p.albedo.mul_((1 - 0.35 * p.style.grime * step(patch[:, 0], 0.42, length * 0.2 + 0.03)).unsqueeze(1))
        crack = value_noise(torch.stack([x * 0.9, torch.zeros_like(x), z * 0.55], 1) + 21.3)[:, 1].abs()
        p.albedo.mul_(
            (
                1
                - 0.45 * p.style.grime * (1 - crack / (0.03 + 0.5 * w)).clamp(0, 1) * (1 - 8 * w).clamp(0, 1)
            ).unsqueeze(1)
        )
    along = (z - layout.crossing_z).abs() - layout.crossing_half
    open_road = step(along, 4.6, length)
    white = band(x, -0.07, 0.07, w) * stripes(z, 6.0, 0.5, length)
    edge = layout.lane if layout.road_half > layout.lane + 1 else layout.road_half - 0.3
    white = torch.maximum(white, band(x.abs(), edge - 0.06, edge + 0.06, w)) * open_road
    inside = step(layout.road_half - 0.5 - x.abs(), 0.0, w)
    white = torch.maximum(white, band(along, 0.9, 3.4, length) * stripes(x + 0.25, 1.0, 0.5, w) * inside)
    stop = band(along, 4.1, 4.5, length) * (
        band(x, 0.1, layout.lane, w) * (z < layout.crossing_z)
        + band(-x, 0.1, layout.lane, w) * (z > layout.crossing_z)
    )
    white = torch.maximum(white, stop)
    wear = (0.85 + p.style.grime * (0.9 * p.noise - 0.15)).clamp(0.15, 1)
    p.mix((0.62, 0.62, 0.58), white * wear)
    hole = torch.stack([torch.floor(x / 3.1), torch.floor(z / 17.0)])
    cx = (hole[0] + 0.2 + 0.6 * hash_cells(hole[0], hole[1])) * 3.1
    cz = (hole[1] + 0.5) * 17.0
    lid = 1 - step(((x - cx) ** 2 + (z - cz) ** 2).sqrt(), 0.34, length)
    p.mix((0.045, 0.04, 0.04), lid * (hash_cells(hole[1], hole[0]) < 0.3) * (layout.road_half > x.abs()))


def pavement_edge(world: Tensor, layout: Layout) -> Tensor:
    """Distance (n,) from the kerb, in metres, of world points (n, 3) on the raised ground."""
    x, z = world[:, 0], world[:, 2]
    return torch.minimum(x.abs() - layout.road_half, (z - layout.crossing_z).abs() - layout.crossing_half)


def is_grass(world: Tensor, layout: Layout) -> Tensor:
    """Whether points (n, 3) of the raised ground lie beyond the paved strip, (n,) bool."""
    distance = pavement_edge(world, layout)
    return (distance > layout.pavement) if layout.grass else (distance > layout.pavement + 9.0)


def _pavement(p: Paint) -> None:
    s, layout = p.surface, p.layout
    x, z = s.world[:, 0], s.world[:, 2]
    distance = pavement_edge(s.world, layout)
    joints = torch.maximum(stripes(x, 0.6, 0.05, s.width), stripes(z, 0.6, 0.05, s.length))
    tone = hash_cells(torch.floor(x / 0.6), torch.floor(z / 0.6)) - 0.5
    fade = (1 - s.length / 0.5).clamp(0, 1)
    p.albedo.mul_((1 + (0.35 * p.style.texture * tone - 0.35 * joints) * fade).unsqueeze(1))
    kerb = 1 - step(distance, 0.22, s.width)
    stone = torch.tensor((0.36, 0.35, 0.33), device=x.device) * (1 + 0.5 * p.noise.unsqueeze(1))
    p.mix(stone, kerb * (1 - 0.3 * stripes(z, 1.0, 0.03, s.length)))
    grass = torch.tensor((0.085, 0.15, 0.035), device=x.device) * (1 + 1.3 * p.noise.unsqueeze(1)).clamp(
        min=0.25
    )
    dry = value_noise(torch.stack([x, x * 0, z], 1) * 0.25)[:, 1].unsqueeze(1) * p.style.grime
    grass = grass * (1 + dry * torch.tensor((0.6, 0.1, 0.25), device=x.device))
    p.mix(grass, is_grass(s.world, layout).float())


def _along_face(p: Paint) -> tuple[Tensor, Tensor]:
    """Horizontal position on an upright face measured from its left end, and whether the face is upright."""
    s = p.surface
    x_face = s.face == 0
    along = torch.where(x_face, s.local[:, 2] + p.half[:, 2], s.local[:, 0] + p.half[:, 0])
    return along, s.face != 1


def _facade(p: Paint) -> None:
    s = p.surface
    along, upright = _along_face(p)
    height = -s.world[:, 1]
    r = [_draw(p.seed, k) for k in range(7)]
    storey, pitch = 2.9 + 0.6 * r[0], 1.9 + 1.5 * r[1]
    ground = 3.4 + 0.4 * r[2]
    w, length = s.width, s.length
    row, column = torch.floor((height - ground) / storey), torch.floor(along / pitch)
    v, u = height - ground - row * storey, along - column * pitch
    above = step(height, ground, w)
    block = hash_cells(
        torch.floor(height / 0.32), torch.floor(along / 0.75 + 0.5 * torch.floor(height / 0.32))
    )
    fade = (1 - length / 0.6).clamp(0, 1)
    stone = (r[3] < 0.6).float() * fade * p.style.texture
    p.albedo.mul_(
        (1 + 0.4 * stone * (block - 0.5) - 0.25 * stone * stripes(height, 0.32, 0.1, w)).unsqueeze(1)
    )
    p.albedo.mul_((1 - 0.25 * p.style.grime * (1 - height / 2.2).clamp(0, 1)).unsqueeze(1))
    p.mix(p.colour * 1.25, band(v, 0.0, 0.22, w) * above * 0.8)
    half_width, sill, lintel = pitch * (0.21 + 0.11 * r[4]), storey * 0.28, storey * (0.78 + 0.08 * r[5])
    centre = u - pitch / 2
    top = height < p.half[:, 1] * 2 - 0.9
    frame = (
        band(centre, -half_width - 0.09, half_width + 0.09, length)
        * band(v, sill - 0.1, lintel + 0.1, w)
        * above
        * top
    )
    glass = band(centre, -half_width, half_width, length) * band(v, sill, lintel, w) * above * top
    bars = torch.maximum(band(centre, -0.03, 0.03, length), band(v, lintel - 0.55, lintel - 0.48, w))
    trim = torch.where((r[6] < 0.5).unsqueeze(1), p.colour * 1.5 + 0.05, p.colour * 0.45)
    p.mix(trim.clamp(max=0.8), frame)
    pane = hash_cells(column, row, torch.floor(p.seed * 4096))
    curtain = (torch.frac(pane * 13.7) < 0.45).float() * band(
        centre.abs(), half_width * 0.45, half_width, length
    )
    tint = torch.stack([0.025 + 0.05 * pane, 0.03 + 0.055 * pane, 0.04 + 0.06 * pane], 1)
    tint = tint.lerp(torch.full_like(tint, 0.38), (curtain * 0.75).unsqueeze(1))
    p.mix(tint, glass)
    p.mix(trim.clamp(max=0.8), glass * bars)
    shop = (r[2] < 0.6).float() * (1 - above)
    bay = along - torch.floor(along / 3.4) * 3.4
    window = band(bay, 0.3, 3.1, length) * band(height, 0.55, 2.6, w) * shop
    goods = hash_cells(torch.floor(along / 0.45), torch.floor(height / 0.5), torch.floor(p.seed * 512))
    shelves = torch.stack(
        [
            0.03 + 0.2 * goods**3,
            0.03 + 0.15 * torch.frac(goods * 7.1) ** 3,
            0.03 + 0.14 * torch.frac(goods * 3.3) ** 3,
        ],
        1,
    )
    p.mix(shelves, window)
    board = torch.stack([torch.frac(r[0] * 7 + k * 0.37) ** 2 * 0.5 + 0.03 for k in range(3)], 1)
    letters = hash_cells(torch.floor(along / 0.22), torch.floor(p.seed * 999)) < 0.55
    p.mix(board, band(height, 2.75, 3.3, w) * shop)
    p.mix(
        (0.7, 0.68, 0.6),
        band(height, 2.92, 3.12, w)
        * letters
        * band(bay, 0.5, 2.9, length)
        * shop
        * (1 - length / 0.3).clamp(0, 1),
    )
    door = (
        (1 - shop)
        * (1 - above)
        * band(bay, 1.1, 2.15, length)
        * band(height, 0.0, 2.3, w)
        * (torch.floor(along / 3.4) % 2 == 1)
    )
    p.mix(board * 0.6, door)
    p.gloss.add_((glass * (1 - bars) + window) * 0.55)
    lit = (torch.frac(pane * 5.3) < 0.4).float() * glass * (1 - bars) + window * 0.8
    p.glow.add_(lit.unsqueeze(1) * torch.tensor((0.75, 0.48, 0.2), device=lit.device) * (0.9 * p.dusk))
    flat = (~upright).float()
    p.mix((0.16, 0.15, 0.15), flat)
    p.gloss.mul_(1 - flat)
    p.glow.mul_((1 - flat).unsqueeze(1))


def _roof(p: Paint) -> None:
    along, _ = _along_face(p)
    height = -p.surface.world[:, 1]
    p.albedo.mul_(
        (
            1
            - 0.3 * stripes(height, 0.35, 0.25, p.surface.width)
            - 0.15 * stripes(along, 0.4, 0.2, p.surface.length)
        ).unsqueeze(1)
    )


def _stone(p: Paint) -> None:
    along, _ = _along_face(p)
    height = -p.surface.world[:, 1]
    row = torch.floor(height / 0.25)
    tone = hash_cells(row, torch.floor(along / 0.5 + 0.5 * row)) - 0.5
    fade = (1 - p.surface.length / 0.5).clamp(0, 1)
    p.albedo.mul_((1 + fade * (0.6 * tone - 0.4 * stripes(height, 0.25, 0.1, p.surface.width))).unsqueeze(1))


def _planks(p: Paint) -> None:
    along, _ = _along_face(p)
    p.albedo.mul_((1 + 0.4 * (hash_cells(torch.floor(along / 0.16)) - 0.5)).unsqueeze(1))
    p.mix((0.015, 0.02, 0.015), stripes(along, 0.16, 0.32, p.surface.length) * 0.85)
    rail = torch.maximum(
        band(p.surface.local[:, 1], -0.45, -0.36, p.surface.width),
        band(p.surface.local[:, 1], 0.36, 0.45, p.surface.width),
    )
    p.mix(p.colour * 1.1, rail)


def _traffic_light(p: Paint) -> None:
    s = p.surface
    x, y = s.local[:, 0], s.local[:, 1]
    front = ((s.face == 2) & (s.facing < 0)).float()
    p.mix((0.25, 0.25, 0.23), front * step(torch.maximum(x.abs() - 0.16, y.abs() - 0.47), 0.0, s.width))
    for index, colour in enumerate(((0.9, 0.05, 0.03), (0.9, 0.5, 0.03), (0.05, 0.75, 0.25))):
        lamp = front * (1 - step((x**2 + (y - (index - 1) * 0.31) ** 2).sqrt(), 0.12, s.width))
        lit = (p.params[:, 0].round() == index).float()
        p.mix(tuple(0.25 * c for c in colour), lamp)  # type: ignore[arg-type]
        p.glow.add_((lamp * lit).unsqueeze(1) * torch.tensor(colour, device=x.device) * 1.2)


def _sign(p: Paint) -> None:
    s = p.surface
    kind = p.params[:, 0].round()
    disc = kind < 2
    x = s.local[:, 0]
    y = torch.where(disc, s.local[:, 2], -s.local[:, 1])
    front = torch.where(disc, s.unit[:, 1] < 0, (s.face == 2) & (s.facing < 0)).float()
    w = s.width
    radius = (x**2 + y**2).sqrt()
    white, black = (0.75, 0.75, 0.73), (0.02, 0.02, 0.02)
    p.mix((0.30, 0.31, 0.31), 1 - front)
    p.mix(white, front * (kind == 0) * (1 - step(radius, 0.24, w)))
    p.mix(black, front * (kind == 0) * band(x.abs(), 0.04, 0.12, w) * band(y, -0.11, 0.11, w))
    p.mix(
        white,
        front
        * (kind == 1)
        * torch.maximum(
            band(x, -0.05, 0.05, w) * band(y, -0.2, 0.1, w),
            (1 - step(x.abs() + y, 0.22, w)) * step(y, 0.06, w),
        ),
    )
    p.mix(white, front * (kind == 2) * band(torch.maximum(x.abs(), y.abs()), 0.24, 0.29, w))
    p.mix(white, front * (kind == 3) * band(torch.maximum(x.abs() - 0.2, y.abs()), 0.29, 0.33, w))
    rows = hash_cells(torch.floor(x / 0.09), torch.floor(y / 0.16), torch.floor(p.seed * 777)) < 0.6
    p.mix(
        white,
        front
        * (kind == 3)
        * rows
        * stripes(y, 0.16, 0.5, w)
        * band(x, -0.42, 0.42, w)
        * band(y, -0.24, 0.24, w),
    )
    p.mix(
        black,
        front
        * (kind == 4)
        * rows
        * stripes(y, 0.16, 0.45, w)
        * band(x, -0.24, 0.24, w)
        * band(y, -0.1, 0.1, w),
    )


def _leaves(p: Paint) -> None:
    p.albedo.mul_((1 + 0.35 * (-p.surface.unit[:, 1])).unsqueeze(1))
    warm = 1 + 0.35 * p.noise.unsqueeze(1) * torch.tensor((1.0, 0.3, -0.4), device=p.noise.device)
    p.albedo.mul_(warm.clamp(min=0.2))


def _vehicle_ends(p: Paint, lights_height: Tensor, window_bottom: float) -> None:
    """Lamps and number plates on the front (+z) and rear (-z) faces; heights in metres above the part's lower edge."""
    s = p.surface
    x, w = s.local[:, 0], s.width
    height = p.half[:, 1] - s.local[:, 1]
    end = (s.face == 2).float()
    front = end * (s.facing > 0)
    rear = end * (s.facing < 0)
    outer = band(x.abs(), p.half[:, 0] * 0.60, p.half[:, 0] * 0.93, w)
    lamp = outer * band(height, lights_height - 0.09, lights_height + 0.09, w)
    p.mix((0.75, 0.75, 0.72), front * lamp)
    p.mix((0.45, 0.015, 0.015), rear * lamp)
    p.mix(
        (0.03, 0.03, 0.03),
        front
        * band(x.abs(), -1.0, p.half[:, 0] * 0.5, w)
        * band(height, lights_height - 0.12, lights_height + 0.06, w),
    )
    p.mix(
        (0.6, 0.6, 0.55),
        end * band(x.abs(), -1.0, 0.26, w) * band(height, window_bottom, window_bottom + 0.11, w),
    )
    p.glow.add_((front * lamp).unsqueeze(1) * torch.tensor((1.6, 1.5, 1.2), device=x.device) * p.dusk)
    p.glow.add_(
        (rear * lamp).unsqueeze(1) * torch.tensor((0.9, 0.04, 0.03), device=x.device) * (0.15 + p.dusk)
    )


def _paint(p: Paint) -> None:
    s = p.surface
    w = s.width
    z = s.local[:, 2]
    height = p.half[:, 1] - s.local[:, 1] + 0.28  # above the ground for a car body
    large = (p.half[:, 2] > 1.2).float()
    side = (s.face == 0).float() * large
    arch = 1 - step(((z.abs() - 0.62 * p.half[:, 2]) ** 2 + (height - 0.33) ** 2).sqrt(), 0.40, s.length)
    p.mix((0.012, 0.012, 0.013), side * arch)
    seams = torch.maximum(
        band(z, -0.03, 0.01, s.length),
        torch.maximum(band(z - 0.95, -0.02, 0.02, s.length), band(z + 0.9, -0.02, 0.02, s.length)),
    )
    p.mix(p.colour * 0.3, side * seams * (1 - arch) * 0.8)
    p.mix(p.colour * 0.45, side * band(height, 0.0, 0.40, w) * (1 - arch))
    p.mix(p.colour * 1.3 + 0.05, side * band(height, 0.70, 0.74, w) * (1 - arch) * 0.5)
    p.mix(
        (0.05, 0.05, 0.05),
        side * band(z.sub(-0.12).abs(), -1.0, 0.09, s.length) * band(height, 0.76, 0.80, w),
    )
    p.gloss.add_(0.20 * (1 - side * arch))
    _vehicle_ends(p, p.half[:, 1] * 2 * 0.66, 0.12)
    p.glow.mul_(large.unsqueeze(1))


def _cabin(p: Paint) -> None:
    s = p.surface
    upper = s.face == 1
    y, q = s.unit[:, 1], s.unit
    side = s.face == 0
    across = torch.where(side, q[:, 2], q[:, 0])
    scale = torch.where(side, p.half[:, 2], p.half[:, 0])
    narrowing = 1 - 0.5 * (1 - y) * torch.where(
        side, torch.where(q[:, 2] > 0, p.params[:, 1], p.params[:, 2]), p.params[:, 0]
    )
    w = s.length / scale
    glass = (1 - step(across.abs() / narrowing.clamp(min=0.2), 0.90, w)) * band(
        y, -0.84, 0.92, s.width / p.half[:, 1]
    )
    pillar = side.float() * torch.maximum(
        band(across * scale, -0.12, 0.0, s.length), band(across * scale, -1.3, -1.2, s.length)
    )
    glass = glass * (1 - pillar) * (~upper).float()
    seats = 0.02 + 0.05 * (
        hash_cells(
            torch.floor(s.local[:, 2] / 0.55), torch.floor(s.local[:, 0] / 0.45), torch.floor(p.seed * 99)
        )
        > 0.5
    )
    tint = torch.stack([seats, seats * 1.05, seats * 1.15], 1)
    p.mix(tint, glass)
    p.gloss.add_(0.20 + 0.35 * glass)


def _tyre(p: Paint) -> None:
    s = p.surface
    radius = (s.local[:, 0] ** 2 + s.local[:, 2] ** 2).sqrt() / p.half[:, 0]
    wide = (p.half[:, 1] > 0.05).float() * (s.face == 1)
    angle = torch.atan2(s.local[:, 2], s.local[:, 0])
    hub = (1 - step(radius, 0.66, s.width / p.half[:, 0])) * wide
    spokes = stripes(angle, 2 * torch.pi / 5, 0.5, s.width / (p.half[:, 0] * radius.clamp(min=0.1)))
    p.mix((0.34, 0.34, 0.35), hub * (0.25 + 0.75 * spokes))


def _cargo(p: Paint) -> None:
    s = p.surface
    along, upright = _along_face(p)
    height = p.half[:, 1] - s.local[:, 1]
    p.albedo.mul_((1 - 0.18 * stripes(along, 0.9, 0.06, s.length) * upright).unsqueeze(1))
    second = torch.stack([_draw(p.seed, k) ** 2 * 0.7 + 0.02 for k in (1, 2, 3)], 1)
    middle = (along - torch.where(s.face == 0, p.half[:, 2], p.half[:, 0])).abs()
    badge = (
        1 - step((middle / 1.1) ** 2 + ((height - p.half[:, 1]) / 0.62) ** 2, 1.0, s.length * 2)
    ) * upright
    belt = band(height, 0.25, 0.5, s.width) * upright
    p.mix(second, torch.maximum(badge, belt))
    letters = hash_cells(torch.floor(along / 0.2), torch.floor(p.seed * 333)) < 0.6
    p.mix((0.65, 0.65, 0.62), badge * letters * band(height - p.half[:, 1], -0.16, 0.16, s.width))
    rear = ((s.face == 2) & (s.facing < 0)).float()
    p.mix((0.04, 0.04, 0.04), rear * band(s.local[:, 0], -0.02, 0.02, s.width))
    lamp = (
        rear
        * band(s.local[:, 0].abs(), p.half[:, 0] * 0.8, p.half[:, 0] * 0.96, s.width)
        * band(height, 0.05, 0.22, s.width)
    )
    p.mix((0.45, 0.015, 0.015), lamp)
    p.glow.add_(lamp.unsqueeze(1) * torch.tensor((0.9, 0.04, 0.03), device=lamp.device) * (0.15 + p.dusk))


def _coach(p: Paint) -> None:
    s = p.surface
    along, upright = _along_face(p)
    y, w = s.unit[:, 1], s.width / p.half[:, 1]
    side = s.face == 0
    glass = band(y, -0.68, 0.02, w) * upright
    pillars = stripes(along, 1.55, 0.08, s.length) * side
    screen = (
        (s.face == 2).float()
        * band(s.unit[:, 0].abs(), -1.0, 0.9, s.length / p.half[:, 0])
        * band(y, -0.62, 0.25, w)
    )
    glass = torch.where(s.face == 2, screen, glass * (1 - pillars))
    inside = hash_cells(torch.floor(along / 0.8), torch.floor(p.seed * 555))
    tint = torch.stack([0.03 + 0.07 * inside] * 3, 1)
    second = torch.stack([_draw(p.seed, k) ** 2 * 0.6 + 0.03 for k in (1, 2, 3)], 1)
    p.mix(second, band(y, 0.30, 0.52, w) * upright)
    doors = (
        side.float()
        * band(torch.frac(along / 4.6) * 4.6, 1.2, 2.4, s.length)
        * band(y, -0.68, 0.88, w)
        * (s.facing > 0)
    )
    p.mix(tint, torch.maximum(glass, doors * 0.85))
    p.mix((0.02, 0.02, 0.02), doors * band(torch.frac(along / 4.6) * 4.6, 1.77, 1.83, s.length))
    board = (s.face == 2).float() * band(y, -0.88, -0.72, w) * band(s.unit[:, 0].abs(), -1.0, 0.6, w)
    p.mix((0.02, 0.02, 0.02), board)
    amber = (
        board
        * (hash_cells(torch.floor(s.local[:, 0] / 0.12), torch.floor(p.seed * 77)) < 0.6)
        * band(y, -0.84, -0.76, w)
    )
    p.glow.add_(amber.unsqueeze(1) * torch.tensor((0.8, 0.4, 0.05), device=y.device))
    p.gloss.add_(0.15 + 0.35 * torch.maximum(glass, doors))
    p.glow.add_((glass * p.dusk).unsqueeze(1) * torch.tensor((0.4, 0.38, 0.3), device=y.device))
    _vehicle_ends(p, torch.full_like(y, 0.62), 0.2)


def _lamp(p: Paint) -> None:
    p.glow.add_(p.colour * (1.5 * p.dusk))


def _cloth(p: Paint) -> None:
    kind = _draw(p.seed, 5)
    band_mask = stripes(p.surface.local[:, 1] + 0.03, 0.16, 0.5, p.surface.width) * (kind < 0.3)
    p.albedo.mul_((1 + 0.6 * band_mask).unsqueeze(1))


_FUNCTIONS: dict[Material, Callable[[Paint], None]] = {
    Material.ROAD: _road, Material.PAVEMENT: _pavement, Material.FACADE: _facade, Material.ROOF: _roof,
    Material.STONE: _stone, Material.PLANKS: _planks, Material.TRAFFIC_LIGHT: _traffic_light, Material.SIGN: _sign,
    Material.LEAVES: _leaves, Material.PAINT: _paint, Material.CABIN: _cabin, Material.TYRE: _tyre,
    Material.CARGO: _cargo, Material.COACH: _coach, Material.LAMP: _lamp, Material.CLOTH: _cloth,
}  # fmt: skip


@dataclass(frozen=True)
class PartLooks:
    """Per part, float32 on the device: material (N,) int64, colour (N, 3), params (N, 3), seed (N,), half (N, 3)."""

    material: Tensor
    colour: Tensor
    params: Tensor
    seed: Tensor
    half: Tensor


def paint(
    surface: Surface, looks: PartLooks, layout: Layout, style: Style, dusk: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Albedo (n, 3) linear, gloss (n,) and glow (n, 3) of every surface point."""
    part = surface.part
    material, colour, seed = looks.material[part], looks.colour[part], looks.seed[part]
    noise = grain(surface, material, seed) * style.texture
    albedo, gloss, glow = torch.zeros_like(colour), torch.zeros_like(seed), torch.zeros_like(colour)
    for kind in torch.unique(material).tolist():
        index = (material == kind).nonzero().squeeze(1)
        own = surface[index]
        tinted = colour[index] * (1 + noise[index].unsqueeze(1)).clamp(min=0.2)
        job = Paint(
            own, layout, style, dusk, colour[index], looks.params[part[index]], seed[index], looks.half[part[index]],
            noise[index], tinted, gloss[index], glow[index],
        )  # fmt: skip
        function = _FUNCTIONS.get(Material(kind))
        if function is not None:
            function(job)
        albedo[index], gloss[index], glow[index] = job.albedo, job.gloss, job.glow
    grey = (albedo * albedo.new_tensor((0.25, 0.6, 0.15))).sum(1, keepdim=True)
    return (grey + (albedo - grey) * style.saturation).clamp(0.004, 0.9), gloss, glow
