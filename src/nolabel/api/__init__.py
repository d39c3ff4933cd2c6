"""What a notebook needs: load a model, call it on anything that holds images, score it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, overload

from nolabel.api.pipelines import DetectionPipeline, PanopticPipeline, Pipeline, SegmentationPipeline
from nolabel.api.scene_pipeline import ScenePipeline
from nolabel.api.video_pipeline import VideoPipeline
from nolabel.config import load_config
from nolabel.data import to_image
from nolabel.engine import segmentor_file as segmentors
from nolabel.engine.devices import pick_device
from nolabel.engine.predict_files import PredictionSummary
from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.segmentation_scoring import SegmentationResult
from nolabel.engine.tracking import InstanceTracker
from nolabel.errors import ConfigError
from nolabel.labels import LabelSpace
from nolabel.methods.cups import model_file as panoptic
from nolabel.methods.quadmix import video_model
from nolabel.methods.scenedino.predict import SceneSettings, load_predictor
from nolabel.methods.unmore.detector_model import load_detector
from nolabel.weights import find_weights, load_checkpoint
from nolabel.weights.packaged import embedded_file

if TYPE_CHECKING:
    from nolabel.methods.cups.validate import ValidationResult
    from nolabel.methods.unmore.evaluate import DetectionResult

__all__ = [
    "DetectionPipeline",
    "InstanceTracker",
    "PanopticPipeline",
    "Pipeline",
    "PredictionOptions",
    "PredictionSummary",
    "ScenePipeline",
    "SegmentationPipeline",
    "VideoPipeline",
    "evaluate",
    "load",
    "to_image",
]

SYSTEMS = ("cups", "cotrain", "quadmix", "unmore", "scenedino")
OBJECT_CONFIDENCE = 0.5
"""Score from which objects of a detector are shown, unless asked otherwise."""


@overload
def load(
    system: Literal["cups"],
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    part: Literal["student", "teacher"] = "student",
    confidence_threshold: float | None = None,
) -> PanopticPipeline: ...


@overload
def load(
    system: Literal["cotrain"],
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    space: LabelSpace | None = None,
    part: Literal["student", "teacher"] = "student",
    options: Mapping[str, Any] | None = None,
) -> SegmentationPipeline: ...


@overload
def load(
    system: Literal["quadmix"],
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    space: LabelSpace | None = None,
    part: Literal["student", "teacher"] = "student",
    options: Mapping[str, Any] | None = None,
    estimator: str = "raft_large",
) -> SegmentationPipeline | VideoPipeline: ...


@overload
def load(
    system: Literal["unmore"],
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    confidence_threshold: float | None = None,
) -> DetectionPipeline: ...


@overload
def load(
    system: Literal["scenedino"],
    weights: str | Path | None = None,
    *,
    device: str = "auto",
    image_size: tuple[int, int] | None = None,
    **settings: Any,
) -> ScenePipeline: ...


@overload
def load(
    system: str, weights: str | Path | None = None, *, device: str = "auto", **settings: Any
) -> Pipeline: ...


def load(
    system: str, weights: str | Path | None = None, *, device: str = "auto", **settings: Any
) -> Pipeline:
    """Load a model.

    Args:
        system: ``"cups"`` (panoptic), ``"cotrain"`` or ``"quadmix"`` (semantic), ``"unmore"`` (objects without classes),
            ``"scenedino"`` (a 3D scene from each image).
        weights: run folder, converted file, official checkpoint, or the name of a registered one. For ``"cups"`` None
            takes the small embedded network, which was trained on the procedural world without labels.
        device: ``"auto"`` takes an accelerator where there is one, else as torch names it.
        settings: of ``"cups"``: ``part``, which network of a self-training checkpoint (``"student"`` or ``"teacher"``),
            and ``confidence_threshold``, the score from which instances are kept (the model's own by default). Of
            ``"cotrain"`` and ``"quadmix"``: ``space``, what the classes of an official checkpoint mean (Cityscapes' 19 by
            default), ``part``, and ``options``, changes to the network that its weights do not depend on. Of
            ``"quadmix"`` with a network for video: ``space`` and ``estimator``, of the flow between frames. Of
            ``"unmore"``: ``confidence_threshold``, 0.5 by default; 0 gives the best 100 boxes of every image, as the
            evaluation protocols want them. Of ``"scenedino"``: fields of
            :class:`~nolabel.methods.scenedino.predict.SceneSettings`, nested ones as dictionaries
            (``voxels={"reach": 25.6}, features="none"``), and ``image_size`` of an official checkpoint that does not tell.

    Raises:
        ConfigError: no such system.
        WeightsError: weights that cannot be found, read or fitted.
    """
    if system not in SYSTEMS:
        raise ConfigError(f"there is no system {system!r}.", hint=f"available: {', '.join(SYSTEMS)}")
    path = embedded_file(system) if weights is None else _located(weights)
    chosen = pick_device(device)
    if system == "quadmix":
        return _quadmix(path, chosen, **settings)
    if system == "cotrain":
        return SegmentationPipeline(segmentors.load_model(path, device=chosen, **settings))
    if system == "unmore":
        threshold = settings.pop("confidence_threshold", None)
        threshold = OBJECT_CONFIDENCE if threshold is None else threshold
        return DetectionPipeline(
            load_detector(path, confidence_threshold=threshold, device=chosen, **settings)
        )
    if system == "scenedino":
        return _scenedino(path, chosen, **settings)
    return PanopticPipeline(panoptic.load_model(path, device=chosen, **settings))


def evaluate(
    predictor: Pipeline | str | Path,
    data: str | Path,
    *,
    task: Literal["panoptic", "semantic"] | None = None,
    recipe: str | Path | None = None,
    out: str | Path | None = None,
    visualize: int | None = 0,
    progress: bool = True,
    **settings: Any,
) -> ValidationResult | SegmentationResult | DetectionResult:
    """Score a model, or a folder of predictions or pseudo-labels, on labelled images.

    Args:
        predictor: a loaded model, or the folder.
        data: the labelled data set in its official layout, or images/ and labels/.
        task: what is scored; what the model predicts by default, and panoptic for folders.
        recipe: a published protocol (``"cups/validate/cityscapes"``) or a YAML file; the data set's own classes on
            whole images by default.
        out: folder for ``results.json``, tables and pictures; nothing is written without it.
        visualize: write overlays of so many images (``None``: all).
        progress: show progress.
        settings: objects: keywords of :func:`nolabel.methods.unmore.evaluate.evaluate` (``dataset="coco_star"``, ``masks``);
            panoptic: fields of :class:`~nolabel.methods.cups.validation_config.ValidationConfig`, nested ones as
            dictionaries (``space="cityscapes_7", tta={"enabled": True}``); semantic: fields of
            :class:`~nolabel.api.evaluate_segmentation.EvaluationConfig`; video: arguments of
            :func:`~nolabel.api.evaluate_video.evaluate_video`.

    Returns:
        ``result.scores.pq`` or ``result.scores.miou`` and so on in 0..1, ``result.scores["bbox"]["AP50"]`` in percent;
        ``print(result.table())``.

    Raises:
        ConfigError: settings that do not fit, or a panoptic score of a semantic model.

    Example:
        >>> nolabel.evaluate(nolabel.load("cups"), "world/", space="cityscapes_19").scores.pq
    """
    folder = None if out is None else Path(out)
    if isinstance(predictor, DetectionPipeline):
        from nolabel.methods.unmore.evaluate import evaluate as score_objects

        # Without a threshold, as the protocol wants it, whatever the pipeline shows.
        detector = replace(predictor.model, confidence_threshold=0.0)
        return score_objects(detector, Path(data), out=folder, progress=progress, **settings)
    if isinstance(predictor, SegmentationPipeline) or task == "semantic":
        if task == "panoptic" or isinstance(predictor, PanopticPipeline):
            raise ConfigError(f"this model gives no {task} labels", hint="leave `task` out")
        from nolabel.api.evaluate_segmentation import EvaluationConfig
        from nolabel.api.evaluate_segmentation import evaluate as score

        scored = predictor.model if isinstance(predictor, SegmentationPipeline) else Path(str(predictor))
        config = load_config(EvaluationConfig, recipe, **settings)
        return score(scored, data, config, out=folder, visualize=visualize, progress=progress)
    if isinstance(predictor, VideoPipeline):
        return _evaluate_video(predictor, Path(data), folder, progress=progress, **settings)
    from nolabel.methods.cups.validate import validate
    from nolabel.methods.cups.validation_config import ValidationConfig

    return validate(
        predictor.model if isinstance(predictor, PanopticPipeline) else Path(str(predictor)),
        data,
        load_config(ValidationConfig, recipe, **settings),
        out=folder,
        visualize=visualize,
        progress=progress,
    )


def _evaluate_video(
    predictor: VideoPipeline, data: Path, out: Path | None, **settings: Any
) -> SegmentationResult:
    from nolabel.api.evaluate_video import evaluate_video

    with TemporaryDirectory() as folder:
        flow = (Path(folder) if out is None else out) / "flow"
        settings = {"estimator": predictor.estimator, **settings}
        return evaluate_video(predictor.model, data, flow, out=out, **settings)


def _quadmix(
    path: Path,
    device: str,
    *,
    space: LabelSpace | None = None,
    part: Literal["student", "teacher"] = "student",
    options: Mapping[str, Any] | None = None,
    estimator: str = "raft_large",
) -> SegmentationPipeline | VideoPipeline:
    """Load a network for images or for video, as the file says."""
    checkpoint = load_checkpoint(segmentors.model_path(path, part))
    if video_model.is_video_checkpoint(checkpoint):
        if part == "teacher" or options:
            raise ConfigError("a network for video has no teacher and no options", hint="leave them out")
        model = video_model.load_video_model(path, space=space, device=device, checkpoint=checkpoint)
        return VideoPipeline(model, estimator)
    found = segmentors.load_model(
        path, space=space, options=options, part=part, device=device, checkpoint=checkpoint
    )
    return SegmentationPipeline(found)


def _scenedino(
    path: Path, device: str, *, image_size: tuple[int, int] | None = None, **settings: Any
) -> ScenePipeline:
    """Load a network for scenes."""
    found = load_config(SceneSettings, None, **settings)
    return ScenePipeline(load_predictor(path, found, image_size=image_size, device=device))


def _located(weights: str | Path) -> Path:
    path = Path(weights)
    return path if path.exists() else find_weights(weights)
