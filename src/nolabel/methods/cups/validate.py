"""Panoptic quality of a CUPS network or of labels on disk, with unsupervised matching (spec cups_model, section 6).

Ground truth is used to find which class a cluster stands for, and to score; nothing is learnt from it. Each image is
reduced to a table of segment pairs at once, so memory does not grow with the images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nolabel.data import LabelledDataset, open_labels
from nolabel.engine.progress import Progress
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace
from nolabel.methods.cups.cluster_sources import ClusterMap, ClusterSource, NetworkClusters
from nolabel.methods.cups.kept_predictions import KeptPredictions
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.prediction_folder import open_predictions
from nolabel.methods.cups.semantic_protocol import nearest_square, refined_square, without_instances
from nolabel.methods.cups.validation_config import ValidationConfig
from nolabel.methods.cups.validation_report import save_results, score_table
from nolabel.metrics import PanopticQuality, PanopticScores
from nolabel.structures import LabelledSample

__all__ = ["ValidationResult", "open_truth", "score", "target_of", "validate"]

VOID = 255


@dataclass(frozen=True)
class ValidationResult:
    """Scores of a data set and how they came about.

    Attributes:
        scores: in 0..1.
        config: the protocol.
        space: the classes.
        dataset: name of the data set's folder, and its split.
        facts: where the predictions came from.
        classes: class of every predicted id, as applied, 255 = none.
        matched: whether that was found on these images.
        image_quality: name -> PQ of the image by itself under the common assignment, NaN where nothing occurs.
        no_truth: names of images whose every pixel is void.
        failed: (name, message) of images that could not be scored.
        seconds: time the predictions and their scoring took.
        files: what was written.
    """

    scores: PanopticScores
    config: ValidationConfig
    space: LabelSpace
    dataset: str
    facts: dict[str, Any]
    classes: tuple[int, ...]
    matched: bool
    image_quality: dict[str, float]
    no_truth: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    files: list[Path] = field(default_factory=list)

    def table(self) -> str:
        """Return the scores in percent as text, with the published ones where the protocol has them."""
        return score_table(self)


def validate(
    predictor: CupsModel | str | Path,
    data: str | Path,
    config: ValidationConfig | None = None,
    *,
    out: Path | None = None,
    visualize: int | None = 0,
    boxes: bool = False,
    progress: bool = True,
) -> ValidationResult:
    """Score a network, or a folder of predictions or pseudo-labels, on labelled images.

    Args:
        predictor: the network, or the folder.
        data: the labelled data set, in its official layout.
        config: the protocol; the defaults score the data set's own classes on whole images.
        out: folder for ``results.json``, ``report.html`` and overlays; nothing is written without it.
        visualize: write overlays of predictions and truth for so many images (``None``: all).
        boxes: draw the boxes of objects into the overlays.
        progress: show progress.

    Raises:
        ConfigError: settings that do not fit the data or the predictions.
        DataError: the data set or the predictions are missing, or no image could be scored.
    """
    config = config or ValidationConfig()
    dataset = open_truth(data, config)
    source: ClusterSource
    if isinstance(predictor, CupsModel):
        source = NetworkClusters(predictor, config, dataset.space)
    else:
        source = open_predictions(Path(predictor), dataset.space, thing_threshold=config.thing_threshold)
    with ExitStack() as stack:
        kept = None if out is None else stack.enter_context(KeptPredictions())
        result = score(source, dataset, config, kept=kept, progress=progress)
        if out is not None and kept is not None:
            result.files.extend(
                save_results(result, dataset, kept, out, visualize=visualize, boxes=boxes, progress=progress)
            )
    return result


def open_truth(data: str | Path, config: ValidationConfig) -> LabelledDataset:
    """Open the labelled images that a protocol scores."""
    return open_labels(
        data,
        config.dataset,
        config.split,
        space=config.space,
        raw_ids_of=config.raw_ids_of,
        scale=config.scale,
        crop=config.crop,
    )


def score(
    source: ClusterSource,
    dataset: LabelledDataset,
    config: ValidationConfig,
    *,
    kept: KeptPredictions | None = None,
    progress: bool = True,
) -> ValidationResult:
    """Compare predictions with labels; see :func:`validate`.

    Args:
        source: of the predictions.
        dataset: images with labels.
        config: the protocol.
        kept: takes the predicted maps, for pictures.
        progress: show progress.
    """
    metric = quality_metric(source, dataset.space, config)
    names: list[str] = []
    no_truth: list[str] = []
    failed: list[tuple[str, str]] = []
    began = time.monotonic()
    with Progress("validate", len(dataset), unit="images", enabled=progress) as line:
        for batch in _batches(_read_ahead(dataset, config.readers, failed), config.batch_size):
            for sample, prediction in _predicted(source, batch, failed):
                predicted, target = _compared(prediction, sample, config)
                predicted = _as_classes(predicted, source.classes)
                metric.update(predicted, target.to(predicted.device))
                names.append(sample["name"])
                if not bool((target[..., 0] != VOID).any()):
                    no_truth.append(sample["name"])
                if kept is not None:
                    kept.add(sample["name"], predicted)
            line.advance(len(names) + len(failed) - line.count, f"{len(failed)} failed" if failed else None)
    if not names:
        raise DataError(
            f"none of the {len(dataset)} images could be scored: {failed[0][0]}: {failed[0][1]}",
            hint="`nolabel doctor` checks a data set",
        )
    scores = metric.compute()
    applied = scores.assignment.tolist() if metric.matching else range(dataset.space.num_classes)
    return ValidationResult(
        scores,
        config,
        dataset.space,
        f"{dataset.root.resolve().name}/{dataset.split}".rstrip("/"),
        source.facts,
        tuple(applied),
        metric.matching,
        dict(zip(names, metric.image_quality().tolist(), strict=True)),
        tuple(no_truth),
        tuple(failed),
        time.monotonic() - began,
    )


def quality_metric(source: ClusterSource, space: LabelSpace, config: ValidationConfig) -> PanopticQuality:
    """Return the metric of a protocol; predictions that are classes already are not matched."""
    unknown = [name for name in config.ignored_classes if name not in space.names]
    if unknown:
        raise ConfigError(
            f"ignored_classes: {space.name} has no class {unknown[0]!r}",
            hint=f"classes: {', '.join(space.names)}",
        )
    matching = config.matching
    find = matching.mode == "find" and source.classes is None
    return PanopticQuality(
        source.num_clusters if source.classes is None else None,
        source.num_stuff if find else None,
        space,
        split_things=find and matching.split_things,
        one_to_one=matching.one_to_one,
        matching=find,
        classes_mask=[name not in config.ignored_classes for name in space.names],
        void_rule=config.void_rule,
    )


def target_of(sample: LabelledSample) -> Tensor:
    """Return the (H, W, 2) int64 truth of a sample: class (255 void) and instance."""
    return torch.stack(
        [torch.as_tensor(sample["semantic"]), torch.as_tensor(sample["instance"])], dim=-1
    ).long()


def _compared(
    prediction: ClusterMap, sample: LabelledSample, config: ValidationConfig
) -> tuple[Tensor, Tensor]:
    """The two maps that a protocol compares: whole panoptic maps, or classes of the central square."""
    target, side = target_of(sample), config.semantic.center_crop
    if side is None:
        return prediction.ids, target
    target = without_instances(nearest_square(target[..., 0], side))
    if config.semantic.crf is None:
        return without_instances(nearest_square(prediction.ids[..., 0], side)), target
    image = torch.as_tensor(sample["image"])
    return without_instances(refined_square(prediction, image, side, config.semantic.crf)), target


def _as_classes(ids: Tensor, classes: Tensor | None) -> Tensor:
    if classes is None:
        return ids
    named = classes.to(ids.device)[ids[..., 0].clamp(0, VOID)]
    return torch.stack([named, ids[..., 1]], dim=-1)


def _predicted(
    source: ClusterSource, batch: Sequence[LabelledSample], failed: list[tuple[str, str]]
) -> Iterator[tuple[LabelledSample, ClusterMap]]:
    """Predict a batch; where it fails, image by image, so that one bad file costs one image."""
    try:
        yield from zip(batch, source.predict(batch), strict=True)
    except DataError as error:
        if len(batch) == 1:
            failed.append((batch[0]["name"], str(error.message)))
            return
        for sample in batch:
            yield from _predicted(source, [sample], failed)


def _read_ahead(
    dataset: LabelledDataset, readers: int, failed: list[tuple[str, str]]
) -> Iterator[LabelledSample]:
    """Read samples in order on a few threads, never more than a few ahead; files that cannot be read are noted."""
    indices = iter(range(len(dataset)))
    pool = ThreadPoolExecutor(readers, thread_name_prefix="read")
    try:
        pending = [(i, pool.submit(dataset.__getitem__, i)) for i in islice(indices, readers + 1)]
        while pending:
            index, job = pending.pop(0)
            try:
                sample = job.result()
            except DataError as error:
                failed.append((dataset.names[index], error.message))
            else:
                yield sample
            pending += [(i, pool.submit(dataset.__getitem__, i)) for i in islice(indices, 1)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _batches(samples: Iterator[LabelledSample], size: int) -> Iterator[list[LabelledSample]]:
    """Group neighbours of one size: predicted together, images of different sizes would pad each other."""
    batch: list[LabelledSample] = []
    for sample in samples:
        if batch and (len(batch) == size or sample["image"].shape != batch[0]["image"].shape):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch
