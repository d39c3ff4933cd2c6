"""Score a semantic segmentation on labelled images: of a network, or of a folder of predictions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from nolabel.data import LabelledDataset
from nolabel.data.predicted_labels import PredictedLabels
from nolabel.data.resizing import resize_labels
from nolabel.engine.predicting import PredictBatch, PredictionOptions, equal_batches
from nolabel.engine.progress import Progress
from nolabel.engine.run_folder import surroundings
from nolabel.errors import DataError
from nolabel.labels import LabelSpace, space_map
from nolabel.metrics.confusion import confusion_matrix
from nolabel.metrics.segmentation import SegmentationScores
from nolabel.structures import LabelledSample, SemanticMap

__all__ = ["LabelFiles", "NetworkLabels", "SegmentationResult", "SegmentationSource", "score_segmentation"]


class SegmentationSource(Protocol):
    """Where predictions come from."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the results say about it."""

    def predict(self, samples: Sequence[LabelledSample]) -> list[Tensor]:
        """Return the labels (H, W) of samples of one size, 255 void."""


class NetworkLabels:
    """Predictions of a network.

    Args:
        predict: the network.
        given: what its labels mean.
        wanted: the classes to score; labels that have no class there become void.
        facts: for the results.
        max_side: larger images are scaled down to this longer side for the network.
        keep: called with every sample and its result in the given space: writes it, say.

    Raises:
        ConfigError: nothing leads from one space to the other.
    """

    def __init__(
        self,
        predict: PredictBatch[SemanticMap],
        given: LabelSpace,
        wanted: LabelSpace,
        facts: dict[str, Any],
        *,
        max_side: int | None = None,
        keep: Callable[[LabelledSample, SemanticMap], object] | None = None,
    ) -> None:
        self.keep = keep
        self._predict, self.facts, self._options = predict, facts, PredictionOptions(max_side=max_side)
        self._table = torch.from_numpy(space_map(given, wanted).copy())

    def predict(self, samples: Sequence[LabelledSample]) -> list[Tensor]:
        """Predict samples of one size together."""
        images = [torch.as_tensor(sample["image"]) for sample in samples]
        results = self._predict(images, self._options)
        if self.keep is not None:
            for sample, result in zip(samples, results, strict=True):
                self.keep(sample, result)
        return [self._table[result.labels] for result in results]


class LabelFiles:
    """Predictions of a folder; maps of another size are brought to that of the labels (nearest)."""

    def __init__(self, files: PredictedLabels) -> None:
        self._files = files
        self.facts = files.facts

    def predict(self, samples: Sequence[LabelledSample]) -> list[Tensor]:
        """Read the predictions of samples."""
        return [self._fitted(self._files.read(sample["name"]), sample) for sample in samples]

    @staticmethod
    def _fitted(labels: Tensor, sample: LabelledSample) -> Tensor:
        (height, width), (rows, columns) = labels.shape, sample["semantic"].shape[-2:]
        if abs(height * columns - rows * width) > max(width, columns):
            raise DataError(
                f"the prediction of {sample['name']} has {height}x{width} pixels, its label {rows}x{columns}",
                hint="predictions have the size of the image, or its proportions",
            )
        return resize_labels(labels, (rows, columns))


@dataclass(frozen=True)
class SegmentationResult:
    """Scores of a data set and how they came about.

    Attributes:
        scores: by every protocol.
        dataset: name of the data set's folder, and its split.
        images: how many were scored.
        facts: where the predictions came from.
        failed: (name, message) of images that could not be scored.
        seconds: time the predictions and their scoring took.
    """

    scores: SegmentationScores
    dataset: str
    images: int
    facts: dict[str, Any]
    failed: tuple[tuple[str, str], ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def title(self) -> str:
        """One line for people."""
        return f"{self.dataset}: {self.images} images, {self.scores.space.name}"

    def table(self) -> str:
        """Return the scores in percent as text."""
        lines = [self.title, "", self.scores.text()]
        if self.failed:
            lines += ["", f"{len(self.failed)} images could not be scored and are left out:"]
            lines += [f"  {name}: {message}" for name, message in self.failed[:5]]
        return "\n".join(lines)

    def record(self) -> dict[str, Any]:
        """Return what ``results.json`` says besides the scores."""
        return {
            "dataset": self.dataset,
            "images": self.images,
            "failed": [{"name": name, "message": message} for name, message in self.failed],
            "predictions": self.facts,
            "seconds": round(self.seconds, 2),
            **surroundings(),
        }


def score_segmentation(
    source: SegmentationSource,
    dataset: LabelledDataset,
    *,
    batch_size: int = 1,
    void_is_class: bool = False,
    progress: bool = True,
) -> SegmentationResult:
    """Compare predictions with labels; one batch is in memory.

    Args:
        source: of the predictions.
        dataset: images with labels.
        batch_size: images of one size that are predicted together.
        void_is_class: count true pixels of the label after the last class, too.
        progress: show progress.

    Raises:
        DataError: no image could be scored.
    """
    classes = dataset.space.num_classes
    confusion = torch.zeros(classes + 1, classes + 1, dtype=torch.int64)
    failed: list[tuple[str, str]] = []
    count, began = 0, time.monotonic()
    with Progress("evaluate", len(dataset), unit="images", enabled=progress) as line:
        for batch in equal_batches(_samples(dataset, failed), batch_size):
            for sample, labels in _predicted(source, [sample for sample, _ in batch], failed):
                target = torch.as_tensor(sample["semantic"])
                confusion += confusion_matrix(labels, target.to(labels.device), classes + 1, classes).cpu()
                count += 1
            line.advance(count + len(failed) - line.count, f"{len(failed)} failed" if failed else None)
    if not count:
        raise DataError(
            f"none of the {len(dataset)} images could be scored: {failed[0][0]}: {failed[0][1]}",
            hint="`nolabel doctor` checks a data set",
        )
    name = f"{dataset.root.resolve().name}/{dataset.split}".rstrip("/")
    table = confusion.numpy()
    scores = SegmentationScores(dataset.space, table[:classes], table[classes] if void_is_class else None)
    return SegmentationResult(scores, name, count, source.facts, tuple(failed), time.monotonic() - began)


def _samples(
    dataset: LabelledDataset, failed: list[tuple[str, str]]
) -> Iterator[tuple[LabelledSample, Tensor]]:
    """Read samples in order; files that cannot be read are noted."""
    for index, name in enumerate(dataset.names):
        try:
            sample = dataset[index]
        except DataError as error:
            failed.append((name, error.message))
        else:
            yield sample, torch.as_tensor(sample["image"])


def _predicted(
    source: SegmentationSource, batch: list[LabelledSample], failed: list[tuple[str, str]]
) -> Iterator[tuple[LabelledSample, Tensor]]:
    """Predict a batch; where it fails, image by image, so that one bad file costs one image."""
    try:
        yield from zip(batch, source.predict(batch), strict=True)
    except DataError as error:
        if len(batch) == 1:
            failed.append((batch[0]["name"], error.message))
            return
        for sample in batch:
            yield from _predicted(source, [sample], failed)
