"""Loaded models: call them on anything that holds images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from nolabel.api import predict_segmentation
from nolabel.data import find_layout, open_images, to_image
from nolabel.engine.predict_files import PredictionSummary
from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.segment import segment_stream
from nolabel.engine.segmentor_file import SegmentorModel
from nolabel.engine.tracking import InstanceTracker
from nolabel.labels import LabelSpace
from nolabel.methods.cups import predict_files as cups_files
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.predict import predict_stream
from nolabel.methods.unmore import detector_files
from nolabel.methods.unmore.detector_model import DetectorModel
from nolabel.methods.unmore.detector_predict import detect_stream
from nolabel.structures import Instances, PanopticMap, SemanticMap

__all__ = [
    "DetectionPipeline",
    "FramewisePipeline",
    "PanopticPipeline",
    "Pipeline",
    "SegmentationPipeline",
    "images_of",
    "is_many",
]


Result = TypeVar("Result")


class Pipeline(ABC):
    """A loaded model: call it on an image, a list, a folder or a video.

    Example:
        >>> model = nolabel.load("cups")
        >>> result = model("street.png")
        >>> result.save("out/")
    """

    @property
    @abstractmethod
    def space(self) -> LabelSpace:
        """The label space of the results."""

    @abstractmethod
    def __call__(self, source: Any) -> Any:
        """Predict: one result for an image (see :func:`nolabel.data.to_image`), else a list of results, in order."""

    @abstractmethod
    def stream(self, frames: str | Path | Iterable[Any]) -> Iterator[Any]:
        """Predict frames as they come, with at most one batch in memory."""

    @abstractmethod
    def save(
        self,
        sources: str | Path | Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None = None,
    ) -> PredictionSummary:
        """Predict files, folders and videos into a folder."""


class PanopticPipeline(Pipeline):
    """A loaded panoptic model (CUPS); results are :class:`~nolabel.structures.PanopticMap`.

    Args:
        model: network and the meaning of its clusters.
    """

    def __init__(self, model: CupsModel) -> None:
        self.model = model

    @property
    def space(self) -> LabelSpace:
        """The label space of the results."""
        return self.model.output_space

    def __call__(
        self,
        source: Any,
        *,
        batch_size: int = 1,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
        track: bool | None = None,
    ) -> Any:
        """Predict.

        Args:
            source: an image (see :func:`to_image`) gives one result; a list of images, a folder or a video file gives
                a list of results, in order. For long videos :meth:`stream` needs no memory for all of them.
            batch_size, output_size, max_side: see :class:`PredictionOptions`.
            track: keep the instance ids over the images; by default for video files.

        Returns:
            A :class:`~nolabel.structures.PanopticMap`, or a list of them.

        Raises:
            DataError: something is no image, or cannot be read.
        """
        options = PredictionOptions(batch_size, output_size, max_side)
        if not is_many(source):
            return next(predict_stream(self.model, [to_image(source)], options))
        follow = track if track is not None else isinstance(source, str | Path) and not Path(source).is_dir()
        return list(
            predict_stream(self.model, images_of(source), options, InstanceTracker() if follow else None)
        )

    def stream(
        self,
        frames: str | Path | Iterable[Any],
        *,
        batch_size: int = 1,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
        track: bool | InstanceTracker = True,
    ) -> Iterator[PanopticMap]:
        """Predict frames as they come, with at most one batch in memory.

        Args:
            frames: any iterable of images (see :func:`to_image`; RGB), which may never end; or a video file or a
                folder of frames.
            batch_size, output_size, max_side: see :class:`PredictionOptions`; a result comes after every
                ``batch_size`` frames.
            track: keep instance ids, and thereby colours, over the frames; or a tracker with settings of its own.

        Yields:
            The result of every frame, in order.

        Example:
            >>> for result in model.stream("street.mp4"):
            ...     print(result.instances().scores)
        """
        options = PredictionOptions(batch_size, output_size, max_side)
        tracker = track if isinstance(track, InstanceTracker) else InstanceTracker() if track else None
        return predict_stream(self.model, images_of(frames), options, tracker)

    def save(
        self,
        sources: str | Path | Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None = None,
        *,
        batch_size: int = 1,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
        track: bool | None = None,
        fps: float | None = None,
    ) -> PredictionSummary:
        """Predict files, folders and videos into a folder; see :func:`predict_to_folder` for files and errors.

        Args:
            sources: images, folders of images, videos.
            out: folder of the results; files of the same names are replaced.
            formats: of ``labels, instances, coco, cityscapes, overlay, video, gallery``.
            batch_size, output_size, max_side: see :class:`PredictionOptions`.
            track: keep instance ids over the images of a source; by default for videos.
            fps: speed of written videos.
        """
        return cups_files.predict_to_folder(
            self.model,
            [sources] if isinstance(sources, str | Path) else sources,
            out,
            formats=formats,
            options=PredictionOptions(batch_size, output_size, max_side),
            track=track,
            fps=fps,
        )


class FramewisePipeline(Pipeline, Generic[Result]):
    """A loaded model that looks at every image by itself."""

    @abstractmethod
    def results(self, images: Iterable[Tensor], options: PredictionOptions) -> Iterator[Result]:
        """Predict images (3, H, W) in [0, 1] as they come."""

    @abstractmethod
    def write(
        self,
        sources: Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None,
        options: PredictionOptions,
        fps: float | None,
    ) -> PredictionSummary:
        """Predict files, folders and videos into a folder."""

    def __call__(
        self,
        source: Any,
        *,
        batch_size: int = 1,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
    ) -> Any:
        """Predict.

        Args:
            source: an image (see :func:`nolabel.data.to_image`) gives one result; a list of images, a folder or a video
                file gives a list of results, in order. For long videos :meth:`stream` needs no memory for all of them.
            batch_size, output_size, max_side: see :class:`PredictionOptions`.

        Returns:
            A result of the pipeline's kind, or a list of them.

        Raises:
            DataError: something is no image, or cannot be read.
        """
        options = PredictionOptions(batch_size, output_size, max_side)
        if not is_many(source):
            return next(self.results([to_image(source)], options))
        return list(self.results(images_of(source), options))

    def stream(
        self,
        frames: str | Path | Iterable[Any],
        *,
        batch_size: int = 1,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
    ) -> Iterator[Result]:
        """Predict frames as they come, with at most one batch in memory.

        Args:
            frames: any iterable of images, which may never end; or a video file or a folder of frames.
            batch_size, output_size, max_side: see :class:`PredictionOptions`.

        Yields:
            The result of every frame, in order.
        """
        return self.results(images_of(frames), PredictionOptions(batch_size, output_size, max_side))

    def save(
        self,
        sources: str | Path | Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None = None,
        *,
        batch_size: int = 1,
        output_size: tuple[int, int] | None = None,
        max_side: int | None = None,
        fps: float | None = None,
    ) -> PredictionSummary:
        """Predict files, folders and videos into a folder.

        Args:
            sources: images, folders of images, videos.
            out: folder of the results; files of the same names are replaced.
            formats: what is written, of those the pipeline names; by default what suits images and videos.
            batch_size, output_size, max_side: see :class:`PredictionOptions`.
            fps: speed of written videos.
        """
        sources = [sources] if isinstance(sources, str | Path) else sources
        return self.write(sources, out, formats, PredictionOptions(batch_size, output_size, max_side), fps)


class SegmentationPipeline(FramewisePipeline[SemanticMap]):
    """A loaded semantic segmentation model; results are :class:`~nolabel.structures.SemanticMap`.

    Formats of :meth:`save`: ``labels, colours, overlay, video, gallery``.

    Args:
        model: the network with its classes and sizes.
    """

    def __init__(self, model: SegmentorModel) -> None:
        self.model = model

    @property
    def space(self) -> LabelSpace:
        """The label space of the results."""
        return self.model.space

    def results(self, images: Iterable[Tensor], options: PredictionOptions) -> Iterator[SemanticMap]:
        """Predict images as they come."""
        return segment_stream(self.model, images, options)

    def write(
        self,
        sources: Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None,
        options: PredictionOptions,
        fps: float | None,
    ) -> PredictionSummary:
        """Predict files, folders and videos into a folder."""
        return predict_segmentation.predict_to_folder(
            self.model, sources, out, formats=formats, options=options, fps=fps
        )


class DetectionPipeline(FramewisePipeline[Instances]):
    """A loaded detector of objects without classes (unMORE); results are :class:`~nolabel.structures.Instances`, best first.

    Formats of :meth:`save`: ``coco, labels, overlay, video, gallery``.

    Args:
        model: the detector, its input size and its confidence threshold.
    """

    def __init__(self, model: DetectorModel) -> None:
        self.model = model

    @property
    def space(self) -> LabelSpace:
        """The label space of the results."""
        return self.model.space

    def results(self, images: Iterable[Tensor], options: PredictionOptions) -> Iterator[Instances]:
        """Detect objects in images as they come."""
        return detect_stream(self.model, images, options)

    def write(
        self,
        sources: Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None,
        options: PredictionOptions,
        fps: float | None,
    ) -> PredictionSummary:
        """Detect objects in files, folders and videos into a folder."""
        return detector_files.detect_to_folder(
            self.model, sources, out, formats=formats, options=options, fps=fps
        )


def is_many(source: Any) -> bool:
    """Say whether something holds several images: a folder, a video file, a list."""
    if isinstance(source, str | Path):
        path = Path(source)
        return path.is_dir() or (path.is_file() and find_layout(path) == "video")
    return isinstance(source, list | tuple)


def images_of(source: Any) -> Iterator[Tensor]:
    """The images of a folder, a video file or anything that can be iterated over, one at a time."""
    if isinstance(source, str | Path):
        images = open_images(source)
        source = (images[index]["image"] for index in range(len(images)))
    return (to_image(image) for image in source)
