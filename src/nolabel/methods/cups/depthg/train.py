"""Train a head that distils frozen features and depth into codes, and the clusters of these codes.

DepthG (Sick et al., CVPR 2024), as CUPS trains it (spec cups_pseudo 11.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.engine.fit import TrainingTask
from nolabel.engine.seeding import generator_of
from nolabel.errors import ConfigError
from nolabel.methods.cups.depthg.config import DepthGConfig
from nolabel.methods.cups.depthg.crops import CropDataset, CropSample
from nolabel.methods.cups.depthg.labelled import LabelledFrames
from nolabel.methods.cups.depthg.losses import (
    CorrelationLosses,
    Shifts,
    correlate,
    correlation_losses,
    sample_at,
)
from nolabel.methods.cups.depthg.model_file import SEMANTICS_FILE, save_semantics
from nolabel.methods.cups.depthg.probes import (
    SemanticHeads,
    kmeans_clusters,
    linear_loss,
    score_semantics,
)
from nolabel.methods.cups.depthg.sampling import farthest_coordinates, uniform_coordinates
from nolabel.models.features import CodeNetwork, FeatureExtractor, HalfPrecision

__all__ = ["SemanticTraining"]

AVERAGING = 0.99  # of the smoothed cluster loss and of the clusters' sizes
# Shifts that are left to the data: the share of the pairs whose codes are pushed apart, in one crop (or with a
# neighbour), and with any other crop. Chosen on streets of the procedural world with the descriptors.
CALIBRATION_CROPS = 64
REPELLED_WITHIN, REPELLED_ACROSS = 0.5, 0.65
USED_SHARE = 1e-3  # a cluster with a smaller share of the cells counts as dead


class SemanticTraining(TrainingTask):
    """The training as the loop sees it; see :func:`train_semantics`."""

    def __init__(
        self,
        dataset: CropDataset,
        extractor: FeatureExtractor,
        config: DepthGConfig,
        out: Path,
        *,
        has_depth: bool,
        labels: LabelledFrames | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.dataset, self.extractor, self.config, self.out = dataset, extractor, config, out
        self.labels, self.facts = labels, dict(facts or {})
        self.uses_depth = has_depth and config.depth.weight > 0
        self.done = 0
        self.cluster_loss = torch.zeros(())
        self.shares = torch.zeros(config.clusters)
        self.best: dict[str, Any] = {"score": None, "state": None}

    # --- what is trained --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Build the heads; the backbone is frozen, comes from its file, and stays out of the checkpoints."""
        config = self.config
        exact = self.extractor.extractor if isinstance(self.extractor, HalfPrecision) else self.extractor
        self.network = CodeNetwork(exact, config.dim, config.clusters)
        classes = None
        if self.labels is not None and self.labels.train is not None:
            classes = self.labels.train.space.num_classes
        self.heads = SemanticHeads(self.network.head, self.network.probe, classes, config.dim)
        return {"heads": self.heads}

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam for the head, and faster ones for the probes."""
        config, heads = self.config, self.heads
        optimizers: dict[str, torch.optim.Optimizer] = {
            "head": torch.optim.Adam(heads.head.parameters(), lr=config.learning_rate),
            "clusters": torch.optim.Adam(heads.probe.parameters(), lr=config.probe_learning_rate),
        }
        if heads.linear is not None:
            optimizers["linear"] = torch.optim.Adam(heads.linear.parameters(), lr=config.probe_learning_rate)
        self.extractor.to(self.fabric.device)
        self._calibrate()
        return optimizers

    def train_dataset(self) -> Dataset:
        """Return the crops."""
        return self.dataset

    # --- a step -----------------------------------------------------------------------------------------------

    def before_step(self, step: int) -> None:
        """Remove what a former run left, so that an unfinished run is never taken for a finished one."""
        if step == 0 and self.fabric.global_rank == 0:
            (self.out / SEMANTICS_FILE).unlink(missing_ok=True)

    def training_step(self, batch: CropSample, step: int) -> dict[str, Tensor]:
        """Return the weighted losses and what is worth watching."""
        config = self.config
        features, positive = self._features(batch["view"]), self._features(batch["positive"])
        if len(features) < 2:
            raise ConfigError("fit.batch_size=1 leaves no negatives", hint="use two or more crops in a batch")
        code, other_code, cluster_loss, assigned, logits = self.modules["heads"](features, positive)
        terms = self._correlations((features, positive), (code, other_code), batch, step)
        weighted = {
            "intra": config.intra.weight * terms.intra.loss.mean(),
            "inter": config.inter.weight * terms.inter.loss.mean(),
            "negative": config.negative.weight * terms.negative.loss.mean(),
        }
        if terms.depth is not None:
            weighted["depth"] = config.depth.weight * config.depth_factor(step) * terms.depth.loss.mean()
        losses = {**weighted, "clusters": cluster_loss}
        if logits is not None:
            losses["linear"] = linear_loss(logits, batch["label"])
        self._watch(cluster_loss.detach(), assigned)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    @torch.no_grad()
    def _features(self, view: Tensor) -> Tensor:
        return view.float() if self.dataset.cached else self.extractor(view).float()

    def _comparable(self, features: Tensor) -> Tensor:
        """Features as they are correlated: without their common part, and lifted."""
        features = features - self.centre
        if self.lift == 0:
            return features
        return torch.cat([features, torch.full_like(features[:, :1], self.lift)], dim=1)

    def _correlations(
        self, features: tuple[Tensor, Tensor], codes: tuple[Tensor, Tensor], batch: CropSample, step: int
    ) -> CorrelationLosses:
        config, count = self.config, len(features[0])
        generator = generator_of(config.fit.seed, "places", step, self.fabric.global_rank)
        samples = config.samples_at(step)
        places = tuple(self._places(batch[name], samples, generator) for name in ("depth", "positive_depth"))
        permutations = torch.stack(
            [torch.randperm(count, generator=generator) for _ in range(config.negatives)]
        )
        return correlation_losses(
            (self._comparable(features[0]), self._comparable(features[1])),
            codes,
            batch["depth"] if self.uses_depth else None,
            (places[0], places[1]),
            permutations.to(features[0].device),
            self.shifts._replace(depth=self.shifts.depth * config.depth_factor(step)),
            pointwise=config.pointwise,
            reference_compat=config.reference_compat,
        )

    def _places(self, depth: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Where the losses look; images without any depth are looked at in random places."""
        uniform = uniform_coordinates(len(depth), samples, generator, depth.device)
        if self.config.places == "uniform" or not bool((depth > 0).any()):
            return uniform
        size = (depth.shape[-2], depth.shape[-1])
        spread = farthest_coordinates(depth, size, samples, reference_compat=self.config.reference_compat)
        known = (depth > 0).flatten(1).any(dim=1)[:, None, None, None]
        return torch.where(known, spread, uniform)

    def _watch(self, cluster_loss: Tensor, assigned: Tensor) -> None:
        """Keep running means of the cluster loss and of the clusters' shares."""
        counts = torch.bincount(assigned.flatten(), minlength=self.config.clusters)
        share = (counts / counts.sum()).cpu()
        rate = AVERAGING if self.done else 0.0
        self.cluster_loss = rate * self.cluster_loss + (1 - rate) * cluster_loss.float().cpu()
        self.shares = rate * self.shares + (1 - rate) * share

    def after_step(self, step: int) -> None:
        """Count."""
        self.done = step + 1

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Measure the features' common part and length, and the shifts that are left to the data.

        All are functions of data and seed, so a run that goes on measures the same.
        """
        config, dataset, device = self.config, self.dataset, self.fabric.device
        self.centre = torch.zeros(1, self.extractor.channels, 1, 1, device=device)
        self.lift = 0.0
        given = (config.intra.shift, config.inter.shift, config.negative.shift)
        if not (config.centre_features or config.lift or None in given):
            self.shifts = Shifts(*(shift or 0.0 for shift in (*given, config.depth.shift)))
            return
        generator = generator_of(config.fit.seed, "calibration")
        chosen = torch.randperm(len(dataset), generator=generator)[:CALIBRATION_CROPS].tolist()
        partners = [int(dataset.positives[index, 0]) for index in chosen]
        views, near = (
            torch.cat([self._features(dataset.view(index).to(device)[None]) for index in indices])
            for indices in (chosen, partners)
        )
        if config.centre_features:
            self.centre = views.mean(dim=(0, 2, 3), keepdim=True)
        self.lift = config.lift * float((views - self.centre).square().sum(dim=1).mean().sqrt())
        places = uniform_coordinates(len(views), config.samples, generator, device)
        here, there = (sample_at(self._comparable(maps), places) for maps in (views, near))
        others = ((here, REPELLED_WITHIN), (there, REPELLED_WITHIN), (here.roll(1, dims=0), REPELLED_ACROSS))
        measured = [float(correlate(here, other).flatten().quantile(share)) for other, share in others]
        intra, inter, negative = (
            found if shift is None else shift for shift, found in zip(given, measured, strict=True)
        )
        self.shifts = Shifts(intra, inter, negative, config.depth.shift or 0.0)

    # --- looking, choosing, writing ---------------------------------------------------------------------------

    def validation(self) -> dict[str, float]:
        """Score where labels are given, remember the best weights, and write the network after the last step."""
        metrics = {
            "cluster_loss": float(self.cluster_loss),
            "clusters_used": float((self.shares > USED_SHARE).sum()),
            **self._scores(),
        }
        if self.config.choose != "last":
            score = metrics["miou"] if self.config.choose == "miou" else -metrics["cluster_loss"]
            if self.best["score"] is None or score > self.best["score"]:
                self.best = {"score": score, "state": _copy(self.heads)}
        if self.done == self.config.fit.steps:
            metrics |= self._finish(metrics)
        return metrics

    def _scores(self) -> dict[str, float]:
        if self.labels is None:
            return {}
        return score_semantics(
            self.network,
            self.heads.linear,
            self.labels.held_out,
            self.fabric.device,
            geometry_of=self.labels.geometry_of,
            crf=self.config.crf,
        )

    def _finish(self, metrics: dict[str, float]) -> dict[str, float]:
        """Write the chosen weights with their clusters; training goes on unchanged where it is continued."""
        config, last = self.config, _copy(self.heads)
        if self.best["state"] is not None:
            self.heads.load_state_dict(self.best["state"])
        if config.final_clusters == "kmeans":
            generator = generator_of(config.fit.seed, "final clusters")
            centres = kmeans_clusters(self._codes, self.dataset, config.clusters, generator, config.balance)
            self.heads.probe.clusters.data.copy_(centres)
        changed = self.best["state"] is not None or config.final_clusters == "kmeans"
        scores = self._scores() if changed else {}
        if self.fabric.global_rank == 0:
            save_semantics(
                self.out / SEMANTICS_FILE,
                self.network,
                config.backbone.name,
                config.backbone.scale,
                steps=self.done,
                metrics={**metrics, **scores},
                **self.facts,
            )
        self.heads.load_state_dict(last)
        return scores

    def _codes(self, index: int) -> Tensor:
        return self.network.head(self._features(self.dataset.view(index).to(self.fabric.device)[None]))[0]

    def state_dict(self) -> dict[str, Any]:
        """Return running means and the best weights so far."""
        return {
            "data": self.dataset.cache.name,
            "done": self.done,
            "cluster_loss": self.cluster_loss,
            "shares": self.shares,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take :meth:`state_dict` back.

        Raises:
            ConfigError: the run was begun with other footage or other features.
        """
        if state["data"] != self.dataset.cache.name:
            raise ConfigError(
                f"the run in {self.out} was begun with other footage, backbone weights or labels",
                hint="choose another --out, or remove that folder",
            )
        self.done, self.best = state["done"], state["best"]
        self.cluster_loss, self.shares = state["cluster_loss"], state["shares"]


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
