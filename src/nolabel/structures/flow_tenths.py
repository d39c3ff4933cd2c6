"""Flow as UDASS stores it: int16, tenths of a pixel (spec ``udass_video.md`` 2.4)."""

from __future__ import annotations

import io

import numpy as np
from torch import Tensor

__all__ = ["TENTHS", "encode_tenths", "tenths"]

TENTHS = "_int16_x10.npy"
"""How the names of the files end."""


def tenths(flow: Tensor) -> Tensor:
    """Return flow in pixels as these files keep it: cut to tenths, at most 3276.7, unknown is 0."""
    limit = float(np.iinfo(np.int16).max)
    # In float32 ten times 0.7 is 7: what was read from a file is written back as it was.
    return (flow.float().nan_to_num(0.0) * 10).clamp(-limit, limit).trunc() / 10


def encode_tenths(flow: Tensor) -> bytes:
    """Return the content of a file: int16 (H, W, 2), ten times the flow.

    Args:
        flow: (2, H, W) pixels.
    """
    buffer = io.BytesIO()
    values = (tenths(flow) * 10).round().permute(1, 2, 0).cpu().numpy().astype(np.int16)
    np.save(buffer, np.ascontiguousarray(values))
    return buffer.getvalue()
