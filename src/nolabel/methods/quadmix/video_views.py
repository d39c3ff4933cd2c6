"""What a training on video draws besides its classes: mirrored teacher frames, the student's view of target frames.

Source: UDASS specification (video) 5.4 (1), 5.5 and 5.8.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.strong_view import ViewDraws, draw_view, strong_view, wrapped_view
from nolabel.methods.quadmix.video_settings import TemporalConfig
from nolabel.models.video_segmentation.normalise import MEAN

__all__ = ["VideoDraws", "draw_video", "rescaled", "student_view"]

STRIDE = 8
"""Rescaled frames have sides that are multiples of it."""


class VideoDraws(NamedTuple):
    """The draws of an iteration for its target clips.

    Attributes:
        mirrored: (B,) bool: clips that the teacher sees mirrored.
        view: changes of the frames that the student sees.
        scale: factor of their sides in the loss on moved labels.
    """

    mirrored: Tensor
    view: ViewDraws
    scale: float = 1.0


def draw_video(generator: torch.Generator, batch: int, config: TemporalConfig) -> VideoDraws:
    """Draw for ``batch`` clips, on the CPU."""
    mirrored = torch.rand(batch, generator=generator) < config.flip
    view = draw_view(generator, batch, config.strong_view)
    share = float(torch.rand((), generator=generator))
    low, high = config.scales or (1.0, 1.0)
    return VideoDraws(mirrored, view, low + (high - low) * share)


def student_view(clip: Clip, draws: VideoDraws, config: TemporalConfig) -> Clip:
    """Return target clips as the student sees them."""
    if config.reference_compat:
        return wrapped_view(clip, draws.view, config.strong_view, MEAN)
    return strong_view(clip, draws.view, config.strong_view)


def rescaled(frames: Tensor, scale: float) -> Tensor:
    """Resize frames (B, 3, H, W) by a factor, to sides that networks like."""
    if scale == 1:
        return frames
    size = [max(1, round(side * scale / STRIDE)) * STRIDE for side in frames.shape[-2:]]
    return F.interpolate(frames, size, mode="bilinear", align_corners=True)
