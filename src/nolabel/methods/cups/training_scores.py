"""Scores of a network while it trains."""

from __future__ import annotations

from pathlib import Path

from nolabel.methods.cups.cluster_sources import NetworkClusters
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.panoptic_training import Score
from nolabel.methods.cups.validate import open_truth, score
from nolabel.methods.cups.validation_config import ValidationConfig

__all__ = ["scorer"]


def scorer(data: Path, config: ValidationConfig) -> Score:
    """Return a function that scores a network on labelled images; the labels never reach the training.

    Args:
        data: the labelled data set, opened at once so that mistakes show before the training.
        config: the protocol (published during training: half size, 27 classes).

    Returns:
        Model to scores by name, in 0..1.
    """
    dataset = open_truth(data, config)

    def score_model(model: CupsModel) -> dict[str, float]:
        source = NetworkClusters(model, config, dataset.space)
        return score(source, dataset, config, progress=False).scores.values()

    return score_model
