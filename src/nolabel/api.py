"""What a notebook needs: load a model, call it on anything that holds images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from nolabel.data import find_layout, open_images, to_image
from nolabel.engine.predict_files import PredictionSummary
from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.tracking import InstanceTracker
from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.cups.model_file import CupsModel, load_model
from nolabel.methods.cups.predict import predict_images, predict_stream
from nolabel.methods.cups.predict_files import predict_to_folder
from nolabel.structures import PanopticMap
from nolabel.weights import find_weights

if TYPE_CHECKING:
    from nolabel.methods.cups.validate import ValidationResult

__all__ = [
    "InstanceTracker",
    "Pipeline",
    "PredictionOptions",
    "PredictionSummary",
    "evaluate",
    "load",
    "to_image",
]

SYSTEMS = ("cups",)
PLANNED = ("unmore", "quadmix", "scenedino", "cotrain")


class Pipeline:
    """A loaded model: call it on an image, a list, a folder or a video.

    Args:
        model: network and the meaning of its clusters.

    Example:
        >>> model = nolabel.load("cups")
        >>> result = model("street.png")
        >>> result.save("out/")
    """

    def __init__(self, model: CupsModel) -> None:
        self.model = model

    @property
    def space(self) -> Any:
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
        many = isinstance(source, list | tuple) or (
            isinstance(source, str | Path) and _holds_many(Path(source))
        )
        options = PredictionOptions(batch_size, output_size, max_side)
        if not many:
            return predict_images(self.model, [to_image(source)], options)[0]
        follow = track if track is not None else isinstance(source, str | Path) and not Path(source).is_dir()
        frames = (to_image(image) for image in _images(source))
        return list(predict_stream(self.model, frames, options, InstanceTracker() if follow else None))

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
        images = (to_image(frame) for frame in _images(frames))
        return predict_stream(self.model, images, options, tracker)

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
        return predict_to_folder(
            self.model,
            [sources] if isinstance(sources, str | Path) else sources,
            out,
            formats=formats,
            options=PredictionOptions(batch_size, output_size, max_side),
            track=track,
            fps=fps,
        )


def load(
    system: Literal["cups"] | str,
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    part: Literal["student", "teacher"] = "student",
    confidence_threshold: float | None = None,
) -> Pipeline:
    """Load a model.

    Args:
        system: which of the systems, ``"cups"``.
        weights: run folder, converted file, official checkpoint, or the name of a registered one; ``None`` takes the
            small embedded network, which was trained on the procedural world without labels.
        device: ``"auto"`` takes an accelerator where there is one, else as torch names it.
        part: which network of a self-training checkpoint.
        confidence_threshold: score from which instances are kept; the model's own by default.

    Raises:
        ConfigError: no such system.
        WeightsError: weights that cannot be found, read or fitted.
    """
    if system in PLANNED:
        raise ConfigError(f"{system} is not built yet.", hint=f"available: {', '.join(SYSTEMS)}")
    if system not in SYSTEMS:
        raise ConfigError(f"there is no system {system!r}.", hint=f"available: {', '.join(SYSTEMS)}")
    path = embedded_weights(system) if weights is None else _located(weights)
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    return Pipeline(load_model(path, part=part, confidence_threshold=confidence_threshold, device=chosen))


def evaluate(
    predictor: Pipeline | str | Path,
    data: str | Path,
    *,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    visualize: int | None = 0,
    progress: bool = True,
    **settings: Any,
) -> ValidationResult:
    """Score a model, or a folder of predictions or pseudo-labels, on labelled images.

    Args:
        predictor: a loaded model, or the folder.
        data: the labelled data set in its official layout, or images/ and labels/.
        recipe: a published protocol (``"cups/validate/cityscapes"``) or a YAML file; the data set's own classes on
            whole images by default.
        out: folder for ``results.json``, ``report.html`` and overlays; nothing is written without it.
        visualize: write overlays of so many images (``None``: all).
        progress: show progress.
        settings: fields of :class:`~nolabel.methods.cups.validation_config.ValidationConfig`, nested ones as
            dictionaries: ``space="cityscapes_7", tta={"enabled": True}``.

    Returns:
        ``result.scores.pq`` and so on in 0..1; ``print(result.table())``.

    Example:
        >>> nolabel.evaluate(nolabel.load("cups"), "world/", space="cityscapes_19").scores.pq
    """
    from nolabel.config import load_config
    from nolabel.methods.cups.validate import validate
    from nolabel.methods.cups.validation_config import ValidationConfig

    return validate(
        predictor.model if isinstance(predictor, Pipeline) else predictor,
        data,
        load_config(ValidationConfig, recipe, **settings),
        out=None if out is None else Path(out),
        visualize=visualize,
        progress=progress,
    )


def embedded_weights(system: str) -> Path:
    """Return the file of the weights that the package carries for a system."""
    path = Path(str(resources.files("nolabel"))) / "weights" / "embedded" / f"{system}.safetensors"
    if not path.exists():
        raise WeightsError(
            f"no weights for {system} are embedded in this installation.", hint="give weights=..."
        )
    return path


def _located(weights: str | Path) -> Path:
    path = Path(weights)
    return path if path.exists() else find_weights(weights)


def _holds_many(path: Path) -> bool:
    return path.is_dir() or (path.is_file() and find_layout(path) == "video")


def _images(source: Any) -> Iterable[Any]:
    """The images of a folder, a video file or anything that can be iterated over, one at a time."""
    if not isinstance(source, str | Path):
        return source
    images = open_images(source)
    return (images[index]["image"] for index in range(len(images)))
