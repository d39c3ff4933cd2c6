"""Scores of frozen features on labelled pictures: the mean IoU of k-NN and of a linear probe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.data.labelled import LabelledDataset
from nolabel.engine.feature_extractors import PACKAGED, open_features
from nolabel.engine.seeding import generator_of
from nolabel.errors import DataError, WeightsError
from nolabel.labels import VOID
from nolabel.metrics.probes import (
    CellBank,
    Likeness,
    cell_labels,
    fit_linear_probe,
    neighbour_votes,
)
from nolabel.metrics.semantic import SemanticQuality, SemanticScores
from nolabel.models.features import DescribedFeatures, FeatureExtractor

__all__ = [
    "ProbeSettings",
    "ProbedFeatures",
    "compare_features",
    "evenly_spread",
    "fill_bank",
    "probe_features",
]


@dataclass(frozen=True)
class ProbeSettings:
    """How features are probed.

    Attributes:
        references: pictures that the probes learn from, at most, evenly spread over the data.
        queries: pictures that they are scored on, likewise.
        cells: labelled cells of each reference picture.
        neighbours: k of k-NN.
        seed: of the choice of cells.
    """

    references: int = 30
    queries: int = 30
    cells: int = 200
    neighbours: int = 20
    seed: int = 0


@dataclass(frozen=True)
class ProbedFeatures:
    """What the probes found.

    Attributes:
        neighbours: scores of k-NN.
        linear: scores of the linear probe.
        cells: labelled cells that they learned from.
    """

    neighbours: SemanticScores
    linear: SemanticScores
    cells: int

    def values(self) -> dict[str, float]:
        """``knn_miou``, ``knn_accuracy``, ``linear_miou``, ``linear_accuracy`` in [0, 1]."""
        return {
            f"{name}_{score}": float(getattr(scores, score))
            for name, scores in (("knn", self.neighbours), ("linear", self.linear))
            for score in ("miou", "accuracy")
        }

    def card(self) -> dict[str, Any]:
        """The scores with the IoU of each class (null where a class never occurs), JSON values."""
        return {
            **self.values(),
            "cells": self.cells,
            **{
                f"{name}_iou": [None if math.isnan(value) else float(value) for value in scores.iou]
                for name, scores in (("knn", self.neighbours), ("linear", self.linear))
            },
        }


def likeness_of(extractor: FeatureExtractor) -> Likeness:
    """Tell what makes features alike: descriptors (which could use stereo geometry) carry meaning in their length."""
    return "distance" if extractor.uses_geometry else "direction"


def evenly_spread(count: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` of the numbers 0 .. count - 1, evenly spread."""
    return [place * count // min(count, wanted) for place in range(min(count, wanted))]


@torch.no_grad()
def fill_bank(
    extractor: FeatureExtractor,
    labelled: LabelledDataset,
    settings: ProbeSettings,
    device: torch.device | str,
) -> CellBank:
    """Collect the features of randomly chosen labelled cells, the same ones for every network of one stride.

    Raises:
        DataError: nothing is labelled.
    """
    features, labels = [], []
    for index in evenly_spread(len(labelled), settings.references):
        sample = labelled[index]
        found = extractor(sample["image"].as_subclass(Tensor).to(device)[None])[0].float()
        classes = cell_labels(
            sample["semantic"].as_subclass(Tensor),
            (found.shape[1], found.shape[2]),
            labelled.space.num_classes,
        )
        usable = (classes.flatten() != VOID).nonzero()[:, 0]
        order = torch.randperm(len(usable), generator=generator_of(settings.seed, "cells", index))
        chosen = usable[order[: settings.cells]]
        features.append(found.flatten(1).T[chosen.to(found.device)])
        labels.append(classes.flatten()[chosen].to(found.device))
    if not sum(len(part) for part in labels):
        raise DataError(f"no cell of {labelled.root} is labelled", hint="give pictures with labels")
    return CellBank(torch.cat(features), torch.cat(labels))


@torch.no_grad()
def probe_features(
    extractor: FeatureExtractor,
    references: LabelledDataset,
    queries: LabelledDataset,
    settings: ProbeSettings | None = None,
    device: torch.device | str = "cpu",
) -> ProbedFeatures:
    """Score features: cells of the reference pictures are known, those of the queries are guessed.

    Votes and probabilities are interpolated to the size of the labels before the largest one counts.

    Args:
        extractor: in evaluation mode, on ``device``.
        references: labelled pictures.
        queries: other labelled pictures, of the same label space.
        settings: how.
        device: where features are computed.

    Raises:
        DataError: the two have different classes, or nothing is labelled.
    """
    settings = settings or ProbeSettings()
    if references.space != queries.space:
        raise DataError(f"the classes differ: {references.space.name} and {queries.space.name}")
    classes = queries.space.num_classes
    bank = fill_bank(extractor, references, settings, device)
    linear, likeness = fit_linear_probe(bank, classes), likeness_of(extractor)
    by_neighbours, by_line = SemanticQuality(queries.space), SemanticQuality(queries.space)
    for index in evenly_spread(len(queries), settings.queries):
        sample = queries[index]
        found = extractor(sample["image"].as_subclass(Tensor).to(device)[None])[0].float()
        cells, target = found.flatten(1).T, sample["semantic"].as_subclass(Tensor)
        votes = neighbour_votes(bank, cells, classes, settings.neighbours, likeness)
        for quality, shares in ((by_neighbours, votes), (by_line, linear.probabilities(cells))):
            quality.update(_labels(shares, (found.shape[1], found.shape[2]), target.shape), target)
    return ProbedFeatures(by_neighbours.compute(), by_line.compute(), len(bank.labels))


def compare_features(
    names: Sequence[str],
    references: LabelledDataset,
    queries: LabelledDataset,
    settings: ProbeSettings | None = None,
    *,
    weights: Sequence[str | Path] = (),
    random: bool = False,
    bare: bool = False,
    scale: float = 1.0,
    device: torch.device | str = "cpu",
) -> dict[str, ProbedFeatures]:
    """Score several extractors on the same pictures.

    Args:
        names: see :func:`~nolabel.engine.feature_extractors.open_features`.
        references, queries, settings: see :func:`probe_features`.
        weights: files of those that need one, in order.
        random: score every network with random weights, too (``NAME, random``).
        bare: score pretrained networks that have descriptors beside them alone, too (``NAME, alone``).
        scale: of timm models.
        device: where features are computed.

    Raises:
        WeightsError: there are fewer files than networks that need one, or more.
    """
    settings, found = settings or ProbeSettings(), {}
    files = iter(weights)
    for name in names:
        own = name in PACKAGED or Path(name).exists()
        file = None if own else next(files, None)
        trained = open_features(name, device, file, scale=scale)
        rows = {name: False}
        if bare and isinstance(trained, DescribedFeatures):
            rows[f"{name}, alone"] = True
        seeds: dict[str, int | None] = {"": None}
        if random and any(True for _ in trained.parameters()):
            seeds[", random"] = settings.seed
        for ending, seed in seeds.items():
            for row, alone in rows.items():
                extractor = trained
                if alone or seed is not None:
                    extractor = open_features(name, device, file, scale=scale, random_seed=seed, bare=alone)
                found[row + ending] = probe_features(extractor, references, queries, settings, device)
    left = next(files, None)
    if left is not None:
        raise WeightsError(
            f"no features are named for the weights {left}",
            hint="name features and weights in the same order",
        )
    return found


def _labels(shares: Tensor, cells: tuple[int, int], size: torch.Size) -> Tensor:
    """Labels (H, W) on the CPU of the shares (h * w, C) of each class."""
    maps = shares.T.unflatten(1, cells)[None]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].argmax(0).cpu()
