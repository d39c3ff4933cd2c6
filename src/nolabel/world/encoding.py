"""Rendered frames as the bytes of picture files."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from nolabel.structures.files import encode_png
from nolabel.world.render import WorldFrame

__all__ = ["deep_colour_png", "image_jpeg", "image_png", "to_uint8"]

JPEG_QUALITY = 95


def image_png(frame: WorldFrame) -> bytes:
    """The image as 8-bit RGB."""
    return encode_png(to_uint8(frame.image))


def image_jpeg(frame: WorldFrame) -> bytes:
    """The image as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(frame.image)).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def deep_colour_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel from (H, W, 3) uint16, red first; Pillow writes none."""
    _, content = cv2.imencode(".png", np.ascontiguousarray(values[..., ::-1]))
    return content.tobytes()


def to_uint8(image: Tensor) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8, rounded to nearest."""
    return (image * 255 + 0.5).floor().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
