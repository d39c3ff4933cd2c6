"""Pixel grids and backward warping. Integer coordinates are pixel centres: u in 0..W-1, v in 0..H-1."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry._precision import common_precision

__all__ = ["backward_warp", "pixel_grid", "sample"]

Mode = Literal["bilinear", "nearest", "nearest_up"]
Padding = Literal["zeros", "border"]


def pixel_grid(
    height: int,
    width: int,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """The coordinates of all pixel centres.

    Returns:
        (2, height, width): channel 0 the column u, channel 1 the row v.
    """
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=dtype, device=device),
        torch.arange(width, dtype=dtype, device=device),
        indexing="ij",
    )
    return torch.stack([columns, rows])


def backward_warp(
    image: Tensor,
    flow: Tensor,
    mode: Mode = "bilinear",
    padding_mode: Padding = "zeros",
    reference_compat: bool = False,
) -> tuple[Tensor, Tensor]:
    """Fetch for every pixel p of the flow's grid the image at p + flow.

    Args:
        image: (B, C, H, W), any floating type or, with the ``nearest`` modes, any type.
        flow: (B, 2, h, w) pixels = (dx, dy).
        mode: ``bilinear``, ``nearest`` (halves go to the even neighbour), or ``nearest_up`` (to the larger one, as
            FlowNet2's ``resample2d`` does).
        padding_mode: what lies outside: ``zeros``, or the nearest ``border`` pixel.
        reference_compat: sample as CUPS' published labels did (spec ``cups_pseudo.md`` 4.1 and 4.4). Bilinear:
            coordinates are normalised for corner-aligned sampling but read as not corner-aligned, so x
            becomes x W / (W - 1) - 0.5; inside = the bilinear weight inside the image is >= 0.999. Nearest:
            no offset, but exact halves are decided by the float32 rounding of normalised coordinates.

    Returns:
        warped: (B, C, h, w) in the type of the image.
        inside: (B, 1, h, w) bool, whether the sample lies in the image: between the outer pixel centres for
            ``bilinear``, nearest to one of its pixels for the others. Flow that is not finite is outside.
    """
    (flow,) = common_precision(flow)
    position = pixel_grid(flow.shape[-2], flow.shape[-1], dtype=flow.dtype, device=flow.device) + flow
    if not reference_compat:
        return sample(image, position, mode, padding_mode)
    return _reference_sample(image, position, mode, padding_mode)


def sample(
    image: Tensor, position: Tensor, mode: Mode = "bilinear", padding_mode: Padding = "zeros"
) -> tuple[Tensor, Tensor]:
    """Read an image at arbitrary positions; exact at integer positions.

    ``torch.nn.functional.grid_sample`` normalises coordinates and loses about 1e-4 px on wide images; here the
    coordinates stay pixels, so integer flows shift exactly.

    Args:
        image: (B, C, H, W).
        position: (B, 2, h, w) pixels = (u, v).
        mode: see :func:`backward_warp`.
        padding_mode: see :func:`backward_warp`.

    Returns:
        (B, C, h, w) values and (B, 1, h, w) bool, as :func:`backward_warp`.
    """
    (position,) = common_precision(position)
    height, width = image.shape[-2:]
    u, v = position[:, 0], position[:, 1]
    if mode == "nearest":
        u, v = u.round(), v.round()
    elif mode == "nearest_up":
        u, v = (u + 0.5).floor(), (v + 0.5).floor()
    inside = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    # Beyond one pixel outside nothing changes; the clamp keeps far, infinite and NaN positions indexable.
    u = u.nan_to_num(nan=-2.0).clamp(-2, width + 1)
    v = v.nan_to_num(nan=-2.0).clamp(-2, height + 1)
    if mode != "bilinear":
        warped = _gather(image, u.long(), v.long(), padding_mode)
        return warped, inside[:, None]
    if padding_mode == "border":
        u, v = u.clamp(0, width - 1), v.clamp(0, height - 1)
    u0, v0 = u.floor(), v.floor()
    fu, fv = (u - u0)[:, None], (v - v0)[:, None]
    column, row = u0.long(), v0.long()
    top = torch.lerp(
        _gather(image, column, row, padding_mode).to(fu.dtype),
        _gather(image, column + 1, row, padding_mode).to(fu.dtype),
        fu,
    )
    bottom = torch.lerp(
        _gather(image, column, row + 1, padding_mode).to(fu.dtype),
        _gather(image, column + 1, row + 1, padding_mode).to(fu.dtype),
        fu,
    )
    return torch.lerp(top, bottom, fv).to(image.dtype), inside[:, None]


def _gather(image: Tensor, column: Tensor, row: Tensor, padding_mode: Padding) -> Tensor:
    """Pixels (B, C, h, w) at integer positions (B, h, w)."""
    batch, channels, height, width = image.shape
    index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    index = index.reshape(batch, 1, -1).expand(-1, channels, -1)
    values = image.reshape(batch, channels, -1).gather(2, index).reshape(batch, channels, *row.shape[1:])
    if padding_mode == "border":
        return values
    known = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return torch.where(known[:, None], values, torch.zeros((), dtype=image.dtype, device=image.device))


def _reference_sample(
    image: Tensor, position: Tensor, mode: Mode, padding_mode: Padding
) -> tuple[Tensor, Tensor]:
    """CUPS' samplers: see ``reference_compat`` of :func:`backward_warp`."""
    last = position.new_tensor([image.shape[-1] - 1, image.shape[-2] - 1])
    grid = (2 * position.permute(0, 2, 3, 1) / last - 1).nan_to_num(nan=-4.0).clamp(-4, 4)
    source, grid = common_precision(image, grid)
    aligned = mode == "nearest"  # the bilinear one should be, too: that is the half-pixel quirk
    warped = F.grid_sample(source, grid, mode, padding_mode, align_corners=aligned)
    weight = F.grid_sample(torch.ones_like(source[:, :1]), grid, mode, "zeros", align_corners=aligned)
    return warped.to(image.dtype), weight >= 0.999
