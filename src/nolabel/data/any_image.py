"""One image from whatever holds one: a file, a PIL image, an array or a tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nolabel.data.files import read_image
from nolabel.errors import DataError

__all__ = ["to_image"]

_LARGEST = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.bool: 1.0}


def to_image(source: Any) -> Tensor:
    """Turn a path, PIL image, array or tensor into an image tensor.

    Alpha is dropped, grey becomes RGB, and the rotation that a camera notes in EXIF is applied to files and PIL
    images. Colours are taken as RGB: frames of OpenCV are BGR and need ``frame[..., ::-1]``.

    Args:
        source: a file; a PIL image of any mode; an array or tensor (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4
            channels. Integers are 8 bit (uint16: 16 bit), booleans black and white, floats lie in [0, 1].

    Returns:
        (3, H, W) float32 RGB in [0, 1].

    Raises:
        DataError: the file cannot be read, or the shape or the values are not those of an image.
    """
    if isinstance(source, str | Path):
        return read_image(source).as_subclass(Tensor)
    if isinstance(source, Image.Image):
        source = _pixels(source)
    try:
        image = torch.as_tensor(np.array(source, order="C") if isinstance(source, np.ndarray) else source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"an object of type {type(source).__name__} is no image: {error}",
            hint="give a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W)",
        ) from None
    image = _channels_first(image.detach())
    if not image.is_floating_point():
        image = image.float() / _LARGEST.get(image.dtype, 255.0)
    image = image.float()
    low, high = (float(value) for value in image.aminmax())
    if not (low >= -0.01 and high <= 1.01):  # NaN too
        raise DataError(
            f"the values of an image are not in [0, 1]: {low:.4g} .. {high:.4g}",
            hint="divide 8-bit values by 255, or give them as integers",
        )
    return image.clamp(0, 1)


def _pixels(picture: Image.Image) -> np.ndarray:
    """Pixels of a PIL image; deep grey keeps its 16 bits, which ``convert("RGB")`` would clip to white."""
    if picture.mode.startswith("I"):
        return np.asarray(picture).astype(np.uint16)
    return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def _channels_first(image: Tensor) -> Tensor:
    """(3, H, W) of any of the accepted shapes; where both ends may be channels, 3 at the front or else the back."""
    if image.ndim == 2:
        image = image[None]
    elif image.ndim == 3 and image.shape[0] != 3:
        colours_last = image.shape[-1] in (3, 4)
        if colours_last or (image.shape[-1] == 1 and image.shape[0] != 1):
            image = image.permute(2, 0, 1)
    if image.ndim != 3 or image.shape[0] not in (1, 3, 4) or image.numel() == 0:
        raise DataError(
            f"an image of shape {tuple(image.shape)} was given.",
            hint="give a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W)",
        )
    return image.expand(3, -1, -1) if image.shape[0] == 1 else image[:3]
