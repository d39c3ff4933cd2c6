"""Evaluation of a network or of a folder of predictions, with its files."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nolabel import viz
from nolabel.config import Config
from nolabel.data import LabelledDataset, open_labels
from nolabel.data.labelled import identity_table
from nolabel.data.predicted_labels import PredictedLabels
from nolabel.engine.segment import segment_batch
from nolabel.engine.segmentation_inference import TestViews
from nolabel.engine.segmentation_scoring import (
    LabelFiles,
    NetworkLabels,
    SegmentationResult,
    SegmentationSource,
    score_segmentation,
)
from nolabel.engine.segmentor_file import SegmentorModel
from nolabel.errors import ConfigError, DataError
from nolabel.labels import CITYSCAPES_19, CITYSCAPES_27, VOID, LabelSpace
from nolabel.structures.files import write_png
from nolabel.viz.semantic_files import SemanticFiles

__all__ = ["EvaluationConfig", "evaluate"]


class EvaluationConfig(Config):
    """On what, and with which classes, predictions are scored."""

    dataset: str | None = None
    """Layout of the labelled data; found by looking by default."""
    split: str | None = None
    """Part of it; ``val`` by default."""
    space: str | None = None
    """Classes to score; by default the network's where the labels can be read so, else the data's (CamVid's 11)."""
    labels: Path | None = None
    """Text file of label maps, where the data is a text file of images."""
    mapping: Path | None = None
    """Own folders: file that says what ids or colours of the labels mean."""
    raw_ids_of: str | None = None
    """Own folders: data set whose raw ids the labels hold."""
    predicted_ids_of: str | None = None
    """Folders of predictions: data set whose raw ids they hold; classes of the space by default."""
    void_metric: bool = False
    """Also the mean with void as a class (the original's --void-metric): true void counts, 255 does not."""
    batch_size: int = 1
    """Images of one size predicted together."""
    max_side: int | None = None
    """Larger images are scaled down to this longer side for the network, in pixels."""
    views: TestViews = TestViews()
    """Several looks at every image: ``views={scales: [0.5, 0.75, 1, 1.25, 1.5, 1.75], flip: true}``."""


def evaluate(
    predictor: SegmentorModel | str | Path,
    data: str | Path,
    config: EvaluationConfig | None = None,
    *,
    out: Path | None = None,
    visualize: int | None = 0,
    save: Sequence[str] = (),
    progress: bool = True,
) -> SegmentationResult:
    """Score a network, or a folder of predictions as PNGs, on labelled images.

    Args:
        predictor: the network, or the folder.
        data: the labelled images.
        config: which part of them, and the classes.
        out: folder for ``results.json``, ``scores.txt``, ``classes.csv`` and pictures; nothing is written without it.
        visualize: pictures of so many images, evenly spread (``None``: all): image, prediction, truth and errors.
        save: what to write of every prediction of a network to ``out/predictions``
            (:data:`nolabel.viz.semantic_files.SEMANTIC_FORMATS`).
        progress: show progress.

    Raises:
        ConfigError: settings that do not fit the data or the predictions, or nothing to save predictions in.
        DataError: the data set or the predictions are missing, or no image could be scored.
    """
    config = config or EvaluationConfig()
    dataset = _open(predictor, data, config)
    source: SegmentationSource
    if isinstance(predictor, SegmentorModel):
        facts: dict[str, Any] = {
            "source": "network",
            "architecture": predictor.architecture,
            "trained": dict(predictor.facts),
            "file": None if predictor.source is None else predictor.source.name,
        }
        network = partial(segment_batch, predictor, views=config.views)
        source = NetworkLabels(network, predictor.space, dataset.space, facts, max_side=config.max_side)
    else:
        files = PredictedLabels(predictor, dataset.space, raw_ids_of=config.predicted_ids_of)
        source = LabelFiles(files)
    with _kept(source, predictor, out, save, len(dataset)):
        result = score_segmentation(
            source,
            _void_as_class(dataset) if config.void_metric else dataset,
            batch_size=config.batch_size,
            void_is_class=config.void_metric,
            progress=progress,
        )
    if out is not None:
        settings = {"settings": config.model_dump(mode="json")}
        _write_pictures(source, dataset, out, len(dataset) if visualize is None else visualize)
        viz.write_segmentation_scores(
            result.scores, out, title=result.title, facts={**result.record(), **settings}
        )
    return result


@contextmanager
def _kept(
    source: SegmentationSource,
    predictor: SegmentorModel | str | Path,
    out: Path | None,
    save: Sequence[str],
    total: int,
) -> Iterator[None]:
    """Write what the network predicts while it is scored."""
    if not save:
        yield
        return
    if not isinstance(source, NetworkLabels) or not isinstance(predictor, SegmentorModel) or out is None:
        raise ConfigError(
            "only a network's predictions are saved, to the folder of the results", hint="give both"
        )
    with SemanticFiles(out / "predictions", predictor.space, save, total=total) as files:
        source.keep = lambda sample, result: files.add(sample["name"], result, sample["image"])
        yield
    source.keep = None


def _void_as_class(dataset: LabelledDataset) -> LabelledDataset:
    """Give void labels the id after the last class; 255, no label at all, stays what it is."""
    classes, result = dataset.space.num_classes, copy.copy(dataset)
    table = dataset.table.copy()
    if np.array_equal(table[:256], identity_table(dataset.space)):
        table[classes] = classes  # train ids: nothing else is void
    else:
        table[(table == VOID) & (np.arange(len(table)) != VOID)] = classes
    result.table = table
    return result


def _open(
    predictor: SegmentorModel | str | Path, data: str | Path, config: EvaluationConfig
) -> LabelledDataset:
    """Open the labels in the space asked for, or else in the predictions' own where the labels can be read so."""

    def opened(space: LabelSpace | str | None) -> LabelledDataset:
        return open_labels(
            data,
            config.dataset,
            config.split,
            space=space,
            labels=config.labels,
            mapping=config.mapping,
            raw_ids_of=config.raw_ids_of,
        )

    dataset = opened(config.space)
    own = predictor.space if isinstance(predictor, SegmentorModel) else CITYSCAPES_19
    if config.space is not None or dataset.space not in (CITYSCAPES_19, CITYSCAPES_27):
        return dataset  # a coarser space, such as CamVid's, cannot tell the predictions' classes apart
    try:
        return opened(own)
    except ConfigError:
        return dataset


def _write_pictures(source: SegmentationSource, dataset: LabelledDataset, out: Path, count: int) -> None:
    """Write ``pictures/NAME.png`` of evenly spread images; those that cannot be predicted are left out."""
    count = min(count, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).round().astype(int) if count else ():
        try:
            sample = dataset[int(index)]
            (labels,) = source.predict([sample])
        except DataError:
            continue
        image, truth = torch.as_tensor(sample["image"]), torch.as_tensor(sample["semantic"])
        picture = viz.side_by_side(
            [
                image,
                viz.semantic_overlay(image, labels, dataset.space),
                viz.semantic_overlay(image, truth, dataset.space),
                viz.error_colours(labels, truth),
            ],
            ["image", "prediction", "truth", "errors"],
        )
        write_png(out / "pictures" / f"{sample['name']}.png", picture)
