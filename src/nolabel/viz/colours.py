"""Arrays to colours: every function returns an ``(H, W, 3)`` uint8 RGB picture."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nolabel.errors import DataError

Picture = NDArray[np.uint8]
Ids = NDArray[np.int64]
ColourMap = Literal["turbo", "magma", "viridis", "inferno"]

_COLOUR_MAPS = {
    "turbo": cv2.COLORMAP_TURBO,
    "magma": cv2.COLORMAP_MAGMA,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "inferno": cv2.COLORMAP_INFERNO,
}
_COUNTABLE = 1 << 18
_GOLDEN_RATIO = 0.618033988749895
RIGHT, WRONG, VOID = (67, 160, 71), (216, 27, 96), (60, 60, 66)


def to_array(values: ArrayLike | Tensor) -> NDArray[Any]:
    """Numpy array of an array or of a tensor on any device."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def to_picture(image: ArrayLike | Tensor) -> Picture:
    """Make an ``(H, W, 3)`` uint8 picture of an image.

    Args:
        image: ``(3, H, W)`` or ``(H, W, 3)`` or ``(H, W)``, float in 0..1 or uint8; batch axes of
            length 1 are dropped, boolean masks become black and white.

    Raises:
        DataError: no reading of the shape is an image.
    """
    array = to_array(image)
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[-1] != 3 and array.shape[0] in (1, 3):
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3):
        raise DataError(f"an array of shape {array.shape} is no image", hint="give (3, H, W) or (H, W, 3)")
    if array.dtype != np.uint8:
        array = np.round(np.nan_to_num(array.astype(np.float64)).clip(0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def hsv_to_rgb(hue: NDArray[Any], saturation: NDArray[Any], value: NDArray[Any]) -> NDArray[np.float64]:
    """RGB ``(..., 3)`` in 0..1 from hue, saturation and value in 0..1 (hue wraps)."""
    sector = (np.asarray([5.0, 3.0, 1.0]) + 6 * np.asarray(hue)[..., None]) % 6
    ramp = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    value = np.asarray(value)[..., None]
    return value - value * np.asarray(saturation)[..., None] * ramp


def id_colours(ids: ArrayLike) -> NDArray[np.uint8]:
    """Distinct colours ``(N, 3)`` of ids ``(N,)``; the colour of an id never changes. Id 0 is black."""
    numbers = np.asarray(ids, dtype=np.float64)
    hue = (numbers * _GOLDEN_RATIO) % 1
    saturation = 0.55 + 0.4 * ((numbers * 0.37) % 1)
    value = 0.75 + 0.25 * ((numbers * 0.71) % 1)
    colours = np.round(255 * hsv_to_rgb(hue, saturation, value)).astype(np.uint8)
    colours[numbers == 0] = 0
    return colours


def shade(colour: ArrayLike, ids: ArrayLike) -> NDArray[np.uint8]:
    """Shades ``(N, 3)`` of class colours ``(N, 3)`` (or one) that tell instances ``(N,)`` apart.

    Instance 0 keeps the class colour; others move in hue and lightness, always the same for the same id.
    """
    numbers = np.asarray(ids, dtype=np.float64)
    base = np.broadcast_to(np.asarray(colour, dtype=np.uint8), (len(numbers), 3))
    hsv = cv2.cvtColor(np.ascontiguousarray(base[None]), cv2.COLOR_RGB2HSV_FULL)[0].astype(np.float64) / 255
    hue = hsv[:, 0] + 0.16 * ((numbers * _GOLDEN_RATIO) % 1 - 0.5)
    saturation = np.clip(hsv[:, 1], 0.35, 1) * (0.6 + 0.4 * ((numbers * 0.37) % 1))
    value = 0.5 + 0.5 * ((numbers * 0.7548776662) % 1)
    shades = np.round(255 * hsv_to_rgb(hue, saturation, value)).astype(np.uint8)
    return np.where(numbers[:, None] > 0, shades, base)


def label_colours(labels: ArrayLike | Tensor, palette: NDArray[np.uint8]) -> Picture:
    """Colours of a label map ``(H, W)`` by a palette ``(256, 3)``; ids outside 0..255 are void (255)."""
    ids = to_array(labels).astype(np.int64)
    return palette[np.where((ids >= 0) & (ids < len(palette)), ids, len(palette) - 1)]


def instance_colours(instances: ArrayLike | Tensor) -> Picture:
    """Colours of an id map ``(H, W)``; 0 is black."""
    found, index = np.unique(to_array(instances).astype(np.int64), return_inverse=True)
    return id_colours(found)[index.reshape(np.shape(instances))]


def panoptic_colours(
    semantic: ArrayLike | Tensor, instance: ArrayLike | Tensor, palette: NDArray[np.uint8]
) -> Picture:
    """Class colours, shaded for each instance, of maps ``(H, W)``."""
    category, number = (to_array(values).astype(np.int64) for values in (semantic, instance))
    number = np.where((category >= 0) & (category < 255), number, 0)
    number = np.where(number > 0, number, 0)
    stride = int(number.max(initial=0)) + 1
    category = np.where((category >= 0) & (category < len(palette)), category, len(palette) - 1)
    if len(palette) * stride > _COUNTABLE:
        codes, index = np.unique(category * stride + number, return_inverse=True)
        index = index.reshape(category.shape)
    else:  # a table of all pairs costs less than sorting the pixels
        codes, index = np.arange(len(palette) * stride), category * stride + number
    categories, numbers = np.divmod(codes, stride)
    return shade(label_colours(categories, palette), numbers)[index]


def scalar_colours(
    values: ArrayLike | Tensor,
    *,
    low: float | None = None,
    high: float | None = None,
    valid: ArrayLike | Tensor | None = None,
    colour_map: ColourMap = "turbo",
) -> Picture:
    """Colours of a map ``(H, W)`` of numbers.

    Args:
        values: numbers; not finite ones are drawn black.
        low, high: ends of the colour map; by default the 1st and 99th percentile.
        valid: mask ``(H, W)``; the rest is black.
        colour_map: "turbo", "magma", "viridis" or "inferno".
    """
    numbers = to_array(values).astype(np.float64)
    known = np.isfinite(numbers)
    if valid is not None:
        known &= to_array(valid).astype(bool)
    if known.any():
        low = float(np.percentile(numbers[known], 1)) if low is None else low
        high = float(np.percentile(numbers[known], 99)) if high is None else high
    else:
        low, high = 0.0, 1.0
    scaled = np.where(known, (numbers - low) / max(high - low, 1e-12), 0).clip(0, 1)
    mapped = cv2.applyColorMap(np.round(255 * scaled).astype(np.uint8), _COLOUR_MAPS[colour_map])
    return np.where(np.asarray(known)[..., None], mapped[..., ::-1], 0).astype(np.uint8)


def depth_colours(
    depth: ArrayLike | Tensor, *, nearest: float | None = None, farthest: float | None = None
) -> Picture:
    """Colours of a depth map ``(H, W)`` in metres on an inverse scale, near is bright; 0 is unknown."""
    metres = to_array(depth).astype(np.float64)
    inverse = np.divide(1.0, metres, out=np.full(metres.shape, np.nan), where=metres > 0)
    return scalar_colours(
        inverse,
        low=None if farthest is None else 1 / farthest,
        high=None if nearest is None else 1 / nearest,
        colour_map="magma",
    )


def disparity_colours(disparity: ArrayLike | Tensor, *, largest: float | None = None) -> Picture:
    """Colours of a disparity map ``(H, W)`` in pixels, large (near) is bright; 0 and less is unknown."""
    pixels = to_array(disparity)
    return scalar_colours(pixels, low=0.0, high=largest, valid=pixels > 0, colour_map="magma")


def flow_colours(flow: ArrayLike | Tensor, *, largest: float | None = None) -> Picture:
    """Colours of a flow ``(2, H, W)`` in pixels: hue is direction, saturation is length.

    Args:
        flow: (dx, dy); not finite vectors are drawn black.
        largest: length of full saturation; by default the 99th percentile. Give one to compare pictures.
    """
    vectors = to_array(flow).astype(np.float64)
    known = np.isfinite(vectors[0]) & np.isfinite(vectors[1])
    dx, dy = np.where(known, vectors, 0)
    length = np.hypot(dx, dy)
    if largest is None:
        largest = float(np.percentile(length[known], 99)) if known.any() else 1.0
    hue = np.arctan2(dy, dx) / (2 * np.pi) % 1
    colours = hsv_to_rgb(hue, (length / max(largest, 1e-9)).clip(0, 1), 1 - 0.2 * (length > largest))
    return np.round(255 * colours * known[..., None]).astype(np.uint8)


def flow_wheel(size: int = 128) -> Picture:
    """The key of :func:`flow_colours`: a disc whose point (dx, dy) has the colour of that flow."""
    axis = np.linspace(-1, 1, size)
    dx, dy = np.meshgrid(axis, axis)
    outside = np.hypot(dx, dy) > 1
    picture = flow_colours(np.stack([dx, dy]), largest=1.0)
    picture[outside] = 255
    return picture


def error_colours(prediction: ArrayLike | Tensor, target: ArrayLike | Tensor, void: int = 255) -> Picture:
    """Green where the labels ``(H, W)`` agree, red where they differ, grey where the target is void."""
    ours, truth = to_array(prediction), to_array(target)
    colours = np.where(np.equal(ours, truth)[..., None], RIGHT, WRONG)
    return np.where(np.equal(truth, void)[..., None], VOID, colours).astype(np.uint8)


class PrincipalColours(NamedTuple):
    """A linear map from features to colours: give it again to colour other images alike.

    Attributes:
        mean: ``(C,)``.
        axes: ``(C, 3)`` principal directions, the sign of each fixed by its largest entry.
        low, high: ``(3,)`` ends of each colour channel (2nd and 98th percentile).
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def principal_colours(features: ArrayLike | Tensor) -> PrincipalColours:
    """Fit the three principal directions of features ``(..., C, H, W)``."""
    array = to_array(features).astype(np.float64)
    rows = np.moveaxis(array, -3, -1).reshape(-1, array.shape[-3])
    mean = rows.mean(0)
    _, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean))
    axes = np.zeros((len(mean), 3))
    kept = min(3, len(mean))
    axes[:, :kept] = vectors[:, ::-1][:, :kept]
    axes *= np.where(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0) < 0, -1, 1)
    low, high = np.percentile((rows - mean) @ axes, [2, 98], axis=0)
    return PrincipalColours(mean, axes, low, high)


def feature_colours(features: ArrayLike | Tensor, basis: PrincipalColours | None = None) -> Picture:
    """The three principal components of features ``(C, H, W)`` as red, green and blue."""
    array = np.moveaxis(to_array(features).astype(np.float64), 0, -1)
    basis = principal_colours(features) if basis is None else basis
    span = np.where(basis.high > basis.low, basis.high - basis.low, 1)
    return to_picture(((array - basis.mean) @ basis.axes - basis.low) / span)
