"""Rendering styles: two clearly different image domains from the same scene graph."""

from __future__ import annotations

from dataclasses import dataclass

from nolabel.errors import ConfigError


@dataclass(frozen=True)
class Style:
    """How a scene becomes an image.

    name: the style's name. texture: gain of the surface noise. saturation: of all albedos (1 = as built).
    weather: how much of the scene's dusk, overcast, wet and haze is used. reflections: strength of glossy surfaces.
    grime: dirt, patches and cracks. contact: darkness below objects. blur: lens blur (px, standard deviation).
    vignette: darkening of the corners. noise: sensor noise at middle grey (share of full scale).
    antialias: extra rays per pixel at outlines, 0 to 2. filmic: camera-like tone curve instead of plain gamma.
    """

    name: str
    texture: float
    saturation: float
    weather: float
    reflections: float
    grime: float
    contact: float
    blur: float
    vignette: float
    noise: float
    antialias: int
    filmic: bool


STYLES = {
    "real": Style("real", 1.0, 0.74, 1.0, 1.0, 1.0, 0.75, 0.5, 0.28, 0.010, 2, True),
    "synthetic": Style("synthetic", 0.62, 1.65, 0.0, 0.25, 0.0, 0.35, 0.0, 0.0, 0.0, 0, False),
}


def get_style(style: str | Style) -> Style:
    """The style of that name.

    Raises:
        ConfigError: there is no such style.
    """
    if isinstance(style, Style):
        return style
    if style not in STYLES:
        raise ConfigError(f"unknown style {style!r}", hint=f"choose one of {', '.join(sorted(STYLES))}")
    return STYLES[style]
