"""How well a semantic head's clusters and probes fit labels, during training (SceneDINO specification, 8 and 11.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.posed_views import PosedBatch, PosedSample, collate_posed
from nolabel.engine.batches import to_device
from nolabel.errors import DataError
from nolabel.methods.scenedino.geometry_learner import views_from_first
from nolabel.methods.scenedino.ray_samplers import whole_views
from nolabel.methods.scenedino.semantic_learner import unit_features
from nolabel.methods.scenedino.stage_run import fixed_sample
from nolabel.methods.scenedino.training_pictures import SemanticLook, draw_semantics
from nolabel.metrics import SCENEDINO_CLASS_WEIGHTS, SemanticQuality
from nolabel.models.rendering import RenderSettings, render_fast
from nolabel.models.scenedino import SceneDino, SemanticHead

__all__ = ["head_outputs", "score_semantics"]


def head_outputs(head: SemanticHead, features: Tensor) -> dict[str, Tensor]:
    """What every part of a head says about unit features (..., C): numbers of clusters or classes (...)."""
    code = head.code(features)
    return {
        "code_clusters": head.code_clusters(code)[0],
        "direct_clusters": head.direct_clusters(features)[0],
        "code_probe": head.code_probe(code).argmax(dim=-1),
        "direct_probe": head.direct_probe(features).argmax(dim=-1),
    }


@torch.no_grad()
def score_semantics(
    network: SceneDino,
    head: SemanticHead,
    scenes: Dataset[PosedSample],
    numbers: Sequence[int],
    settings: RenderSettings,
    bounds: tuple[float, float] = (3.0, 80.0),
    device: torch.device | str = "cpu",
    *,
    picture: Path | None = None,
    pictures: int = 0,
) -> dict[str, float]:
    """Score a head on view 0 of labelled scenes, and write the best names of its clusters into it.

    Args:
        network: in evaluation mode.
        head: on its features.
        scenes: labelled.
        numbers: of the scenes that count.
        settings: of the renderer; samples lie in the middles of their stretches.
        bounds: of the rays, metres.
        device: where the network is.
        picture: PNG to draw the first scenes into; clusters as the scores name them.
        pictures: how many.

    Returns:
        ``<part>_miou``, ``_accuracy``, ``_weighted_miou`` for the clusters and probes of code and features; every class
        gets at least one cluster, and classes that are not there count 0.

    Raises:
        DataError: the scenes have no labels.
    """
    weights = SCENEDINO_CLASS_WEIGHTS if head.num_classes == len(SCENEDINO_CLASS_WEIGHTS) else None
    metrics = {}
    for name in ("code_clusters", "direct_clusters", "code_probe", "direct_probe"):
        clusters = getattr(head, name).classes if name.endswith("clusters") else None
        metrics[name] = SemanticQuality(
            head.num_classes,
            head.num_classes if clusters is None else len(clusters),
            matching="none" if clusters is None else "covering",
            absent_classes="zero",
            class_weights=weights or (1.0,) * head.num_classes,
        )
    looks: list[tuple[Tensor, dict[str, Tensor], Tensor]] = []
    for number in numbers:
        batch: PosedBatch = to_device(collate_posed([fixed_sample(scenes, number)]), torch.device(device))
        if batch.labels is None:
            raise DataError(
                f"scene {batch.names[0]} has no labels to score against",
                hint="give labelled scenes, or none: the head is learnt without",
            )
        views = views_from_first(batch.images, batch.intrinsics, batch.poses)[[0]]
        seen = render_fast(network.encode(views, folded=True), whole_views(views, *bounds), settings)
        assert seen.features is not None
        outputs = head_outputs(head, unit_features(network.expansion(seen.features).float()))
        for name, metric in metrics.items():
            metric.update(outputs[name].flatten().cpu(), batch.labels.flatten().cpu())
        if len(looks) < pictures:
            maps = {name: values[0].reshape(batch.labels[0].shape) for name, values in outputs.items()}
            looks.append((views.images[0, 0], maps, batch.labels[0]))
    scores: dict[str, float] = {}
    for name, metric in metrics.items():
        found = metric.compute()
        scores |= {
            f"{name}_miou": found.miou,
            f"{name}_accuracy": found.accuracy,
            f"{name}_weighted_miou": found.weighted_miou,
        }
        if name.endswith("clusters"):
            classes = getattr(head, name).classes
            classes.copy_(torch.as_tensor(found.assignment.astype("int64")))
    if picture is not None and looks:
        draw_semantics(
            picture, [SemanticLook(image, _named(head, maps), known) for image, maps, known in looks]
        )
    return scores


def _named(head: SemanticHead, maps: dict[str, Tensor]) -> dict[str, Tensor]:
    """The classes of maps of clusters."""
    return {
        name: getattr(head, name).classes[values] if name.endswith("clusters") else values
        for name, values in maps.items()
    }
