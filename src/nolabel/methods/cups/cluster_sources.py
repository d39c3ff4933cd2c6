"""Where the predictions under validation come from: a network, or files (see :mod:`prediction_folder`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.labels import LabelSpace
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.validation_config import ValidationConfig, ViewsConfig
from nolabel.models.panoptic import (
    MultiViewPredictor,
    PanopticCascadeMaskRCNN,
    PanopticPrediction,
    ViewConfig,
)
from nolabel.structures import LabelledSample

__all__ = ["ClusterMap", "ClusterSource", "NetworkClusters", "cluster_distribution", "with_confidence"]

VOID = 255


@dataclass(frozen=True)
class ClusterMap:
    """The prediction for one image.

    Attributes:
        ids: (H, W, 2) int64: cluster (stuff first, then things; 255 = void) and instance (0 = none).
        distribution: gives the (K, H, W) probabilities of the clusters, where the source knows them.
    """

    ids: Tensor
    distribution: Callable[[], Tensor] | None = None


class ClusterSource(Protocol):
    """Anything that has a prediction for every image of a labelled data set.

    Attributes:
        num_clusters: clusters K.
        num_stuff: clusters 0 .. num_stuff - 1 are stuff.
        classes: (256,) int64 class of every cluster, 255 = none, where clusters have names; ``None`` where the
            metric is to find them.
        facts: what the results say about where the predictions came from.
    """

    num_clusters: int
    num_stuff: int
    classes: Tensor | None
    facts: dict[str, Any]

    def predict(self, samples: Sequence[LabelledSample]) -> list[ClusterMap]:
        """Predict images of one size.

        Raises:
            DataError: there is no prediction for one of them.
        """
        ...


class NetworkClusters:
    """Predictions of a network, from one view of each image or from several.

    Args:
        model: the network.
        config: thresholds, views and matching.
        space: the classes to score.

    Raises:
        ConfigError: the stored matching is wanted and the model has none for ``space``.
    """

    def __init__(self, model: CupsModel, config: ValidationConfig, space: LabelSpace) -> None:
        self._model = model = with_confidence(model, config.confidence_threshold)
        self._views = config.tta
        self._refined = config.semantic.crf is not None
        self._device = model.network.pixel_mean.device
        self.num_clusters = model.num_clusters
        self.num_stuff = model.network.config.num_stuff
        self.classes = _stored_classes(model, space) if config.matching.mode == "stored" else None
        self.facts: dict[str, Any] = {
            "model": "given in memory" if model.source is None else model.source.name,
            "clusters": self.num_clusters,
            "thing_clusters": self.num_clusters - self.num_stuff,
            "confidence_threshold": model.network.config.confidence_threshold,
        }

    def predict(self, samples: Sequence[LabelledSample]) -> list[ClusterMap]:
        """Predict images of one size."""
        images = [torch.as_tensor(sample["image"]).to(self._device) for sample in samples]
        if self._views.enabled:
            size = (images[0].shape[-2], images[0].shape[-1])
            predictor = MultiViewPredictor(self._model.network, self._view_config(self._views, size))
            predictions = predictor(images)
        else:
            predictions = self._model.network.predict(images)
        return [self._as_clusters(prediction) for prediction in predictions]

    def _view_config(self, views: ViewsConfig, size: tuple[int, int]) -> ViewConfig:
        relative = tuple(max(1, round(scale * min(size))) for scale in views.scales)
        network = self._model.network.config
        return ViewConfig(
            short_sides=relative if views.short_sides is None else views.short_sides,
            mirror=views.mirror,
            longest_side=views.longest_side,
            score_threshold=network.confidence_threshold
            if views.score_threshold is None
            else views.score_threshold,
        )

    def _as_clusters(self, prediction: PanopticPrediction) -> ClusterMap:
        ids = torch.stack(prediction.cluster_maps(), dim=-1)
        if not self._refined:  # the network's scores, 200 MB of a large image, can go
            return ClusterMap(ids)
        probable = self._views.enabled  # several views give mean probabilities, one gives logits
        return ClusterMap(
            ids, lambda: cluster_distribution(prediction, self.num_clusters, probabilities=probable)
        )


def with_confidence(model: CupsModel, threshold: float | None) -> CupsModel:
    """Return the model with another score from which instances are kept (itself, where it is the same)."""
    network = model.network
    if threshold is None or threshold == network.config.confidence_threshold:
        return model
    changed = PanopticCascadeMaskRCNN(replace(network.config, confidence_threshold=threshold))
    changed.load_state_dict(network.state_dict())
    return replace(model, network=changed.to(network.pixel_mean.device).eval())


def cluster_distribution(prediction: PanopticPrediction, num_clusters: int, *, probabilities: bool) -> Tensor:
    """Return (K, H, W) probabilities of the clusters.

    An object of the panoptic map puts its score on its thing cluster; what is left goes to the stuff clusters in the
    proportions of the semantic head (without its channel "some thing"). The largest entry is thus the panoptic map's
    cluster, and the semantic head's best stuff where that map is void.

    Args:
        prediction: of one image.
        num_clusters: K.
        probabilities: ``semantic_logits`` are probabilities, not logits.
    """
    channels = prediction.semantic_logits
    num_stuff = channels.shape[0] - 1
    if probabilities:
        stuff = channels[1:] / channels[1:].sum(dim=0, keepdim=True).clamp(min=1e-12)
    else:
        stuff = channels[1:].softmax(dim=0)
    segments = prediction.panoptic.segments
    rows = [(num_stuff + s.category, s.score or 0.0) if s.is_thing else (0, 0.0) for s in segments]
    cluster = torch.tensor([0, *(row[0] for row in rows)], device=channels.device)
    # More than a half, so that what the panoptic map calls a thing is one, whatever the threshold.
    score = torch.tensor(
        [0.0, *(max(row[1], 0.51) if row[0] else 0.0 for row in rows)], device=channels.device
    )
    ids = prediction.panoptic.ids.long()
    thing = score[ids]
    result = channels.new_zeros((num_clusters, *ids.shape))
    result[:num_stuff] = stuff * (1 - thing)
    return result.scatter_add_(0, cluster[ids][None], thing[None])


def _stored_classes(model: CupsModel, space: LabelSpace) -> Tensor:
    if model.space is None or model.space != space:
        stored = "none" if model.space is None else f"one for {model.space.name}"
        raise ConfigError(
            f"matching.mode=stored: the model carries {stored}, the data is scored in {space.name}",
            hint="store a matching first (--align on other images), or leave matching.mode=find",
        )
    return model.lookup()
