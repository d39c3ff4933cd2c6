"""Predict files, folders and videos into a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from nolabel.data.image_sequences import ImageSequence, open_sequences
from nolabel.engine.predict_files import PredictionSummary, predict_into_folder, speed_of
from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.tracking import InstanceTracker
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.predict import predict_batch
from nolabel.structures import PanopticMap
from nolabel.structures.coco import categories
from nolabel.viz.panoptic_files import Format, PanopticFiles, check_formats

__all__ = ["IMAGE_FORMATS", "VIDEO_FORMATS", "predict_to_folder"]

IMAGE_FORMATS: tuple[Format, ...] = ("labels", "coco", "overlay", "gallery")
VIDEO_FORMATS: tuple[Format, ...] = ("labels", "coco", "video", "gallery")


def predict_to_folder(
    model: CupsModel,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    formats: Iterable[str] | None = None,
    options: PredictionOptions | None = None,
    track: bool | None = None,
    fps: float | None = None,
    progress: bool = True,
) -> PredictionSummary:
    """Predict everything and write the results.

    Files of the same names are replaced, each in one step; nothing that exists is taken as done. An image that
    cannot be read is noted and the rest goes on. ``predictions.json`` says what was done with which settings.

    Args:
        model: network and the meaning of its clusters.
        sources: images, folders of images, videos.
        out: folder of the results.
        formats: names of :data:`nolabel.viz.panoptic_files.FORMATS`; by default ``labels, coco, gallery`` and
            ``overlay`` for images, ``video`` for videos.
        options: batches and sizes.
        track: keep instance ids over the frames of each source (of each folder in it); by default for videos.
        fps: speed of written videos; that of the source by default, 10 for images.
        progress: show progress.

    Raises:
        ConfigError: an unknown format or impossible setting.
        DataError: a source that does not exist, or no image could be read at all.
    """
    options, out = options or PredictionOptions(), Path(out)
    sequences = open_sequences(sources)
    chosen = _formats(formats, sequences)
    kinds = check_formats([name for part in chosen for name in part], model.output_space)

    def tracker(sequence: ImageSequence) -> Callable[[PanopticMap], PanopticMap] | None:
        follow = sequence.is_video if track is None else track
        return InstanceTracker().update if follow else None

    files = PanopticFiles(
        out,
        model.output_space,
        kinds,
        total=sum(len(sequence.names) for sequence in sequences),
        title="CUPS: panoptic predictions",
        fps=speed_of(sequences, fps),
    )
    card = {
        "model": None if model.source is None else model.source.name,
        "space": model.output_space.name,
        "categories": categories(model.output_space),
        "confidence_threshold": model.network.config.confidence_threshold,
    }
    return predict_into_folder(
        partial(predict_batch, model),
        sequences,
        files,
        out,
        card,
        options=options,
        formats=chosen,
        tracker=tracker,
        progress=progress,
    )


def _formats(formats: Iterable[str] | None, sequences: Sequence[ImageSequence]) -> list[tuple[Format, ...]]:
    if formats is not None:
        chosen: tuple[Format, ...] = tuple(formats)  # type: ignore[arg-type]  # checked by check_formats
        return [chosen] * len(sequences)
    return [VIDEO_FORMATS if sequence.is_video else IMAGE_FORMATS for sequence in sequences]
