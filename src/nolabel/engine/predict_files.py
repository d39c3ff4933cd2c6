"""Predict opened images and hand every result to whatever writes it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch import Tensor

from nolabel.data.image_sequences import ImageSequence
from nolabel.data.predicted_labels import PREDICTIONS_FILE
from nolabel.engine.predicting import PredictBatch, PredictionOptions, equal_batches
from nolabel.engine.progress import Progress
from nolabel.errors import DataError, NolabelError
from nolabel.structures.files import write_json

__all__ = [
    "FolderWriter",
    "PredictedImages",
    "PredictionSummary",
    "ResultWriter",
    "predict_into_folder",
    "predict_sequences",
    "speed_of",
]

USUAL_SPEED = 10.0  # frames a second of written videos whose source has none

Result = TypeVar("Result")
Written = TypeVar("Written", contravariant=True)


@dataclass(frozen=True)
class PredictionSummary:
    """What predicting into a folder did.

    Attributes:
        out: the folder of the results.
        count: images that were predicted.
        written: format -> number of files.
        failed: (image, what was wrong) of images that could not be read or predicted.
    """

    out: Path
    count: int
    written: dict[str, int]
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class PredictedImages:
    """What became of the images: ``done`` has name, file and size of each, ``failed`` (name, what was wrong)."""

    done: list[dict[str, object]]
    failed: list[tuple[str, str]]

    def record(self) -> dict[str, object]:
        """Return JSON values."""
        failed = [{"name": name, "error": error} for name, error in self.failed]
        return {"images": self.done, "failed": failed}


class ResultWriter(Protocol[Written]):
    """What takes the results, such as :class:`nolabel.viz.panoptic_files.PanopticFiles`."""

    def add(
        self,
        name: str,
        result: Written,
        image: Tensor | None = None,
        *,
        file_name: str | None = None,
        sequence: str = "video",
        formats: Any = None,
    ) -> None:
        """Write one result."""


class FolderWriter(ResultWriter[Written], Protocol[Written]):
    """Writers that finish videos and galleries when they are left."""

    @property
    def written(self) -> Mapping[str, int]:
        """Format -> number of files."""
        ...

    @property
    def formats(self) -> Collection[str]:
        """What is written."""
        ...

    def __enter__(self) -> Any:
        """Begin."""

    def __exit__(self, *error: Any) -> Any:
        """Finish what was begun."""


def speed_of(sequences: Sequence[ImageSequence], fps: float | None = None) -> float:
    """Return the speed of written videos: as asked for, that of the first source that has one, or 10."""
    return fps or next((sequence.fps for sequence in sequences if sequence.fps), USUAL_SPEED)


def predict_into_folder(
    predict: PredictBatch[Result],
    sequences: Sequence[ImageSequence],
    files: FolderWriter[Result],
    out: Path,
    card: Mapping[str, Any],
    *,
    options: PredictionOptions,
    formats: Sequence[Sequence[str]],
    tracker: Callable[[ImageSequence], Callable[[Result], Result] | None] = lambda sequence: None,
    progress: bool = True,
) -> PredictionSummary:
    """Predict everything, finish the files, and note in ``predictions.json`` what was done with which settings.

    Args:
        predict, sequences, options, formats, tracker, progress: see :func:`predict_sequences`.
        files: takes the results.
        out: its folder.
        card: what the note says of the model.
    """
    with files:
        outcome = predict_sequences(
            predict, sequences, files, options=options, formats=formats, tracker=tracker, progress=progress
        )
    sizes = {"output_size": options.output_size, "max_side": options.max_side, "saved": list(files.formats)}
    write_json(out / PREDICTIONS_FILE, {**card, **sizes, **outcome.record()})
    return PredictionSummary(out, len(outcome.done), dict(files.written), outcome.failed)


def predict_sequences(
    predict: PredictBatch[Result],
    sequences: Sequence[ImageSequence],
    files: ResultWriter[Result],
    *,
    options: PredictionOptions,
    formats: Sequence[Sequence[str]],
    tracker: Callable[[ImageSequence], Callable[[Result], Result] | None] = lambda sequence: None,
    progress: bool = True,
) -> PredictedImages:
    """Predict everything; an image that cannot be read or predicted is noted and the rest goes on.

    Args:
        predict: the network.
        sequences: the images.
        files: takes the results.
        options: batches and sizes.
        formats: for each sequence, what is written.
        tracker: gives, for a sequence, a function that changes its results one after the other, or None.
        progress: show progress.

    Raises:
        DataError: no image could be predicted at all.
    """
    total = sum(len(sequence.names) for sequence in sequences)
    outcome = PredictedImages([], [])
    failed = outcome.failed
    with Progress("predict", total, unit="images", enabled=progress) as bar:
        for sequence, kinds in zip(sequences, formats, strict=True):
            follow = tracker(sequence)
            for batch in equal_batches(_read(sequence, failed, bar), options.batch_size):
                try:
                    results = predict([image for _, image in batch], options)
                except DataError as error:
                    failed += [(sequence.names[index], error.message) for index, _ in batch]
                    bar.advance(len(batch), f"{len(failed)} failed")
                    continue
                for (index, image), prediction in zip(batch, results, strict=True):
                    name, file_name = sequence.names[index], sequence.files[index]
                    result: Any = prediction if follow is None else follow(prediction)
                    files.add(name, result, image, file_name=file_name, sequence=sequence.name, formats=kinds)
                    outcome.done.append({"name": name, "file": file_name, "size": list(result.size)})
                    bar.advance()
        if not outcome.done:
            raise DataError(
                f"none of the {total} images could be predicted; the first: {failed[0][1]}",
                hint="`nolabel doctor` looks at a whole folder",
            )
    return outcome


def _read(
    sequence: ImageSequence, failed: list[tuple[str, str]], bar: Progress
) -> Iterator[tuple[int, Tensor]]:
    """Yield (position, image); an unreadable image is noted, an unreadable video frame ends its video."""
    for position, index in enumerate(sequence.indices):
        try:
            yield position, sequence.images[index]["image"].as_subclass(Tensor)
        except NolabelError as error:
            failed.append((sequence.names[position], error.message))
            rest = len(sequence.names) - position if sequence.is_video else 1
            bar.advance(rest, f"{len(failed)} failed")
            if sequence.is_video:
                return
