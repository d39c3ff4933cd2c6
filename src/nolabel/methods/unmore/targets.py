"""What the objectness network is taught: boundary and centre field of the object in a crop, made of its mask.

All functions work on batches; rows come before columns everywhere. Source: unMORE specification, 3.1 (ICML 2025, 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.methods.unmore.distances import Metric, relative_distance

__all__ = [
    "ObjectTargets",
    "centre_field",
    "crop_and_resize",
    "object_centres",
    "object_targets",
    "resize_masks",
    "whole_targets",
]


@dataclass(frozen=True)
class ObjectTargets:
    """The fields of the objects of N crops.

    Attributes:
        boundary: (N, S, S) in [-1, 1]: inside, the distance to the boundary as part of the object's largest (of the whole
            object, also where the crop cuts it); outside minus the distance to the object as part of the crop's largest,
            or 0.
        centre: (N, 2, S, S) unit vectors (row, column) that point away from the object's centre; 0 outside.
        mask: (N, S, S) bool.
        point: (N, 2) the object's centre (row, column) in pixels of the crop; it may lie outside.
    """

    boundary: Tensor
    centre: Tensor
    mask: Tensor
    point: Tensor

    @property
    def usable(self) -> Tensor:
        """(N,) bool: crops with object and background; the others teach nothing (specification, 5)."""
        return self.mask.flatten(1).any(1) & ~self.mask.flatten(1).all(1)

    def __getitem__(self, chosen: Tensor) -> ObjectTargets:
        return ObjectTargets(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def object_targets(
    masks: Tensor, crops: Tensor, size: int, *, background: bool = True, metric: Metric = "chamfer"
) -> ObjectTargets:
    """Draw the fields of crops.

    Args:
        masks: (N, C, C) bool, objects on their canvas (400 x 400 in the paper).
        crops: (N, 4) int64, top, left, height, width on the canvas.
        size: side of the results, pixels.
        background: whether the boundary field goes on outside the object.
        metric: of distances.
    """
    # Of the whole object, before the crop: a crop that cuts it keeps its values.
    inside = crop_and_resize(relative_distance(masks, metric)[:, None], crops, size)[:, 0]
    cropped = crop_and_resize(masks[:, None], crops, size, nearest=True)[:, 0]
    # The ratio first: another order moves unit vectors beside the centre.
    ratio = size / crops[:, 2:].float()
    points = (object_centres(masks) - crops[:, :2]) * ratio
    return _fields(inside, cropped, points, background, metric)


def whole_targets(
    masks: Tensor, size: int, *, background: bool = True, metric: Metric = "chamfer"
) -> ObjectTargets:
    """Draw the fields of whole images: those of :func:`object_targets` without a crop.

    Args:
        masks: (N, C, C) bool, objects on their canvas.
        size, background, metric: as there; distances are taken at ``size``.
    """
    small = resize_masks(masks, (size, size))
    ratio = torch.tensor([size / masks.shape[-2], size / masks.shape[-1]], device=masks.device)
    points = object_centres(masks) * ratio
    return _fields(relative_distance(small, metric), small, points, background, metric)


def object_centres(masks: Tensor) -> Tensor:
    """Return the middles (row, column) of the tight boxes of masks (N, H, W), (N, 2) float32; 0 where empty."""
    middles = []
    for along in (2, 1):  # what is seen from the side, then from above
        seen = masks.any(along)
        first = seen.int().argmax(1)
        last = seen.shape[1] - 1 - seen.flip(1).int().argmax(1)
        middles.append(torch.where(seen.any(1), (first + last).float() / 2, 0.0))
    return torch.stack(middles, dim=1)


def centre_field(points: Tensor, masks: Tensor) -> Tensor:
    """Return unit vectors (row, column) away from points (N, 2), inside masks (N, S, S): (N, 2, S, S) float32."""
    height, width = masks.shape[-2:]
    rows = torch.arange(height, device=masks.device) - points[:, :1]
    columns = torch.arange(width, device=masks.device) - points[:, 1:]
    away = torch.stack(
        [rows[:, :, None].expand(-1, -1, width), columns[:, None, :].expand(-1, height, -1)], dim=1
    )
    return F.normalize(away, dim=1) * masks[:, None]


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (N, H, W) bool to the nearest pixel."""
    return F.interpolate(masks[:, None].float(), size=size, mode="nearest")[:, 0] > 0


def crop_and_resize(maps: Tensor, crops: Tensor, size: int, *, nearest: bool = False) -> Tensor:
    """Cut a crop out of each map and resize it, as cutting first and resizing then does.

    Args:
        maps: (N, K, H, W), any type where ``nearest``.
        crops: (N, 4) int64, top, left, height, width.
        size: side of the results.
        nearest: take the nearest pixel instead of bilinear weights (half-pixel centres, no antialias).

    Returns:
        (N, K, size, size).
    """
    batch = torch.arange(len(maps), device=maps.device)[:, None, None]
    (top, left, height, width) = crops.unbind(1)
    if nearest:
        rows, columns = _nearest(top, height, size), _nearest(left, width, size)
        return maps[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    (r0, r1, down), (c0, c1, along) = _neighbours(top, height, size), _neighbours(left, width, size)
    number = torch.arange(len(maps), device=maps.device)[:, None]
    upper, lower = (maps[number, :, rows] for rows in (r0, r1))  # (N, S, K, W)
    down = down[:, :, None, None]
    mixed = (upper * (1 - down) + lower * down).permute(0, 3, 2, 1)  # (N, W, K, S rows)
    first, second = (mixed[number, columns] for columns in (c0, c1))  # (N, S columns, K, S rows)
    along = along[:, :, None, None]
    return (first * (1 - along) + second * along).permute(0, 2, 3, 1)


def _fields(inside: Tensor, masks: Tensor, points: Tensor, background: bool, metric: Metric) -> ObjectTargets:
    # Bilinear weights let the inside leak out by up to a pixel; the outside is added to whatever is there.
    boundary = inside - relative_distance(~masks, metric) if background else inside
    return ObjectTargets(boundary, centre_field(points, masks), masks, points)


def _nearest(start: Tensor, length: Tensor, size: int) -> Tensor:
    places = torch.arange(size, device=start.device)
    steps = (places * (length / size)[:, None]).long()
    return start[:, None] + torch.minimum(steps, length[:, None] - 1)


def _neighbours(start: Tensor, length: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two positions (N, S) between which each resized pixel lies, and the weight of the second."""
    places = torch.arange(size, device=start.device) + 0.5
    position = (places * (length / size)[:, None] - 0.5).clamp(min=0)
    near = torch.minimum(position.long(), length[:, None] - 1)
    far = torch.minimum(near + 1, length[:, None] - 1)
    return start[:, None] + near, start[:, None] + far, position - near
