"""Label files, folders and videos into a folder of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from nolabel.data.image_sequences import open_sequences
from nolabel.engine.predict_files import PredictionSummary, predict_into_folder, speed_of
from nolabel.engine.predicting import PredictionOptions
from nolabel.engine.segment import segment_batch
from nolabel.engine.segmentor_file import SegmentorModel
from nolabel.structures.coco import categories
from nolabel.viz.semantic_files import SemanticFiles

__all__ = ["predict_to_folder"]

IMAGE_FORMATS: tuple[str, ...] = ("labels", "overlay", "gallery")
VIDEO_FORMATS: tuple[str, ...] = ("labels", "video", "gallery")


def predict_to_folder(
    model: SegmentorModel,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    formats: Iterable[str] | None = None,
    options: PredictionOptions | None = None,
    fps: float | None = None,
    progress: bool = True,
) -> PredictionSummary:
    """Predict everything and write the results.

    Files of the same names are replaced, each in one step; nothing that exists is taken as done. An image that
    cannot be read is noted and the rest goes on. ``predictions.json`` says what was done with which settings.

    Args:
        model: the network.
        sources: images, folders of images, videos.
        out: folder of the results.
        formats: names of :data:`nolabel.viz.semantic_files.SEMANTIC_FORMATS`; by default ``labels, gallery`` and
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
    if formats is None:
        chosen = [VIDEO_FORMATS if sequence.is_video else IMAGE_FORMATS for sequence in sequences]
    else:
        chosen = [tuple(formats)] * len(sequences)
    files = SemanticFiles(
        out,
        model.space,
        {name for part in chosen for name in part},
        total=sum(len(sequence.names) for sequence in sequences),
        fps=speed_of(sequences, fps),
    )
    card = {
        "model": None if model.source is None else model.source.name,
        "space": model.space.name,
        "categories": categories(model.space),
    }
    return predict_into_folder(
        partial(segment_batch, model),
        sequences,
        files,
        out,
        card,
        options=options,
        formats=chosen,
        progress=progress,
    )
