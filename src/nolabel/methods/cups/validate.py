"""Panoptic quality of a CUPS network, with unsupervised matching of its clusters (CUPS, section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from nolabel.data import CityscapesPanoptic
from nolabel.engine.progress import Progress
from nolabel.labels import LABEL_SPACES, LabelSpace
from nolabel.methods.cups.model_file import MODEL_FILE, CupsModel, save_model
from nolabel.methods.cups.predict import predict_clusters
from nolabel.metrics import PanopticQuality, PanopticScores
from nolabel.structures import LabelledSample
from nolabel.structures.files import write_json

__all__ = ["quality_metric", "report_scores", "validate", "validate_on"]


def quality_metric(model: CupsModel, space: LabelSpace, *, split_things: bool = True) -> PanopticQuality:
    """Return the metric that matches the model's clusters with the classes of ``space``."""
    return PanopticQuality(
        model.num_clusters,
        model.network.config.num_stuff,
        space,
        split_things=split_things,
    )


def validate(
    model: CupsModel, samples: Iterable[LabelledSample], space: LabelSpace, *, count: int
) -> PanopticScores:
    """Score a network on labelled images; the labels are used for matching and scoring only.

    Args:
        model: the network.
        samples: images with semantic (classes of ``space``, 255 void) and instance maps.
        space: the label space of the samples.
        count: number of samples, for the progress line.
    """
    metric = quality_metric(model, space)
    with Progress("validate", count, unit="images") as progress:
        for sample in samples:
            prediction = predict_clusters(model, [sample["image"].to(model.network.pixel_mean.device)])
            target = torch.stack([sample["semantic"], sample["instance"]], dim=-1)[None]
            metric.update(prediction.cpu(), target.long())
            progress.advance()
    return metric.compute()


def validate_on(
    model: CupsModel,
    data: Path,
    *,
    split: str = "val",
    space: str = "cityscapes_19",
    scale: float = 1.0,
    store_alignment: bool = False,
) -> PanopticScores:
    """Score a network on a data set in the Cityscapes layout.

    Args:
        model: the network.
        data: root of the data set.
        split: which part of it.
        space: name of the label space.
        scale: size factor of images and labels.
        store_alignment: write the matching into the model's file, so that predictions carry class names.
    """
    classes = LABEL_SPACES[space]
    dataset = CityscapesPanoptic(data, split=split, space=classes, scale=scale)
    scores = validate(model, (dataset[i] for i in range(len(dataset))), classes, count=len(dataset))
    if store_alignment and model.source is not None:
        aligned = model.aligned(tuple(int(c) for c in scores.assignment), classes)
        save_model(aligned, model.source.with_name(MODEL_FILE), aligned_on=f"{data.name}/{split}")
    return scores


def report_scores(scores: PanopticScores, out: Path | None = None) -> str:
    """Return the scores as a table of percentages; write them to ``out``/results.json too where it is given."""
    rows = [f"{name:<12}{100 * value:6.1f}" for name, value in scores.values().items()]
    rows += [
        f"  PQ {name:<16}{100 * float(value):6.1f}"
        for name, value in zip(scores.class_names, scores.pq_per_class, strict=True)
    ]
    if out is not None:
        per_class = dict(zip(scores.class_names, (float(v) for v in scores.pq_per_class), strict=True))
        write_json(out / "results.json", {**scores.values(), "pq_per_class": per_class})
        rows.append(f"results: {out / 'results.json'}")
    return "\n".join(rows)
