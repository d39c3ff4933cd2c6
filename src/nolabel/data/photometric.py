"""Changing what images look like and not where things are: colour jitter, grey, Gaussian blur.

All of it works on batches and takes the random numbers as arguments. Sources: UDASS specification 2.7 (kornia's colour
jitter in its two meanings, and DACS' blur).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "COLOUR_CHANGES",
    "ColourFactors",
    "JitterConvention",
    "distort_colours",
    "gaussian_blur",
    "jitter_colours",
    "reference_kernel_size",
    "to_grey",
]

COLOUR_CHANGES = ("brightness", "contrast", "saturation", "hue")
"""The changes of :func:`jitter_colours`; their order counts in ``order``."""

JitterConvention = Literal["additive", "multiplicative"]
"""``additive``: brightness is added, contrast scales from black, saturation scales that of HSV (kornia 0.5, which MIC
pins). ``multiplicative``: brightness scales, contrast blends with the mean grey of the image, saturation with the grey
image (torchvision, kornia from 0.6 on)."""

GREY = (0.299, 0.587, 0.114)
REACH = 4.5  # standard deviations a kernel extends to each side; beyond lies less than 1e-5 of the weight


class ColourFactors(NamedTuple):
    """How strongly the colours of each of B images are changed, each (B,)."""

    brightness: Tensor
    """Factor; 1 changes nothing."""
    contrast: Tensor
    """Factor; 1 changes nothing."""
    saturation: Tensor
    """Factor; 1 changes nothing."""
    hue: Tensor
    """Turns of the colour wheel; 0 changes nothing."""


def jitter_colours(
    images: Tensor,
    factors: ColourFactors,
    order: Sequence[int] = (0, 1, 2, 3),
    *,
    convention: JitterConvention = "additive",
) -> Tensor:
    """Change brightness, contrast, saturation and hue.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        factors: of each image.
        order: positions in :data:`COLOUR_CHANGES`, first change first; what is not listed is not changed.
        convention: what the factors mean.

    Returns:
        (B, 3, H, W) in [0, 1], of the images' type.
    """
    result = images.float()
    for position in order:
        factor = factors[position].to(result)[:, None, None, None]
        if position == 0:
            result = _brightness(result, factor, convention)
        elif position == 1:
            result = _contrast(result, factor, convention)
        elif position == 2 and convention == "multiplicative":
            result = torch.lerp(to_grey(result), result, factor).clamp_(0, 1)
        else:
            result = _hue_or_saturation(result, factor[:, 0], hue=position == 3)
    return result.to(images.dtype)


def distort_colours(image: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness (by up to 32 of 255), contrast and saturation (by 0.5 to 1.5) and hue (by up to a tenth of a turn).

    Each of the four in every second image; contrast second or last. (mmsegmentation's PhotoMetricDistortion; UDASS
    specification, image 4.4.)

    Args:
        image: (3, H, W) in [0, 1].
        generator: on the CPU.
    """
    gates, shares = torch.rand(5, generator=generator) < 0.5, torch.rand(4, generator=generator) - 0.5
    brightness, contrast, saturation, hue = (2 * shares * gates[:4])[:, None]
    factors = ColourFactors(1 + brightness * 32 / 255, 1 + contrast / 2, 1 + saturation / 2, hue / 10)
    drawn = [place for place in ((0, 1, 2, 3) if gates[4] else (0, 2, 3, 1)) if gates[place]]
    return jitter_colours(image[None], factors, drawn)[0]


def to_grey(images: Tensor) -> Tensor:
    """Return the grey values of RGB images (..., 3, H, W) in all three channels."""
    weights = torch.tensor(GREY, device=images.device, dtype=torch.float32)
    grey = torch.einsum("c,...chw->...hw", weights, images.float()).unsqueeze(-3)
    return grey.to(images.dtype).expand(images.shape)


def gaussian_blur(images: Tensor, sigma: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Blur with a Gaussian; the border is mirrored without repeating the outermost pixels.

    Args:
        images: (B, C, H, W) of any range.
        sigma: (B,) standard deviation for each image, in pixels, above 0.
        reference_compat: a kernel as wide as a tenth of the image, as DACS has it, instead of one that ends where the
            Gaussian does. At the usual sigmas (up to 1.15) the result differs by less than 1e-5 of the range.

    Returns:
        (B, C, H, W) of the images' type.
    """
    sides = images.shape[-2:]
    blurred = []
    # One image at a time: kernels differ in length, and what one image needs stays in the processor's cache.
    for image, width in zip(images.float(), sigma.tolist(), strict=True):
        if reference_compat:
            rows, columns = (reference_kernel_size(side) // 2 for side in sides)
        else:
            rows, columns = (min(math.ceil(REACH * width), side - 1) for side in sides)
        padded = F.pad(image[None], (columns, columns, rows, rows), mode="reflect")[0]
        blurred.append(_smooth(_smooth(padded, width, rows, -2), width, columns, -1))
    return torch.stack(blurred).to(images.dtype)


def reference_kernel_size(length: int) -> int:
    """Return the odd number of taps that DACS' blur takes along an axis of ``length`` pixels (1024: 103)."""
    tenth = math.ceil(0.1 * length)
    return math.floor(tenth - 0.5 + tenth % 2)


def _smooth(padded: Tensor, sigma: float, half: int, axis: int) -> Tensor:
    """Sum 2 half + 1 shifted maps with Gaussian weights: several times faster than a convolution with few channels."""
    distance = torch.arange(-half, half + 1, dtype=torch.float64)
    weights = torch.softmax(-(distance**2) / (2 * sigma**2), dim=0)[half:].tolist()
    length = padded.shape[axis] - 2 * half
    total = padded.narrow(axis, half, length) * weights[0]
    for shift, weight in enumerate(weights[1:], start=1):
        both = padded.narrow(axis, half - shift, length) + padded.narrow(axis, half + shift, length)
        total.add_(both, alpha=weight)
    return total


def _brightness(images: Tensor, factor: Tensor, convention: JitterConvention) -> Tensor:
    changed = images + (factor - 1) if convention == "additive" else images * factor
    return changed.clamp_(0, 1)


def _contrast(images: Tensor, factor: Tensor, convention: JitterConvention) -> Tensor:
    if convention == "additive":
        return (images * factor).clamp_(0, 1)
    mean = to_grey(images)[:, :1].mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, factor).clamp_(0, 1)


def _hue_or_saturation(images: Tensor, factor: Tensor, *, hue: bool) -> Tensor:
    """Turn the hue by, or scale the saturation of HSV with, ``factor`` (B, 1, 1)."""
    value, largest = images.max(dim=1)
    span = value - images.amin(dim=1)
    saturation = span / (value + 1e-8)
    red, green, blue = images.unbind(1)
    safe = torch.where(span == 0, 1, span)
    # Sixths of a turn. Where channels tie, the first one is the largest; greys have hue 0.
    sixths = torch.where(
        largest == 0,
        (green - blue) / safe,
        torch.where(largest == 1, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    if hue:
        sixths = sixths + 6 * factor
    else:
        saturation = (saturation * factor).clamp_(0, 1)
    chroma = value * saturation
    # Each channel falls from the value to the value less the chroma and rises again around the wheel.
    offsets = torch.tensor([5.0, 3.0, 1.0], device=images.device)[None, :, None, None]
    place = torch.remainder(sixths[:, None] + offsets, 6)
    return value[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp_(0, 1)
