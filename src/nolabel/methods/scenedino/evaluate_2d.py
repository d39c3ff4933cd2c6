"""Unsupervised segmentation of rendered views, and their depth (spec ``scenedino.md`` 11.1, 11.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pydantic
import torch
from torch import Tensor

from nolabel.config import Config
from nolabel.data.posed_views import PosedSample
from nolabel.engine.progress import Progress
from nolabel.errors import DataError
from nolabel.geometry import depth_from_distance
from nolabel.labels import CITYSCAPES_19
from nolabel.methods.scenedino.crf import refine_labels
from nolabel.methods.scenedino.scene_model import SceneModel, ViewPrediction, spread
from nolabel.metrics import SCENEDINO_CLASS_WEIGHTS, SemanticQuality, SemanticScores, depth_scores
from nolabel.structures.files import write_json

__all__ = ["PROTOCOLS", "Evaluation2dConfig", "Result2d", "evaluate_2d"]


class Evaluation2dConfig(Config):
    """How views are scored."""

    crf: bool = False
    """Refine mapped classes with a dense CRF: on in the published tables, off in the released configuration."""
    clusters: pydantic.PositiveInt = 19
    """Cluster ids a head may give; more than classes is over-clustering."""
    depth: bool = True
    """Score the depth of views that come with one."""
    depth_reference_compat: bool = False
    """As the original: distances along the ray taken for depths, abs_rel and sq_rel square-rooted."""


PROTOCOLS: dict[str, dict[str, Any]] = {"published": {"crf": True}, "released": {"crf": False}}
"""Name -> settings: the paper's tables, and what the released configuration computes."""


class Views(Protocol):
    """Anything with labelled samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> PosedSample: ...


@dataclass(frozen=True)
class Result2d:
    """Scores of views.

    Attributes:
        images: how many.
        heads: by head, with suffix ``_crf`` where a CRF refined the classes: scores after matching clusters with classes.
        depth: by name of the error, means over images; empty without depth.
        files: what was written.
    """

    images: int
    heads: dict[str, SemanticScores]
    depth: dict[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def table(self) -> str:
        """Return the scores as text, in percent."""
        lines = [f"{'head':<20} {'Acc':>6} {'mIoU':>6}"]
        lines += [f"{name:<20} {100 * s.accuracy:6.2f} {100 * s.miou:6.2f}" for name, s in self.heads.items()]
        lines += [f"{name:<20} {value:8.4f}" for name, value in self.depth.items()]
        return "\n".join(lines)

    def values(self) -> dict[str, float]:
        """The numbers by name."""
        named = {f"depth_{name}": value for name, value in self.depth.items()}
        for head, scores in self.heads.items():
            named |= {f"{head}_miou": scores.miou, f"{head}_accuracy": scores.accuracy}
            named[f"{head}_weighted_miou"] = scores.weighted_miou
        return named

    def write(self, out: Path) -> Result2d:
        """Write results.json."""
        record: dict[str, Any] = {"images": self.images, **self.values()}
        for head, scores in self.heads.items():
            names = CITYSCAPES_19.names
            record[f"{head}_iou"] = dict(zip(names, scores.iou.tolist(), strict=True))
            record[f"{head}_assignment"] = scores.assignment.tolist()
        return Result2d(self.images, self.heads, self.depth, (write_json(out / "results.json", record),))


class _Scores:
    """One table of counts for each head, made when the head is first seen."""

    def __init__(self, config: Evaluation2dConfig) -> None:
        self.config = config
        self.metrics: dict[str, SemanticQuality] = {}
        self.depth: list[dict[str, Tensor]] = []

    def add(self, sample: PosedSample, seen: ViewPrediction) -> None:
        """Count a view."""
        assert sample.labels is not None
        for head, clusters in seen.clusters.items():
            self._count(head, clusters, sample.labels, self.config.clusters)
        if self.config.crf:
            image = sample.images[0]
            for head, classes in seen.classes.items():
                refined = refine_labels(classes.to(image.device), image)
                self._count(f"{head}_crf", refined, sample.labels, CITYSCAPES_19.num_classes)
        if self.config.depth and sample.depth is not None and seen.distance is not None:
            distance, matrix = seen.distance.float().cpu(), sample.intrinsics[0].float()
            compat = self.config.depth_reference_compat
            depth = distance if compat else depth_from_distance(distance, matrix)
            self.depth.append(depth_scores(depth[None], sample.depth[None], reference_compat=compat))

    def _count(self, head: str, clusters: Tensor, labels: Tensor, number: int) -> None:
        if head not in self.metrics:
            number = max(number, CITYSCAPES_19.num_classes)
            self.metrics[head] = SemanticQuality(
                CITYSCAPES_19,
                number,
                matching="covering",
                absent_classes="zero",
                class_weights=SCENEDINO_CLASS_WEIGHTS,
            )
        self.metrics[head].update(clusters.cpu()[None], labels[None])


def evaluate_2d(
    model: SceneModel,
    views: Views | Sequence[PosedSample],
    config: Evaluation2dConfig | None = None,
    *,
    out: str | Path | None = None,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Result2d:
    """Score a model's own views.

    Clusters are matched with classes so that every class is used and the most pixels are right, anew for each head and on
    the very labels that score (as in the paper); linear probes are matched, too.

    Args:
        model: what is scored.
        views: samples; view 0 is predicted and needs labels.
        config: how.
        out: folder of results.json.
        limit: score this many samples, evenly spread.
        device: where images are put.
        progress: show progress on standard error.

    Raises:
        DataError: no sample has labels.
    """
    config = config or Evaluation2dConfig()
    chosen = spread(len(views), limit)
    scores, images = _Scores(config), 0
    with Progress("scoring views", len(chosen), unit="images", enabled=progress) as bar:
        for index in chosen:
            sample = views[index]
            if sample.labels is not None:
                with torch.no_grad():
                    seen = model.view(sample.images[0].to(device), sample.intrinsics[0].to(device))
                scores.add(sample, seen)
                images += 1
            bar.advance()
    if not images:
        raise DataError(
            "none of the views has labels", hint="KITTI-360 needs data_2d_semantics for these scores"
        )
    depth = {}
    if scores.depth:
        for name in scores.depth[0]:
            values = torch.cat([one[name] for one in scores.depth])
            depth[name] = float(values[values.isfinite()].mean())
    result = Result2d(images, {head: metric.compute() for head, metric in scores.metrics.items()}, depth)
    return result if out is None else result.write(Path(out))
