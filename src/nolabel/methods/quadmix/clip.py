"""The sample that QuadMix works on: one frame, or two with the flow between them; and pasting one onto another.

Source: UDASS common specification, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nolabel.data import mixing

__all__ = ["Clip", "class_mask", "half_of_each", "paste"]


@dataclass(frozen=True)
class Clip:
    """B samples of T frames: T = 1 for images, T = 2 for video (0 = current frame, 1 = key frame before it).

    Attributes:
        frames: (B, T, 3, H, W) RGB in [0, 1].
        labels: (B, T, H, W) int64, 255 = ignore.
        weight: (B, T, H, W) weight of each pixel in the loss; None: 1 everywhere.
        flow: (B, T - 1, 2, H, W) from the current to the key frame, on the grid of the current one, in pixels of this
            grid; None without motion.
        confidence: (B, T, H, W) of a teacher in its labels, in [0, 1]; None for true labels.
    """

    frames: Tensor
    labels: Tensor
    weight: Tensor | None = None
    flow: Tensor | None = None
    confidence: Tensor | None = None

    @classmethod
    def of_images(
        cls, images: Tensor, labels: Tensor, weight: Tensor | None = None, confidence: Tensor | None = None
    ) -> Clip:
        """Make clips of one frame from images (B, 3, H, W) and maps (B, H, W)."""
        maps = (None if part is None else part[:, None] for part in (weight, confidence))
        weight, confidence = maps
        return cls(images[:, None], labels[:, None].long(), weight=weight, confidence=confidence)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.labels.shape[-2:]
        return height, width

    def window(self, top: Tensor, left: Tensor, size: tuple[int, int]) -> Clip:
        """Cut a window out of all frames of each sample, flow included.

        Args:
            top, left: (B,) int64 first row and column, for each sample.
            size: height and width.
        """
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return replace(
            self, **{n: cut_windows(p, top, left, size) for n, p in parts.items() if p is not None}
        )

    def detach(self) -> Clip:
        """Return the same clip without its history."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return replace(self, **{name: part.detach() for name, part in parts.items() if part is not None})


def cut_windows(maps: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a window of ``size`` out of each sample of (B, ..., H, W); ``top`` and ``left`` (B,) are its corner."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    # Draws lie on the CPU: reading them costs nothing, and a slice copies less than an index would.
    corners = zip(top.tolist(), left.tolist(), strict=True)
    cuts = [
        sample[..., y : y + size[0], x : x + size[1]] for sample, (y, x) in zip(maps, corners, strict=True)
    ]
    return torch.stack(cuts)


def class_mask(clip: Clip, classes: Tensor, least_confidence: float | None = None) -> Tensor:
    """Return (B, T, H, W) bool: the pixels of given classes.

    Args:
        clip: where.
        classes: (B, 256) bool, for each sample the classes (all frames share them).
        least_confidence: pixels below it are left out, where the clip has confidences.
    """
    mask = mixing.pixels_of(clip.labels, classes)
    if least_confidence is None or clip.confidence is None:
        return mask
    return mask & (clip.confidence >= least_confidence)


def paste(base: Clip, donor: Clip, mask: Tensor, *, reference_compat: bool = False) -> Clip:
    """Take ``donor`` where the mask is set and ``base`` elsewhere: frames, labels, weights and flow.

    Args:
        base, donor: clips of equal shape. A weight that only one has counts as 1 in the other.
        mask: (B, T, H, W) bool.
        reference_compat: mix the flow with the mask of the key frame. It lies on the grid of the current one, whose mask
            is used otherwise.

    Returns:
        The mixed clip, without confidences.
    """
    flow = base.flow
    if base.flow is not None and donor.flow is not None:
        flow_mask = mask[:, 1:] if reference_compat else mask[:, :-1]
        flow = mixing.paste(flow_mask, donor.flow, base.flow)
    return Clip(
        frames=mixing.paste(mask, donor.frames, base.frames),
        labels=mixing.paste(mask, donor.labels, base.labels),
        weight=_mixed_weight(base.weight, donor.weight, mask),
        flow=flow,
    )


def half_of_each(source: Clip, target: Clip) -> Clip:
    """Return as many samples: the first ones of the source, the others of the target."""
    batch = len(source.labels)
    first, second = batch // 2, batch - batch // 2
    weight = target.weight
    if weight is not None:
        weight = torch.cat([torch.ones_like(weight[:first]), weight[:second]])
    return Clip(
        torch.cat([source.frames[:first], target.frames[:second]]),
        torch.cat([source.labels[:first], target.labels[:second]]),
        weight,
    )


def _mixed_weight(base: Tensor | None, donor: Tensor | None, mask: Tensor) -> Tensor | None:
    known = base if base is not None else donor
    if known is None:
        return None
    one = known.new_ones(())
    return mixing.paste(mask, one if donor is None else donor, one if base is None else base)
