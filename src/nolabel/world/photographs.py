"""Photographs of single objects: windows of rendered frames around one thing each, as people take pictures of things.

What ImageNet is to unMORE: somebody chose the object and stood before it; no mask is needed for that. The exact masks
are written beside them to score with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nolabel.structures.files import encode_json
from nolabel.world.coco_files import PARTS, annotations_of
from nolabel.world.encoding import image_png
from nolabel.world.render import WorldFrame

if TYPE_CHECKING:
    from nolabel.world.settings import WorldSettings

__all__ = ["around_object", "photograph_files"]

LEAST_AREA = 0.003
"""Of the frame: smaller things are not worth a picture where there are larger ones."""
MARGIN = (1.2, 2.2)
"""Least and largest side of the window, in longer sides of the object's box."""
OFF_CENTRE = 0.15
"""How far from the window's middle the object's is at most, in sides of the window."""
LEAST_SIDE = 48  # pixels
MAPS = ("image", "depth", "disparity", "semantic", "instance", "actor", "part")


def photograph_files(
    s: WorldSettings, scene: int, index: int, frame: Callable[[], WorldFrame]
) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Photograph i of all, from 1, and what is annotated in it."""
    number = scene * s.frames + index + 1
    taken: list[WorldFrame] = []

    def photograph() -> WorldFrame:
        if not taken:
            taken.append(around_object(frame(), torch.Generator().manual_seed(s.seed + scene + 7919 * index)))
        return taken[0]

    yield f"images/{number:06d}.png", lambda: image_png(photograph())
    yield f"{PARTS}/{number:06d}.json", lambda: encode_json(annotations_of(number, photograph()))


def around_object(frame: WorldFrame, generator: torch.Generator) -> WorldFrame:
    """Return a square window around one of the larger things that lie within the frame; the whole frame if there is none.

    Args:
        frame: a rendered frame, instance ids 0 where there is no thing.
        generator: draws the object and the window.
    """
    boxes, areas = _things(frame.instance.cpu())
    if not len(boxes):
        return frame
    height, width = frame.instance.shape
    limits = torch.tensor([width, height, width, height])
    whole = (boxes > 0).all(dim=1) & (boxes < limits).all(dim=1)
    large = areas >= LEAST_AREA * height * width
    for candidates in (whole & large, whole, torch.ones_like(whole)):
        if candidates.any():
            break
    places = candidates.nonzero()[:, 0]
    chosen = places[torch.multinomial(areas[places].double().sqrt(), 1, generator=generator)]
    rows, columns = _window(boxes[chosen][0].double(), (height, width), generator)
    matrix = frame.matrix.clone()
    matrix[:2, 2] -= torch.tensor([columns.start, rows.start])
    maps = {name: getattr(frame, name)[..., rows, columns] for name in MAPS}
    return replace(frame, matrix=matrix, **maps)


def _things(instance: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (K, 4) as XYXY with exclusive maxima, and areas (K,)."""
    rows, columns = (instance > 0).nonzero(as_tuple=True)
    _, which = instance[rows, columns].unique(return_inverse=True)
    count = int(which.max()) + 1 if len(which) else 0
    corners = torch.stack([columns, rows, -columns - 1, -rows - 1], dim=1)
    boxes = torch.full((count, 4), torch.iinfo(torch.long).max)
    boxes = boxes.scatter_reduce(0, which[:, None].expand(-1, 4), corners, "amin")
    boxes[:, 2:] *= -1
    return boxes, torch.bincount(which, minlength=count)


def _window(box: Tensor, size: tuple[int, int], generator: torch.Generator) -> tuple[slice, slice]:
    margin, across, down = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    longer = max(float(box[2] - box[0]), float(box[3] - box[1]))
    side = min(max(LEAST_SIDE, longer * (MARGIN[0] + margin * (MARGIN[1] - MARGIN[0]))), *size)
    slices = []
    for first, last, shift, length in (
        (box[1], box[3], down, size[0]),
        (box[0], box[2], across, size[1]),
    ):
        start = float(first + last) / 2 - side / 2 + (2 * shift - 1) * OFF_CENTRE * side
        begin = round(min(max(0.0, start), length - side))
        slices.append(slice(begin, begin + round(side)))
    return slices[0], slices[1]
