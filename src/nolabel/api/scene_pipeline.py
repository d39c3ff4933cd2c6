"""A loaded SceneDINO: call it on anything that holds images, with their camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nolabel.api.pipelines import Pipeline, images_of, is_many
from nolabel.engine.predict_files import PredictionSummary
from nolabel.labels import LabelSpace
from nolabel.methods.scenedino.camera_of_image import find_calibration
from nolabel.methods.scenedino.predict import ScenePredictor
from nolabel.methods.scenedino.predict_files import predict_to_folder
from nolabel.methods.scenedino.scene_prediction import ScenePrediction

__all__ = ["ScenePipeline"]


class ScenePipeline(Pipeline):
    """A loaded SceneDINO; results are :class:`~nolabel.methods.scenedino.scene_prediction.ScenePrediction`.

    Formats of :meth:`save`: those of :data:`nolabel.methods.scenedino.predict_files.RUN_FORMATS`.

    Args:
        model: network and settings.

    Example:
        >>> model = nolabel.load("scenedino", "runs/semantics")
        >>> scene = model("street.png", intrinsics=(552.6, 552.6, 682.0, 238.8))
        >>> scene.depth, scene.voxels, scene.show(), scene.save("out/")
    """

    def __init__(self, model: ScenePredictor) -> None:
        self.model = model

    @property
    def space(self) -> LabelSpace:
        """The label space of the classes of pixels."""
        return self.model.space

    def __call__(self, source: Any, *, intrinsics: Any = None) -> Any:
        """Predict.

        Args:
            source: an image (see :func:`nolabel.data.to_image`) gives one result; a list of images, a folder or a video
                file gives a list of results, in order, whose features have the same colours.
            intrinsics: the camera of all images: a matrix (3, 3) in pixels of the image, (fx, fy, cx, cy), the path of a
                calibration.yaml, or the horizontal field of view in degrees. By default the calibration.yaml beside the
                file, or one folder above; else a guess, with a warning.

        Returns:
            A :class:`~nolabel.methods.scenedino.scene_prediction.ScenePrediction`, or a list of them.

        Raises:
            DataError: something is no image, or no camera.
        """
        if is_many(source):
            return list(self.stream(source, intrinsics=intrinsics))
        return self.model.predict(source, _camera(source, intrinsics))

    def stream(
        self, frames: str | Path | Iterable[Any], *, intrinsics: Any = None
    ) -> Iterator[ScenePrediction]:
        """Predict frames as they come, one in memory at a time; colours of features are those that suit the first.

        Args:
            frames: any iterable of images, which may never end; or a video file or a folder of frames.
            intrinsics: the camera of all of them, see :meth:`__call__`.
        """
        camera, basis = _camera(frames, intrinsics), None
        for image in images_of(frames):
            result = self.model.predict(image, camera, basis=basis)
            basis = result.basis
            yield result

    def save(
        self,
        sources: str | Path | Sequence[str | Path],
        out: str | Path,
        formats: Sequence[str] | None = None,
        *,
        intrinsics: Any = None,
        fps: float | None = None,
        overwrite: bool = False,
    ) -> PredictionSummary:
        """Predict files, folders and videos into a folder; see :func:`predict_to_folder`. The same call again goes on.

        Args:
            sources: images, folders of images, videos.
            out: folder of the results.
            formats: what is written; by default what suits images and videos.
            intrinsics: the camera of all of them, see :meth:`__call__`.
            fps: speed of written videos.
            overwrite: replace results in ``out`` that were made otherwise.
        """
        return predict_to_folder(
            self.model,
            [sources] if isinstance(sources, str | Path) else sources,
            out,
            intrinsics=intrinsics,
            formats=formats,
            fps=fps,
            overwrite=overwrite,
        )


def _camera(source: Any, intrinsics: Any) -> Any:
    """What was given, or the calibration beside a file."""
    if intrinsics is None and isinstance(source, str | Path):
        return find_calibration(Path(source))
    return intrinsics
