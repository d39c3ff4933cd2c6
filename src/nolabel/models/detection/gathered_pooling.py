"""RoIAlign for processors as one weighted gather.

torchvision's processor kernel works out the bilinear weights anew for every channel, which makes its backward pass four
to five times as slow as its forward pass. The weights do not depend on the channel: every output cell is the same
weighted sum of rows of a (pixels, channels) table, so :func:`torch.nn.functional.embedding_bag` does both passes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["gathered_roi_align"]

CHUNK = 64
"""Boxes padded to a common number of pixels; they are sorted by that number, so little is padded."""


class _Axis(NamedTuple):
    """Along one axis: first pixel (R, size), weights (R, size, K) of the K pixels from there, pixels used (R,)."""

    first: Tensor
    weights: Tensor
    used: Tensor


def gathered_roi_align(feature: Tensor, regions: Tensor, size: int, spatial_scale: float) -> Tensor:
    """Pool regions as ``torchvision.ops.roi_align(..., sampling_ratio=0, aligned=True)`` does, up to rounding.

    Args:
        feature: (B, C, H, W).
        regions: (R, 5): row of the batch, x0, y0, x1, y1 in pixels. Regions without area, or with coordinates that are no
            numbers, give zeros.
        size: output rows and columns.
        spatial_scale: pixels of the feature per pixel of the boxes.

    Returns:
        (R, C, size, size).
    """
    batch, channels, height, width = feature.shape
    if len(regions) == 0:
        return feature.new_zeros((0, channels, size, size))
    edges = torch.nan_to_num(regions[:, 1:], 0.0, 0.0, 0.0) * spatial_scale - 0.5
    rows, columns = (
        _axis(edges[:, 1], edges[:, 3], height, size),
        _axis(edges[:, 0], edges[:, 2], width, size),
    )
    image = regions[:, 0].long() * height
    order = (rows.used * columns.used).argsort()
    indices, weights, lengths = [], [], []
    for chunk in order.split(CHUNK):
        y, row_weights = _pixels(rows, chunk, height)
        x, column_weights = _pixels(columns, chunk, width)
        y = y + image[chunk, None, None]
        indices.append((y[:, :, None, :, None] * width + x[:, None, :, None, :]).flatten())
        weights.append((row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]).flatten())
        lengths.append(_lengths(chunk, size, y.shape[-1] * x.shape[-1]))
    ends = torch.cat(lengths).cumsum(0)
    offsets = torch.cat([ends.new_zeros(1), ends[:-1]])
    table = feature.permute(0, 2, 3, 1).contiguous().view(batch * height * width, channels)
    cells = F.embedding_bag(
        torch.cat(indices), table, offsets, per_sample_weights=torch.cat(weights).to(table.dtype), mode="sum"
    )
    # Rows are put back in order while they are still whole stretches of memory.
    pooled = cells.view(len(regions), size * size * channels)[order.argsort()]
    return pooled.view(len(regions), size, size, channels).permute(0, 3, 1, 2).contiguous()


def _lengths(chunk: Tensor, size: int, pixels: int) -> Tensor:
    """Return how many pixels each output cell of a chunk of boxes gathers."""
    return torch.full((len(chunk) * size * size,), pixels, dtype=torch.long, device=chunk.device)


def _axis(low: Tensor, high: Tensor, pixels: int, size: int) -> _Axis:
    """Spread the samples of every bin over the pixels around them: ceil(bin length) samples, each between two pixels."""
    extent = (high - low).clamp(min=0)
    count = torch.ceil(extent / size)[:, None, None]
    sample = torch.arange(max(int(count.max()), 1), device=low.device)
    cell = torch.arange(size, device=low.device)[None, :, None]
    step = (extent / size)[:, None, None]
    position = low[:, None, None] + step * (cell + (sample + 0.5) / count.clamp(min=1))
    counts = (sample < count) & (position >= -1) & (position <= pixels)
    share = counts / count.clamp(min=1)
    position = position.clamp(0, pixels - 1)
    below = position.floor()
    first = below[..., 0]
    # The samples of a bin are at most one pixel apart, so their pixels follow each other without a gap; rounding may
    # carry the last of them one pixel further.
    slot = (below - first[..., None]).long()
    fraction = position - below
    weights = position.new_zeros((*position.shape[:2], position.shape[2] + 2))
    weights.scatter_add_(2, slot, share * (1 - fraction))
    weights.scatter_add_(2, slot + 1, share * fraction)
    used = 1 + torch.where(weights > 0, torch.arange(weights.shape[2], device=low.device), 0).amax(dim=(1, 2))
    return _Axis(first.long(), weights, used)


def _pixels(axis: _Axis, chunk: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Return the pixels (r, size, k) of some boxes and their weights; pixels beyond the border weigh nothing."""
    most = int(axis.used[chunk].max())
    numbers = axis.first[chunk][..., None] + torch.arange(most, device=chunk.device)
    return numbers.clamp(max=pixels - 1), axis.weights[chunk][..., :most]
