"""Light: sun with cast shadows, sky light, contact shadows, reflections, haze, the sky itself, and the camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.world.casting import PlacedParts, light_pairs, shadowed
from nolabel.world.materials import PartLooks, is_grass, paint
from nolabel.world.noise import value_noise
from nolabel.world.parts import Material
from nolabel.world.scenes import Layout, Weather
from nolabel.world.styles import Style
from nolabel.world.surfaces import Surface

_CONTACT = (Material.PAINT, Material.COACH, Material.CARGO, Material.TYRE, Material.DARK, Material.BARK)


@dataclass(frozen=True)
class Light:
    """Colours (3,) of sun, zenith, horizon and ground light; the unit direction to the sun (3,); the weather used."""

    towards: Tensor
    sun: Tensor
    zenith: Tensor
    horizon: Tensor
    bounce: Tensor
    dusk: float
    overcast: float
    wet: float
    haze: float


def make_light(weather: Weather, style: Style, device: torch.device) -> Light:
    """The light of a scene as `style` sees it; the synthetic style has the same clean day everywhere."""

    def colour(*values: float) -> Tensor:
        return torch.tensor(values, device=device)

    dusk, overcast = weather.dusk * style.weather, weather.overcast * style.weather
    sun = colour(2.5, 2.3, 1.95) * (1 - dusk) + colour(1.15, 0.55, 0.28) * dusk
    zenith = colour(0.26, 0.46, 0.90) * (1 - dusk) + colour(0.10, 0.14, 0.30) * dusk
    horizon = colour(0.72, 0.84, 1.0) * (1 - dusk) + colour(0.62, 0.40, 0.30) * dusk
    if not style.filmic:
        sun, zenith, horizon = colour(1.9, 1.9, 1.85), colour(0.16, 0.40, 0.95), colour(0.55, 0.78, 1.0)
    cloudy = colour(0.75, 0.78, 0.82) * (1 - 0.65 * dusk)
    zenith, horizon = torch.lerp(zenith, cloudy * 0.9, overcast), torch.lerp(horizon, cloudy, overcast)
    bounce = colour(0.20, 0.18, 0.16) * (1 - 0.6 * dusk)
    elevation = weather.sun_elevation if style.weather else max(weather.sun_elevation, 0.5)
    towards = Weather(weather.sun_azimuth, elevation, 0, 0, 0, 0).towards_sun()
    return Light(
        torch.tensor(towards, dtype=torch.float64, device=device), sun * (1 - 0.93 * overcast), zenith, horizon, bounce,
        dusk, overcast, weather.wet * style.weather, weather.haze * style.weather,
    )  # fmt: skip


def sky(direction: Tensor, light: Light, style: Style) -> Tensor:
    """Radiance (n, 3) of the sky along unit directions (n, 3)."""
    up = -direction[:, 1:2]
    share = (1 - up.clamp(0, 1)) ** (5.0 if style.filmic else 3.0)
    colour = torch.lerp(light.zenith.expand(len(up), 3), light.horizon.expand(len(up), 3), share)
    towards = light.towards.float()
    glow = (direction @ towards).clamp(0, 1).unsqueeze(1)
    colour = colour + light.sun * (1 - light.overcast) * (0.22 * glow**8 + 0.5 * glow**60) * (
        1.0 if style.filmic else 0.3
    )
    plane = direction[:, [0, 2]] / (up.abs() + 0.12)
    total = torch.zeros_like(up)
    gains = (0.9, 0.5, 0.3, 0.18) if style.filmic else (0.9, 0.25)
    for octave, gain in enumerate(gains):
        point = plane * (1.3 * 2.1**octave) + 11.0 * octave
        total = total + gain * value_noise(F.pad(point, (0, 1)))[:, :1]
    cover = ((total + 0.55 * light.overcast) * (1.6 if style.filmic else 6.0)).clamp(0, 1) * (
        up / 0.10
    ).clamp(0, 1)
    white = (light.sun * 0.28 + light.horizon * 0.55) * (1.0 - 0.35 * (total - 0.3).clamp(0, 1))
    return torch.lerp(colour, white, cover * (0.9 - 0.45 * light.overcast))


def _contact(parts: PlacedParts, looks: PartLooks, surface: Surface, strength: float) -> Tensor:
    """How much sky light is left (n,) on ground points near and below bodies that stand on it."""
    left = torch.ones_like(surface.depth)
    kinds = torch.tensor([int(m) for m in _CONTACT], device=left.device)
    chosen = torch.isin(looks.material, kinds).nonzero().squeeze(1)
    ground = (looks.material[surface.part] <= int(Material.PAVEMENT)).nonzero().squeeze(1)
    if not len(ground) or not len(chosen):
        return left
    up = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64, device=left.device)
    point, part = light_pairs(parts, chosen, surface.world[ground], up, cell=1.5, margin=0.7)
    matrix = parts.to_unit.float()[part]
    unit = (matrix[:, :, :3] * surface.world[ground[point]].unsqueeze(1)).sum(2) + matrix[:, :, 3]
    gap = ((unit.abs() - 1) * parts.half[part]).clamp(min=0)
    value = 1 - strength * torch.exp(-((gap**2).sum(1) / 0.14))
    left_ground = left[ground].scatter_reduce(0, point, value, "amin")
    left[ground] = left_ground
    return left


def shade(
    parts: PlacedParts, looks: PartLooks, surface: Surface, layout: Layout, light: Light, style: Style
) -> Tensor:
    """Linear radiance (n, 3) of surface points."""
    albedo, gloss, glow = paint(surface, looks, layout, style, light.dusk)
    material = looks.material[surface.part]
    normal = surface.normal
    leaves = material == int(Material.LEAVES)
    cosine = normal @ light.towards.float()
    cosine = torch.where(leaves, 0.35 + 0.5 * cosine, cosine).clamp(min=0)
    lit = (cosine > 0).nonzero().squeeze(1) if float(light.sun.max()) > 0.05 else cosine.new_zeros(0).long()
    start = surface.world[lit] + normal[lit] * 0.02
    cosine[lit] = cosine[lit] * (~shadowed(parts, start, surface.part[lit], light.towards)).float()
    openness = 0.5 - 0.5 * normal[:, 1:2]
    ambient = torch.lerp(
        light.bounce.expand(len(material), 3), 0.45 * light.zenith + 0.4 * light.horizon, openness
    )
    height = -surface.world[:, 1]
    upright = (1 - normal[:, 1].abs()).clamp(0, 1)
    reach = torch.where(material == int(Material.FACADE), 4.0, 1.2)
    closed = 1 - 0.45 * upright * (1 - height / reach).clamp(0, 1)
    left = (_contact(parts, looks, surface, style.contact) * closed).unsqueeze(1)
    if light.wet:
        albedo = albedo * (1 - 0.45 * light.wet * _wet_ground(surface, looks, layout)).unsqueeze(1)
    radiance = albedo * (light.sun * cosine.unsqueeze(1) * (0.35 + 0.65 * left) + ambient * left) + glow
    mirrored = surface.view - 2 * (surface.view * normal).sum(1, keepdim=True) * normal
    fresnel = 0.12 + 0.88 * (1 + (surface.view * normal).sum(1)).clamp(0, 1) ** 4
    above = torch.lerp(
        light.bounce.expand_as(radiance),
        light.horizon.expand_as(radiance),
        (0.5 - mirrored[:, 1:2] * 3).clamp(0, 1),
    )
    reflected = torch.lerp(above, light.zenith.expand_as(above), (-mirrored[:, 1:2]).clamp(0, 1))
    share = (gloss * fresnel * style.reflections).unsqueeze(1).clamp(0, 0.85)
    radiance = torch.lerp(radiance, reflected * (0.35 + 0.65 * left), share)
    clear = torch.exp(-surface.depth * (0.0006 + 0.0030 * light.haze)).unsqueeze(1)
    return torch.lerp(light.horizon * 0.85, radiance, clear) if style.filmic else radiance


def _film(surface: Surface, ground: Tensor, wet: float) -> Tensor:
    """Thickness (n,) in [0, 1] of the water on the ground."""
    puddle = value_noise(surface.world * surface.world.new_tensor((0.55, 0.0, 0.3)) + 3.3)[:, 0]
    return (0.45 + 1.6 * (puddle - 0.1).clamp(0, 0.5)).clamp(0, 1) * wet * ground


def _wet_ground(surface: Surface, looks: PartLooks, layout: Layout) -> Tensor:
    """1 (n,) on level ground that is not grass."""
    level = (looks.material[surface.part] <= int(Material.PAVEMENT)) & (surface.normal[:, 1] < -0.9)
    return (level & ~is_grass(surface.world, layout)).float()


def wet_mirror(
    radiance: Tensor,
    pose: Tensor,
    matrix: Tensor,
    surface: Surface,
    met: Tensor,
    looks: PartLooks,
    layout: Layout,
    wet: float,
) -> Tensor:
    """Mirror the picture in the wet ground: (H, W, 3) -> (H*W, 3).

    The mirrored ray is looked up as a direction, as if what it meets were far away; this is a look, not geometry.
    `surface` holds the points of the pixels `met`.
    """
    height, width, _ = radiance.shape
    flat = radiance.reshape(-1, 3)
    share = _film(surface, _wet_ground(surface, looks, layout), wet)
    share = share * (0.10 + 0.75 * (1 + surface.view[:, 1] * -1.0).clamp(0, 1) ** 6)
    chosen = (share > 0.01).nonzero().squeeze(1)
    mirrored = surface.view[chosen] * surface.view.new_tensor((1.0, -1.0, 1.0))
    local = mirrored @ pose[:3, :3].float()
    wobble = value_noise(surface.world[chosen] * surface.world.new_tensor((7.0, 0.0, 1.5)))[:, 0] * 0.006
    z = local[:, 2].clamp(min=0.05)
    u = matrix[0, 0].float() * (local[:, 0] / z + wobble) + matrix[0, 2].float()
    v = matrix[1, 1].float() * (local[:, 1] / z + 2 * wobble) + matrix[1, 2].float()
    index = v.round().long().clamp(0, height - 1) * width + u.round().long().clamp(0, width - 1)
    pixels = met[chosen]
    result = flat.clone()
    result[pixels] = torch.lerp(flat[pixels], flat[index], share[chosen].unsqueeze(1))
    return result


def _blur(image: Tensor, sigma: float) -> Tensor:
    taps = torch.exp(-0.5 * (torch.arange(-2, 3, device=image.device) / sigma) ** 2)
    taps = (taps / taps.sum()).float()
    padded = F.pad(image.unsqueeze(1), (2, 2, 2, 2), mode="replicate")
    rows = F.conv2d(padded, taps.view(1, 1, 5, 1))
    return F.conv2d(rows, taps.view(1, 1, 1, 5)).squeeze(1)


def develop(radiance: Tensor, light: Light, style: Style, generator: torch.Generator) -> Tensor:
    """Lens, exposure, tone curve and sensor: linear radiance (3, H, W) -> image (3, H, W) in [0, 1].

    `generator` lives on the CPU, so that the noise is the same on every device.
    """
    _, height, width = radiance.shape
    image = _blur(radiance, style.blur * width / 512) if style.blur else radiance
    if style.vignette:
        y = torch.linspace(-1, 1, height, device=image.device).unsqueeze(1) * height / width
        x = torch.linspace(-1, 1, width, device=image.device)
        image = image * (1 - style.vignette * ((x**2 + y**2) / (1 + (height / width) ** 2)) ** 1.5)
    if style.filmic:
        exposure = 1.25 * (1 + 0.9 * light.dusk) * (1 + 0.30 * light.overcast)
        image = (1 - torch.exp(-exposure * image)) ** (1 / 2.2)
        image = image + 0.08 * torch.sin((image - 0.5) * math.pi * 2) * 0.5 * (image < 1)
        grains = torch.randn((3, height, width), generator=generator).to(image.device)
        image = image + grains * style.noise * (0.5 + image.clamp(0, 1).sqrt()) * (1 + 1.2 * light.dusk)
    else:
        image = (0.80 * image).clamp(min=0) ** (1 / 2.2)
    return image.clamp(0, 1)
