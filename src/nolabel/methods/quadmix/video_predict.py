"""Labels of any video by a two-frame network: frame after frame, with the motion between them estimated on the way.

Source: UDASS specification (video) 4 and 6.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nolabel.data.resizing import resize_image, to_bytes
from nolabel.engine.predicting import PredictionOptions, limited, memory_checked
from nolabel.methods.quadmix.video_model import VideoModel
from nolabel.models.video_segmentation import FrameScores, enlarge_corners
from nolabel.structures import SemanticMap

__all__ = ["FlowEstimator", "VideoPredictor"]


class FlowEstimator(Protocol):
    """What is asked of a :class:`~nolabel.models.motion.MotionEstimator`."""

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow (B, 2, H, W) in pixels that takes pixels of ``first`` to ``second``."""


class VideoPredictor:
    """Labels the frames of a video in their order; every frame passes the network once.

    Args:
        model: the network.
        estimator: of the flow from every frame to the one before it.
    """

    def __init__(self, model: VideoModel, estimator: FlowEstimator) -> None:
        self.model, self.estimator = model, estimator
        self._before: tuple[Tensor, FrameScores] | None = None

    def restart(self) -> None:
        """Forget the frames so far: another video begins. Its first frame is seen alone."""
        self._before = None

    @torch.no_grad()
    def __call__(self, images: list[Tensor], options: PredictionOptions) -> list[SemanticMap]:
        """Label the next frames (3, H, W) RGB in [0, 1] of one size; at their own size or ``options.output_size``."""
        with memory_checked(images):
            return [self._next(image, options) for image in images]

    def _next(self, image: Tensor, options: PredictionOptions) -> SemanticMap:
        model, size = self.model, (image.shape[-2], image.shape[-1])
        frame = resize_image(to_bytes(image).cpu(), model.size or size, "bicubic").float() / 255
        frame = limited(frame[None].to(model.device), options.max_side)
        scores = model.network.frame_scores(frame)
        if self._before is None or self._before[0].shape != frame.shape:
            before, flow = scores, torch.zeros_like(frame[:, :2])
        else:
            previous, before = self._before
            flow = self.estimator.flow(frame, previous).to(model.device).float()
        self._before = (frame, scores)
        fused = model.network.fuse(scores, before, flow).main.float()
        confidence, labels = enlarge_corners(fused, options.output_size or size).softmax(1).max(dim=1)
        return SemanticMap(labels[0].cpu(), model.space, confidence[0].cpu())
