"""Label videos and folders of frames with a two-frame network, and write the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from nolabel.data.image_sequences import ImageSequence, open_sequences
from nolabel.engine.motion_estimators import open_estimator
from nolabel.engine.predict_files import PredictionSummary, predict_into_folder, speed_of
from nolabel.engine.predicting import PredictionOptions
from nolabel.methods.quadmix.video_model import VideoModel
from nolabel.methods.quadmix.video_predict import VideoPredictor
from nolabel.structures.coco import categories
from nolabel.viz.semantic_files import SemanticFiles

__all__ = ["predict_video"]

FORMATS = ("labels", "video", "gallery")


def predict_video(
    model: VideoModel,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    estimator: str = "raft_large",
    formats: Iterable[str] | None = None,
    options: PredictionOptions | None = None,
    fps: float | None = None,
    progress: bool = True,
) -> PredictionSummary:
    """Predict everything and write the results; images of one folder are the frames of one video, by name.

    Args:
        model: the network.
        sources: videos, folders of frames.
        out: folder of the results; files of the same names are replaced.
        estimator: of the flow, see :func:`nolabel.models.motion.build_motion`.
        formats: names of :data:`nolabel.viz.semantic_files.SEMANTIC_FORMATS`; labels, video and gallery by default.
        options: sizes.
        fps: speed of written videos; that of the source by default, 10 for images.
        progress: show progress.

    Raises:
        ConfigError: an unknown format or estimator.
        WeightsError: the estimator's weights are not there.
        DataError: a source that does not exist, or no image could be read at all.
    """
    options, out = options or PredictionOptions(), Path(out)
    sequences, chosen = open_sequences(sources), tuple(formats or FORMATS)
    predictor = VideoPredictor(model, open_estimator(estimator, model.device))

    def restarted(sequence: ImageSequence) -> None:
        predictor.restart()

    files = SemanticFiles(
        out,
        model.space,
        set(chosen),
        total=sum(len(sequence.names) for sequence in sequences),
        fps=speed_of(sequences, fps),
    )
    card = {
        "model": None if model.source is None else model.source.name,
        "space": model.space.name,
        "categories": categories(model.space),
        "flow": estimator,
    }
    return predict_into_folder(
        predictor,
        sequences,
        files,
        out,
        card,
        options=options,
        formats=[chosen] * len(sequences),
        tracker=restarted,
        progress=progress,
    )
