"""Copy-paste of the detector's training: objects of one image of the batch, scaled, into another (spec unmore 9).

All chance lies in :func:`draw_paste`; :func:`paste_objects` does what the drawn numbers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.methods.unmore.detector_sample import DetectorSample
from nolabel.methods.unmore.detector_settings import CopyPasteConfig
from nolabel.models.detection import mask_boxes

__all__ = ["PasteDraw", "copy_and_paste", "draw_paste", "paste_objects"]

HIDDEN = 0.5
"""A pasted object that would hide this share of an object of the target is left out."""


class PasteDraw(NamedTuple):
    """What is pasted and where.

    Attributes:
        objects: rows of the source's objects.
        ratio: size of the pasted picture as a share of the target's height and width.
        left, top: corner of the pasted picture in the target, pixels.
    """

    objects: tuple[int, ...]
    ratio: float
    left: int
    top: int


def copy_and_paste(
    batch: Sequence[DetectorSample],
    config: CopyPasteConfig,
    generator: torch.Generator,
    *,
    reference_compat: bool = False,
) -> list[DetectorSample]:
    """Paste into every image objects of its opposite in the reversed batch, as they were before any pasting."""
    result = []
    for target, source in zip(batch, reversed(batch), strict=True):
        size = (target.image.shape[-2], target.image.shape[-1])
        draw = draw_paste(len(source.scores), size, config, generator)
        pasted = draw and paste_objects(target, source, draw, reference_compat=reference_compat)
        result.append(pasted or target)
    return result


def draw_paste(
    count: int, size: tuple[int, int], config: CopyPasteConfig, generator: torch.Generator
) -> PasteDraw | None:
    """Draw what to paste: a few of ``count`` objects into a target of ``size`` (height, width).

    Returns:
        ``None`` where nothing is pasted: chance says so, or the source is empty.
    """

    def uniform() -> float:
        return float(torch.rand((), generator=generator))

    def integer(end: int) -> int:
        return int(torch.randint(end, (), generator=generator))

    if uniform() >= config.rate or count == 0:
        return None
    number = 1 if count == 1 else 1 + integer(count - 1)
    objects = torch.randperm(count, generator=generator)[:number].tolist()
    low, high = config.scale
    ratio = low + (high - low) * uniform()
    height, width = _scaled(size, ratio)
    left, top = integer(size[1] - width + 1), integer(size[0] - height + 1)
    return PasteDraw(tuple(objects), ratio, left, top)


def paste_objects(
    target: DetectorSample, source: DetectorSample, draw: PasteDraw, *, reference_compat: bool = False
) -> DetectorSample:
    """Paste objects; the target itself comes back where none of them may be pasted.

    Args:
        target, source: images of any sizes.
        draw: which objects, how large, where.
        reference_compat: as the original: masks grow by every pixel that a scaled mask touches at all, and in a target
            without objects the boxes are the source's, shifted by the wrong axes.
    """
    size = (target.image.shape[-2], target.image.shape[-1])
    height, width = _scaled(size, draw.ratio)
    rows = torch.as_tensor(draw.objects, dtype=torch.long, device=target.image.device)
    window = (slice(draw.top, draw.top + height), slice(draw.left, draw.left + width))
    picture = _resized(source.image, (height, width)).to(torch.uint8)  # truncated, as in the original
    share = _resized(source.masks[rows], (height, width))
    pasted = share > 0 if reference_compat else share >= 0.5
    scores = source.scores[rows]
    kept = pasted.flatten(1).any(dim=1)
    if len(target.scores):
        here = target.masks[:, window[0], window[1]].flatten(1).float()
        hidden = pasted.flatten(1).float() @ here.T
        areas = target.masks.flatten(1).sum(dim=1)
        kept &= (hidden < HIDDEN * areas).all(dim=1)
    if not bool(kept.any()):
        return target
    pasted, scores, rows = pasted[kept], scores[kept], rows[kept]
    cover = pasted.any(dim=0)
    image = target.image.clone()
    image[:, window[0], window[1]] = torch.where(cover, picture, image[:, window[0], window[1]])
    old = target.masks.clone()
    old[:, window[0], window[1]] &= ~cover
    seen = old.flatten(1).any(dim=1)
    new = old.new_zeros((len(pasted), *size))
    new[:, window[0], window[1]] = pasted
    masks = torch.cat([old[seen], new])
    boxes = mask_boxes(masks)
    if reference_compat and len(target.scores) == 0:
        boxes = _misplaced_boxes(source, rows, draw, size)
    return target._replace(
        image=image, masks=masks, boxes=boxes, scores=torch.cat([target.scores[seen], scores])
    )


def _scaled(size: tuple[int, int], ratio: float) -> tuple[int, int]:
    return max(int(ratio * size[0]), 1), max(int(ratio * size[1]), 1)


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, H, W) bilinearly: half-pixel centres, no smoothing of what shrinks."""
    if len(pictures) == 0:
        return pictures.new_zeros((0, *size), dtype=torch.float32)
    return F.interpolate(pictures[None].float(), size, mode="bilinear", align_corners=False)[0]


def _misplaced_boxes(source: DetectorSample, rows: Tensor, draw: PasteDraw, size: tuple[int, int]) -> Tensor:
    """Return the original's boxes in a target without objects: x gets the shift of y, and y that of x."""
    height, width = source.image.shape[-2:]
    x, y = size[1] / width * draw.ratio, size[0] / height * draw.ratio
    scale = source.boxes.new_tensor([x, y, x, y])
    shift = source.boxes.new_tensor([draw.top, draw.left, draw.top, draw.left])
    return source.boxes[rows] * scale + shift
