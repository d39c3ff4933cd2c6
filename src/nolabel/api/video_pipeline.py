"""Loaded two-frame networks: call them on anything that holds frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nolabel.api.pipelines import Pipeline, images_of, is_many
from nolabel.api.predict_video import predict_video
from nolabel.data import to_image
from nolabel.engine.motion_estimators import open_estimator
from nolabel.engine.predict_files import PredictionSummary
from nolabel.engine.predicting import PredictionOptions
from nolabel.labels import LabelSpace
from nolabel.methods.quadmix.video_model import VideoModel
from nolabel.methods.quadmix.video_predict import VideoPredictor
from nolabel.models.motion import MotionEstimator
from nolabel.structures import SemanticMap

__all__ = ["VideoPipeline"]


class VideoPipeline(Pipeline):
    """A loaded network for video (QuadMix, TPS); results are :class:`~nolabel.structures.SemanticMap`.

    Args:
        model: the network with its classes and size.
        estimator: of the flow between frames, see :func:`nolabel.models.motion.build_motion`; opened when a second frame
            comes.
    """

    def __init__(self, model: VideoModel, estimator: str = "raft_large") -> None:
        self.model, self.estimator = model, estimator
        self._motion: MotionEstimator | None = None

    @property
    def space(self) -> LabelSpace:
        """The label space of the results."""
        return self.model.space

    def __call__(
        self, source: Any, *, output_size: tuple[int, int] | None = None, max_side: int | None = None
    ) -> Any:
        """Predict.

        Args:
            source: an image (see :func:`nolabel.data.to_image`) is seen alone and gives one result; a list of frames, a
                folder or a video file is one video and gives a list of results, in order.
            output_size, max_side: see :class:`PredictionOptions`.

        Raises:
            DataError: something is no image, or cannot be read.
            WeightsError: the weights of the flow estimator are missing.
        """
        results = self.stream(
            source if is_many(source) else [to_image(source)], output_size=output_size, max_side=max_side
        )
        return list(results) if is_many(source) else next(results)

    def stream(
        self,
        frames: str | Path | Iterable[Any],
        *,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
    ) -> Iterator[SemanticMap]:
        """Predict the frames of one video as they come; two are in memory.

        Args:
            frames: any iterable of images, which may never end; or a video file or a folder of frames.
            output_size, max_side: see :class:`PredictionOptions`.

        Yields:
            The result of every frame, in order.
        """
        options = PredictionOptions(1, output_size, max_side)
        predictor = VideoPredictor(self.model, self)
        for frame in images_of(frames):
            yield from predictor([frame], options)

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Estimate the flow (B, 2, H, W) in pixels from one frame (B, 3, H, W) in [0, 1] to another."""
        if self._motion is None:
            self._motion = open_estimator(self.estimator, self.model.device)
        return self._motion.flow(first, second)

    def save(
        self,
        sources: str | Path | Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None = None,
        *,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
        fps: float | None = None,
    ) -> PredictionSummary:
        """Predict videos and folders of frames into a folder; see :func:`nolabel.api.predict_video.predict_video`."""
        return predict_video(
            self.model,
            [sources] if isinstance(sources, str | Path) else sources,
            out,
            estimator=self.estimator,
            formats=formats,
            options=PredictionOptions(1, output_size, max_side),
            fps=fps,
        )
