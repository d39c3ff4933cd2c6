"""The strong view: colour jitter, grey and blur, drawn first and then carried out.

Source: UDASS specification, image 2.7, video 5.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.data.photometric import ColourFactors, JitterConvention, gaussian_blur, jitter_colours, to_grey
from nolabel.methods.quadmix.clip import Clip

__all__ = ["StrongViewConfig", "ViewDraws", "draw_view", "strong_view", "wrapped_view"]


class StrongViewConfig(Config):
    """How strongly frames are changed."""

    jitter: float = Field(0.8, ge=0, le=1)
    """Probability of colour jitter."""
    brightness: float = Field(0.2, ge=0)
    """Factors lie between 1 - this and 1 + this."""
    contrast: float = Field(0.2, ge=0)
    """Likewise."""
    saturation: float = Field(0.2, ge=0)
    """Likewise."""
    hue: float = Field(0.2, ge=0, le=0.5)
    """Turns of the colour wheel, to both sides."""
    convention: JitterConvention = "additive"
    """What the factors mean."""
    grey: float = Field(0.0, ge=0, le=1)
    """Probability of turning grey."""
    blur: float = Field(0.5, ge=0, le=1)
    """Probability of a Gaussian blur."""
    sigma: tuple[float, float] = (0.15, 1.15)
    """Range of its standard deviation, in pixels."""
    sigma_choices: tuple[float, ...] = ()
    """Standard deviations of which one is drawn instead."""
    reference_compat: bool = False
    """As executed: all samples of a call share the decisions whether to jitter, turn grey and blur, and the blur's kernel
    is as wide as a tenth of the frame."""


@dataclass(frozen=True)
class ViewDraws:
    """How B samples are changed; all frames of a sample alike.

    Attributes:
        jitter, grey, blur: (B,) bool.
        factors: of the colours, each (B,).
        order: (B, 4) int64, see :data:`nolabel.data.photometric.COLOUR_CHANGES`.
        sigma: (B,) of the blur, in pixels.
    """

    jitter: Tensor
    factors: ColourFactors
    order: Tensor
    grey: Tensor
    blur: Tensor
    sigma: Tensor

    def part(self, start: int, stop: int) -> ViewDraws:
        """Return the draws of some of the samples."""
        maps = (part[start:stop] for part in (self.jitter, self.order, self.grey, self.blur, self.sigma))
        jitter, order, grey, blur, sigma = maps
        factors = ColourFactors(*(factor[start:stop] for factor in self.factors))
        return ViewDraws(jitter, factors, order, grey, blur, sigma)


def draw_view(generator: torch.Generator, batch: int, config: StrongViewConfig) -> ViewDraws:
    """Draw the changes of ``batch`` samples, on the CPU."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(batch, generator=generator)

    gates = torch.rand(3, 1 if config.reference_compat else batch, generator=generator).expand(3, batch)
    jitter, grey, blur = (
        gate < probability
        for gate, probability in zip(gates, (config.jitter, config.grey, config.blur), strict=True)
    )
    brightness, contrast, saturation = (
        uniform(max(0.0, 1 - reach), 1 + reach)
        for reach in (config.brightness, config.contrast, config.saturation)
    )
    factors = ColourFactors(brightness, contrast, saturation, uniform(-config.hue, config.hue))
    order = torch.rand(batch, 4, generator=generator).argsort(1)
    if config.sigma_choices:
        place = torch.randint(len(config.sigma_choices), (batch,), generator=generator)
        sigma = torch.tensor(config.sigma_choices)[place]
    else:
        sigma = uniform(*config.sigma)
    return ViewDraws(jitter, factors, order, grey, blur, sigma)


def strong_view(clip: Clip, draws: ViewDraws, config: StrongViewConfig) -> Clip:
    """Change the frames of clips; labels, weights and flow stay.

    Args:
        clip: frames in [0, 1].
        draws: for each sample.
        config: conventions.
    """
    return replace(clip, frames=_changed(clip.frames, draws, config))


def wrapped_view(clip: Clip, draws: ViewDraws, config: StrongViewConfig, mean: Sequence[float]) -> Clip:
    """Change the frames as the original does for videos, where bytes overflow (as executed only).

    It converts what the network expects, bytes minus ``mean``, to an image as if it were in [0, 1], so that values wrap
    around: the result is a distorted negative of tiny range. The frames returned are those that give the network the
    original's values; they do not look like pictures.

    Args:
        clip: frames in [0, 1], blue and red as everywhere in place three and one.
        draws: for each sample.
        config: conventions.
        mean: that the network subtracts, (blue, green, red), on the scale of bytes.
    """
    offset = torch.tensor(mean, device=clip.frames.device)[:, None, None]
    expected = (clip.frames.float() * 255).round().flip(-3) - offset
    wrapped = (expected * 255).trunc().long().remainder(256).float() / 255
    changed = _changed(wrapped, draws, config)
    return replace(clip, frames=((changed + offset) / 255).flip(-3))


def _changed(frames: Tensor, draws: ViewDraws, config: StrongViewConfig) -> Tensor:
    """Change frames (B, T, 3, H, W); only the samples that need it are computed."""
    result = frames.clone()
    # Samples differ in the order of their changes, and the mean grey is that of all frames: one sample at a time.
    for place in (draws.jitter | draws.grey).nonzero()[:, 0].tolist():
        tall = torch.cat(result[place].unbind(0), dim=-2)[None]
        if bool(draws.jitter[place]):
            factors = ColourFactors(*(factor[place : place + 1] for factor in draws.factors))
            tall = jitter_colours(tall, factors, draws.order[place].tolist(), convention=config.convention)
        if bool(draws.grey[place]):
            tall = to_grey(tall)
        result[place] = torch.stack(tall[0].chunk(frames.shape[1], dim=-2))
    blurred = draws.blur.nonzero()[:, 0]
    if len(blurred):
        there = blurred.to(frames.device)
        sigma = draws.sigma[blurred].repeat_interleave(frames.shape[1])
        smooth = gaussian_blur(result[there].flatten(0, 1), sigma, reference_compat=config.reference_compat)
        result[there] = smooth.unflatten(0, (len(blurred), frames.shape[1]))
    return result
