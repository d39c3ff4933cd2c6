"""Colours for results: id-stable instance colours, overlays on an image, the flow wheel."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import distinct_colours
from nolabel.structures._checks import as_tensor

__all__ = ["blend", "boundaries", "flow_colours", "image_uint8", "instance_colours", "show_picture"]

Picture = npt.NDArray[np.uint8]


def image_uint8(image: Any) -> Picture:
    """An image as (H, W, 3) uint8 RGB.

    Args:
        image: PIL image; (3, H, W) or (H, W, 3), uint8 or float in [0, 1].

    Raises:
        DataError: another shape.
    """
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    tensor = as_tensor(image, "image")
    if tensor.ndim == 3 and tensor.shape[0] == 3:
        tensor = tensor.permute(1, 2, 0)
    if tensor.ndim != 3 or tensor.shape[2] != 3:
        raise DataError(f"image: expected shape (3, H, W) or (H, W, 3), got {tuple(tensor.shape)}")
    if tensor.is_floating_point():
        tensor = (tensor.float().clamp(0, 1) * 255).round()
    return tensor.to(torch.uint8).numpy()


def instance_colours(ids: Tensor) -> Picture:
    """The colour of every instance id; an id has the same colour in every image, 0 is black.

    Args:
        ids: any shape, integers >= 0.

    Returns:
        (..., 3) uint8.
    """
    colours = distinct_colours(720)
    array = ids.numpy()
    return np.where(array[..., None] > 0, colours[(array - 1) % len(colours)], np.uint8(0))


def boundaries(ids: Tensor) -> npt.NDArray[np.bool_]:
    """Where a pixel's id differs from that of its right or lower neighbour: (H, W) bool."""
    array = ids.numpy()
    edge = np.zeros(array.shape, bool)
    edge[:, :-1] |= array[:, :-1] != array[:, 1:]
    edge[:-1] |= array[:-1] != array[1:]
    return edge


def blend(image: Any, colours: Picture, alpha: float, where: npt.NDArray[np.bool_] | None = None) -> Picture:
    """Lay colours over an image.

    Args:
        image: see :func:`image_uint8`; its size must be that of the colours.
        colours: (H, W, 3) uint8.
        alpha: weight of the colours, 0..1.
        where: (H, W) pixels to colour; everywhere by default.

    Raises:
        DataError: the sizes differ or alpha is out of range.
    """
    base = image_uint8(image)
    if base.shape != colours.shape:
        raise DataError(
            f"image: expected the size of the result {colours.shape[:2]}, got {base.shape[:2]}",
            hint="resize the image, or predict at its own size",
        )
    if not 0 <= alpha <= 1:
        raise DataError(f"alpha must be in 0..1, got {alpha}")
    mixed = np.rint((1 - alpha) * base + alpha * colours.astype(np.float32)).astype(np.uint8)
    return mixed if where is None else np.where(where[..., None], mixed, base)


def flow_colours(flow: Tensor, largest: float | None = None) -> Picture:
    """Direction as hue, length as saturation: still pixels are white.

    Args:
        flow: (2, H, W) pixels; not finite = black.
        largest: the length that is fully saturated; by default the 99th percentile.

    Returns:
        (H, W, 3) uint8.
    """
    flow = flow.float()
    finite = torch.isfinite(flow).all(dim=0)
    flow = torch.where(finite, flow, 0.0)
    length = flow.norm(dim=0)
    if largest is None:
        seen = np.sort(length[finite].numpy())
        largest = float(seen[int(0.99 * (len(seen) - 1))]) if len(seen) else 0.0
    saturation = (length / max(largest, 1e-6)).clamp(max=1)
    sector = torch.atan2(-flow[1], flow[0]) / (torch.pi / 3)
    # The HSV wheel, written per channel: c = 1 - s * clamp(min(k, 4 - k), 0, 1) with k = (n + h / 60) mod 6.
    k = (torch.tensor([5.0, 3.0, 1.0])[:, None, None] + sector) % 6
    rgb = 1 - saturation * torch.minimum(k, 4 - k).clamp(0, 1)
    picture = (torch.where(finite, rgb, 0.0) * 255).round().to(torch.uint8)
    return picture.permute(1, 2, 0).contiguous().numpy()


def show_picture(picture: Picture) -> Image.Image:
    """Give a PIL image; outside a notebook (where a returned picture shows itself) also open a viewer."""
    image = Image.fromarray(picture)
    if not hasattr(builtins, "get_ipython") and not hasattr(builtins, "__IPYTHON__"):
        image.show()
    return image
