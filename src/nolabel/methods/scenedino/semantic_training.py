"""Stage 2: a semantic head on the frozen field, learnt without labels (SceneDINO specification, 8).

The run folder holds ``model.safetensors``: the network of stage 1 with the head that scored best (or the last one), and
the log. A run that was stopped goes on exactly: head, optimizer, buffer of neighbourhoods, scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.data.posed_views import PosedBatch, PosedSample, collate_posed
from nolabel.engine.fit import TrainingTask
from nolabel.engine.fit_config import TrainedStage
from nolabel.engine.seeding import generator_of
from nolabel.engine.segmentor_file import MODEL_FILE
from nolabel.methods.scenedino.geometry_learner import views_from_first
from nolabel.methods.scenedino.network_files import find_network, load_scenedino, save_scenedino
from nolabel.methods.scenedino.ray_samplers import whole_views
from nolabel.methods.scenedino.semantic_buffers import NeighbourhoodBuffer
from nolabel.methods.scenedino.semantic_learner import (
    Neighbourhoods,
    SemanticLearner,
    draw_dropout,
    draw_masks,
    unit_features,
)
from nolabel.methods.scenedino.semantic_scores import score_semantics
from nolabel.methods.scenedino.semantic_settings import SemanticTrainingConfig
from nolabel.methods.scenedino.stage_run import PICTURES, run_stage
from nolabel.methods.scenedino.surface_sampling import SurfaceDraws, draw_surface, five_crop, sample_surface
from nolabel.models.rendering import Rays, RenderSettings, Views, render_fast
from nolabel.models.scenedino import FoldedField, HeadConfig, SceneDino, SemanticHead
from nolabel.weights import file_hash

__all__ = ["SemanticTraining", "train_semantics"]

DECIDING = "code_clusters_weighted_miou"  # the score that decides which head is kept
FIRST_SIDE_VIEW = 4


@dataclasses.dataclass(frozen=True, eq=False)
class _Scene:
    """What a step looks at: the field of one view of each of N scenes, and R of its rays, rendered."""

    field: FoldedField
    rays: Rays
    depth: Tensor
    features: Tensor
    labels: Tensor | None
    size: tuple[int, int]


class SemanticTraining(TrainingTask):
    """Stage 2 as the loop sees it.

    Args:
        config: settings.
        network: of stage 1, in evaluation mode.
        scenes: what is learned from; their labels, if any, teach the probes alone.
        looked_at: labelled scenes that are scored; nothing if None.
        out: run folder.
    """

    unused_parameters = True

    def __init__(
        self,
        config: SemanticTrainingConfig,
        network: SceneDino,
        scenes: Dataset[PosedSample],
        looked_at: Dataset[PosedSample] | None,
        out: Path,
    ) -> None:
        self.config, self.scenes, self.looked_at, self.out = config, scenes, looked_at, Path(out)
        self.frozen = network.eval().requires_grad_(False)
        self.settings = RenderSettings(samples=config.samples, chunk=config.chunk)
        self.done = 0
        self.best: dict[str, Any] = {"score": float("-inf"), "step": 0, "scores": {}, "head": None}

    # --- what is trained --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Build the head; the network below it is frozen, comes from its file, and stays out of the checkpoints."""
        config, device = self.config, self.fabric.device
        self.head = SemanticHead(self.frozen.config.channels, **config.head.model_dump())
        self.frozen.to(device)
        self.buffer = NeighbourhoodBuffer(
            config.buffer,
            self._points_of_neighbourhood(),
            self.frozen.config.channels,
            device,
            reference_compat=config.reference_compat,
        )
        return {"head": SemanticLearner(self.head, config.stego)}

    def _points_of_neighbourhood(self) -> int:
        surface = self.config.surface
        if surface.mode == "3d":
            return surface.samples
        side = -(-2 * (min(self.frozen.config.image_size) // 4) // surface.step)
        return side * side

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam; clusters and probes learn faster than the code."""
        rate, code = self.config.learning_rate, list(self.head.code.parameters())
        own = {id(parameter) for parameter in code}
        heads = [parameter for parameter in self.head.parameters() if id(parameter) not in own]
        groups = [{"params": code, "lr": rate}, {"params": heads, "lr": rate * self.config.heads_rate}]
        return {"head": torch.optim.Adam(groups)}

    def train_dataset(self) -> Dataset[PosedSample]:
        """Return the scenes."""
        return self.scenes

    def collate(self, samples: list[Any]) -> PosedBatch:
        """Stack scenes."""
        return collate_posed(samples)

    # --- a step -----------------------------------------------------------------------------------------------

    def training_step(self, batch: PosedBatch, step: int) -> dict[str, Tensor]:
        """Render, find neighbourhoods and their partners, and learn."""
        # The loop has seeded torch's own generator as a function of the step.
        config, device = self.config, batch.images.device
        with torch.no_grad(), self.fabric.autocast():
            scene = self._look(batch)
            own = self._neighbourhoods(scene)
            seen = None if own is None else self._with_partners(own)
        head, scenes = config.head, len(scene.features)
        count = (0, 1) if seen is None else (seen.own.shape[0], seen.own.shape[1])
        masks = None
        if head.dropout > 0:
            drawn = draw_masks(
                count,
                scenes,
                self.frozen.config.channels,
                head.code,
                head.dropout,
                reference_compat=config.reference_compat,
            )
            masks = drawn.to(device)
        return self.modules["head"](seen, scene.features, scene.labels, masks)

    def _look(self, batch: PosedBatch) -> _Scene:
        """Render a view of each scene, seen through the field of that very view."""
        number, labelled = self._draw_view(batch.images.shape[1])
        views = Views(batch.images, batch.intrinsics, batch.poses)[[number]]
        views = views_from_first(views.images, views.intrinsics, views.poses)
        height, width = batch.images.shape[-2:]
        rays = whole_views(views, self.config.near, self.config.far)
        labels = None
        if labelled and batch.labels is not None:
            labels = batch.labels.flatten(1)
        if self.config.rays is not None and self.config.surface.mode == "3d":
            chosen = torch.randperm(height * width)[: self.config.rays].to(batch.images.device)
            rays = Rays(*(x[:, chosen] for x in (rays.origins, rays.directions, rays.near, rays.far)))
            labels = None if labels is None else labels[:, chosen]
        field = self.frozen.encode(views, folded=True)
        assert isinstance(field, FoldedField)
        jitter = torch.rand(*rays.near.shape, self.config.samples).to(batch.images.device)
        seen = render_fast(field, rays, self.settings, jitter)
        assert seen.features is not None
        features = unit_features(self.frozen.expansion(seen.features).float())
        return _Scene(field, rays, seen.depth.float(), features, labels, (height, width))

    def _draw_view(self, views: int) -> tuple[int, bool]:
        """The view of this step, and whether it is the labelled one."""
        side = bool(torch.rand(()) < self.config.side_views) and views > 1
        first = FIRST_SIDE_VIEW if views > FIRST_SIDE_VIEW else 1
        number = int(torch.randint(first, max(views, first + 1), ()))
        return (number, False) if side else (0, True)

    def _neighbourhoods(self, scene: _Scene) -> Tensor | None:
        """Unit features (G, n, C) of neighbourhoods; None if there are none."""
        surface = self.config.surface
        if surface.mode == "2d":
            return five_crop(scene.features.unflatten(1, scene.size), surface.step).flatten(1, 2)
        drawn = draw_surface(len(scene.depth), surface.samples)
        draws = SurfaceDraws(*(x.to(scene.depth.device) for x in vars(drawn).values()))
        found = sample_surface(scene.field, scene.rays, scene.depth, draws, surface.radius)
        if not len(found.features):
            return None
        return unit_features(self.frozen.expansion(found.features).float())

    def _with_partners(self, own: Tensor) -> Neighbourhoods:
        """Drop channels, remember, and choose partners."""
        config, count = self.config, len(own)
        dropped = own
        if config.head.dropout > 0:
            dropped = own * draw_dropout((count, 1, own.shape[-1]), config.head.dropout).to(own.device)
        means = self.buffer.add(dropped)
        choice = torch.randint(config.neighbours, (count,)).to(own.device)
        similar = self.buffer.similar(means, choice, config.neighbours)
        other = torch.randint(len(self.buffer), (count,)).to(own.device)
        return Neighbourhoods(own, dropped, self.buffer[similar], self.buffer[other])

    def after_step(self, step: int) -> None:
        """Count."""
        self.done = step + 1

    # --- what comes of it -------------------------------------------------------------------------------------

    def validation(self) -> dict[str, float]:
        """Score the head, name its clusters, keep the best one, and write the model at the end."""
        metrics: dict[str, float] = {}
        if self.looked_at is not None:
            with self.fabric.autocast():
                metrics = score_semantics(
                    self.frozen,
                    self.head,
                    self.looked_at,
                    self._looked_at(),
                    self.settings,
                    (self.config.near, self.config.far),
                    self.fabric.device,
                    picture=self._picture(),
                    pictures=self.config.look.pictures,
                )
        wanted = self.config.look.keep == "best" and metrics
        if not wanted or metrics[DECIDING] > self.best["score"]:
            self.best = {
                "score": metrics.get(DECIDING, float("-inf")),
                "step": self.done,
                "scores": dict(metrics),
                "head": {
                    name: value.detach().cpu().clone() for name, value in self.head.state_dict().items()
                },
            }
        if self.done == self.config.fit.steps and self.fabric.global_rank == 0:
            self._save(self.out / MODEL_FILE)
        return metrics

    def _picture(self) -> Path | None:
        path = self.out / PICTURES / f"step_{self.done:08d}.png"
        return path if self.fabric.global_rank == 0 else None

    def _looked_at(self) -> list[int]:
        """The scenes that are scored: the same ones every time."""
        total = len(self.looked_at)  # type: ignore[arg-type]
        generator = generator_of(self.config.fit.seed, "look")
        return torch.randperm(total, generator=generator)[: self.config.look.samples].tolist()

    def _save(self, path: Path) -> None:
        config = dataclasses.replace(self.frozen.config, head=HeadConfig(**self.config.head.model_dump()))
        complete = SceneDino(config)
        state = {**self.frozen.state_dict()}
        state |= {f"semantic_head.{name}": value for name, value in self.best["head"].items()}
        complete.load_state_dict(state)
        save_scenedino(complete, path, stage="semantics", steps=self.best["step"], scores=self.best["scores"])

    def state_dict(self) -> dict[str, Any]:
        """Return the steps done, the buffer and the best head."""
        return {"done": self.done, "buffer": self.buffer.state_dict(), "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on."""
        self.done, self.best = state["done"], state["best"]
        self.buffer.load_state_dict(state["buffer"])


def train_semantics(
    config: SemanticTrainingConfig,
    network: str | Path,
    scenes: Dataset[PosedSample],
    out: str | Path,
    *,
    looked_at: Dataset[PosedSample] | None = None,
    inputs: Mapping[str, str] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedStage:
    """Train the semantic head, or go on, and leave ``model.safetensors`` in the run folder.

    Args:
        config: settings.
        network: of stage 1: run folder, file, official checkpoint or registered name.
        scenes: posed views to learn from.
        out: run folder.
        looked_at: labelled scenes to score during training and at its end; they name the clusters.
        inputs: what the scenes are, by name; a folder with other inputs is refused.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings, inputs or another network.
        DataError: images cannot be read.
        WeightsError: the network cannot be read.
    """
    frozen = load_scenedino(network)
    task = SemanticTraining(config, frozen, scenes, looked_at, Path(out))
    identity = {**(inputs or {}), "network": file_hash(find_network(network))}
    return run_stage(
        task,
        config.fit,
        Path(out),
        config,
        identity,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )
