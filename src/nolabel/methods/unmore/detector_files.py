"""Detect objects in files, folders and videos, into a folder of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from nolabel.data.image_sequences import open_sequences
from nolabel.engine.predict_files import PredictionSummary, predict_into_folder, speed_of
from nolabel.engine.predicting import PredictionOptions
from nolabel.methods.unmore.detector_model import DetectorModel
from nolabel.methods.unmore.detector_predict import detect_batch
from nolabel.viz.instance_files import INSTANCE_FORMATS, InstanceFiles
from nolabel.viz.result_files import known_formats

__all__ = ["IMAGE_FORMATS", "VIDEO_FORMATS", "detect_to_folder"]

IMAGE_FORMATS = ("coco", "overlay", "gallery")
VIDEO_FORMATS = ("coco", "video", "gallery")


def detect_to_folder(
    model: DetectorModel,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    formats: Iterable[str] | None = None,
    options: PredictionOptions | None = None,
    fps: float | None = None,
    progress: bool = True,
) -> PredictionSummary:
    """Detect objects in everything and write the results.

    Files of the same names are replaced, each in one step; nothing that exists is taken as done. An image that cannot
    be read is noted and the rest goes on. ``predictions.json`` says what was done with which settings.

    Args:
        model: the detector.
        sources: images, folders of images, videos.
        out: folder of the results.
        formats: names of :data:`nolabel.viz.instance_files.INSTANCE_FORMATS`; by default ``coco, gallery``, and
            ``overlay`` for images, ``video`` for videos.
        options: batches and sizes.
        fps: speed of written videos; that of the source by default, 10 for images.
        progress: show progress.

    Raises:
        ConfigError: an unknown format or impossible setting.
        DataError: a source that does not exist, or no image could be read at all.
    """
    options, out = options or PredictionOptions(), Path(out)
    sequences = open_sequences(sources)
    if formats is not None:
        chosen = [tuple(known_formats(formats, INSTANCE_FORMATS))] * len(sequences)
    else:
        chosen = [VIDEO_FORMATS if sequence.is_video else IMAGE_FORMATS for sequence in sequences]
    files = InstanceFiles(
        out,
        model.space,
        {name for part in chosen for name in part},
        total=sum(len(sequence.names) for sequence in sequences),
        title="unMORE: objects",
        fps=speed_of(sequences, fps),
    )
    card = {
        "model": None if model.source is None else model.source.name,
        "space": model.space.name,
        "confidence_threshold": model.confidence_threshold,
    }
    return predict_into_folder(
        partial(detect_batch, model),
        sequences,
        files,
        out,
        card,
        options=options,
        formats=chosen,
        progress=progress,
    )
