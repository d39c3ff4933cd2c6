"""Scores of two-frame networks: IoU on labelled frames, and whether predictions follow the motion.

Source: UDASS specification (video) 6.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nolabel.data.video_clips import VideoClips
from nolabel.engine.progress import Progress
from nolabel.engine.segmentation_scoring import SegmentationResult
from nolabel.geometry import resize_flow
from nolabel.metrics import SegmentationScores, TemporalConsistency
from nolabel.metrics.confusion import confusion_matrix
from nolabel.models.video_segmentation import TwoFrameSegmentor, enlarge_corners

__all__ = ["VideoResult", "VideoScorer", "score_video"]


@dataclass(frozen=True)
class VideoResult(SegmentationResult):
    """Scores of a video data set.

    Attributes:
        consistency: mIoU of a frame's prediction and that of the frame before moved along the flow, 0 .. 1.
    """

    consistency: float = float("nan")

    def table(self) -> str:
        """Return the scores in percent as text."""
        return f"{super().table()}\ntemporal consistency: {100 * self.consistency:.2f}"


@torch.no_grad()
def score_video(
    network: TwoFrameSegmentor,
    clips: VideoClips,
    *,
    facts: dict[str, Any] | None = None,
    progress: bool = True,
) -> VideoResult:
    """Score a network on labelled frames.

    Args:
        network: in evaluation mode, on its device.
        clips: labelled frames with the two before them and flow between neighbours
            (:func:`nolabel.methods.quadmix.video_data.open_evaluation`).
        facts: what the results say about the network.
        progress: show progress.
    """
    device = next(network.parameters()).device
    classes, began = clips.space.num_classes, time.monotonic()
    confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)
    consistency = TemporalConsistency(classes)
    with Progress("evaluate", len(clips), unit="frames", enabled=progress) as bar:
        for index in range(len(clips)):
            sample = clips[index]
            frames = torch.as_tensor(sample["frames"]).to(device)
            size = (frames.shape[-2], frames.shape[-1])
            flow = resize_flow(torch.as_tensor(sample["flow"]).to(device), size)
            labels = torch.as_tensor(sample["labels"])[0]
            now, before = _scores(network, frames, flow)
            found = enlarge_corners(now, (labels.shape[-2], labels.shape[-1])).argmax(1)[0].cpu()
            confusion += confusion_matrix(found, labels, classes, classes)
            current, previous = (enlarge_corners(part, size).argmax(1).cpu() for part in (now, before))
            consistency.follow(current, previous, flow[:1].cpu())
            bar.advance()
    return VideoResult(
        SegmentationScores(clips.space, confusion.numpy()),
        f"{clips.root.resolve().name}/{clips.split}",
        len(clips),
        facts or {},
        seconds=time.monotonic() - began,
        consistency=float(consistency.compute().miou),
    )


@dataclass(frozen=True)
class VideoScorer:
    """Scores a network during its training: ``miou``, ``accuracy``, ``consistency``, every IoU, in [0, 1]."""

    clips: VideoClips

    def __call__(self, network: TwoFrameSegmentor) -> dict[str, float]:
        """Score one."""
        result = score_video(network, self.clips, progress=False)
        values = result.scores.values() | {"consistency": result.consistency}
        return {name: value for name, value in values.items() if not math.isnan(value)}


def _scores(network: TwoFrameSegmentor, frames: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Score frame t and frame t - 1 of (t, t - 1, t - 2), each frame through the network once."""
    alone = [network.frame_scores(frame[None]) for frame in frames]
    return tuple(  # type: ignore[return-value]
        network.fuse(alone[i], alone[i + 1], flow[i : i + 1]).main for i in range(2)
    )
