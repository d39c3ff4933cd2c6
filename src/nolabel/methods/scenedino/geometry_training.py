"""Stage 1: geometry and features learnt from the views of each other (SceneDINO specification, 2.3 and 6 to 7).

The run folder holds ``model.safetensors``, the network that showed the most similar features on the validation scenes
(or the last one), and the log. A run that was stopped goes on exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from nolabel.data.posed_views import PosedBatch, PosedSample, collate_posed
from nolabel.engine.batches import to_device
from nolabel.engine.fit import TrainingTask
from nolabel.engine.fit_config import TrainedStage
from nolabel.engine.parameter_groups import ParameterRule, parameter_groups, scale_rates
from nolabel.engine.segmentor_file import MODEL_FILE
from nolabel.errors import ConfigError
from nolabel.geometry import depth_from_distance
from nolabel.methods.scenedino.geometry_learner import (
    GeometryLearner,
    StepDraws,
    draw_step,
    views_from_first,
)
from nolabel.methods.scenedino.geometry_settings import GeometryTrainingConfig, NetworkConfig
from nolabel.methods.scenedino.network_files import (
    find_network,
    load_scenedino,
    save_scenedino,
    start_transformers,
)
from nolabel.methods.scenedino.ray_samplers import whole_views
from nolabel.methods.scenedino.scene_model import spread
from nolabel.methods.scenedino.stage_run import BEST_FILE, PICTURES, fixed_sample, run_stage
from nolabel.methods.scenedino.training_pictures import GeometryLook, draw_geometry
from nolabel.metrics.depth import depth_scores, feature_scores
from nolabel.models.rendering import RenderSettings, Views, render_fast
from nolabel.models.scenedino import SceneDino, scenedino_config
from nolabel.structures.files import atomic_path
from nolabel.weights import file_hash

__all__ = ["score_geometry", "start_network", "train_geometry"]

CENTRING_SCENES = 16  # whose mean target is taken off, where the network asks for it
DECIDING = "cosine"  # the score that decides which network is kept


def start_network(config: NetworkConfig) -> SceneDino:
    """Build the network that stage 1 starts from.

    Raises:
        ConfigError: no such transformer, or the target's weights are nowhere.
        WeightsError: a file does not fit.
    """
    if config.initial is not None:
        return load_scenedino(config.initial, targets=True)
    sizes = scenedino_config(
        config.architecture, config.version, config.image_size, config.token, **config.options
    )
    if config.transformer is None and not isinstance(sizes.target, str):
        raise ConfigError(
            "the target features come from a transformer without weights",
            hint="give network.transformer=FILE (DINO, DINOv2), or take the recipe scenedino/tiny, which needs none",
        )
    network = SceneDino(sizes)
    if config.transformer is not None:
        start_transformers(network, config.transformer)
    return network


class GeometryTraining(TrainingTask):
    """Stage 1 as the loop sees it.

    Args:
        config: settings.
        scenes: what is learned from.
        looked_at: what is scored; nothing if None.
        out: run folder.
    """

    def __init__(
        self,
        config: GeometryTrainingConfig,
        scenes: Dataset[PosedSample],
        looked_at: Dataset[PosedSample] | None,
        out: Path,
    ) -> None:
        self.config, self.scenes, self.looked_at, self.out = config, scenes, looked_at, Path(out)
        self.done, self.best = 0, float("-inf")

    # --- what is trained --------------------------------------------------------------------------------------

    def networks(self) -> dict[str, nn.Module]:
        """Build the network and its loss."""
        self.network = start_network(self.config.network).train()
        if self.network.config.centred and self.config.network.initial is None:
            chosen = spread(len(self.scenes), CENTRING_SCENES)  # type: ignore[arg-type]
            self.network.centre_targets(torch.cat([fixed_sample(self.scenes, i).images for i in chosen]))
        self.learner = GeometryLearner(self.network, self.config)
        return {"network": self.learner}

    def optimizers(self, networks: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Adam, slower for the transformer."""
        rate = self.config.rate
        rules = [ParameterRule(pattern=r"^network\.encoder\.vit\.", rate=rate.transformer)]
        groups = parameter_groups(networks["network"].named_parameters(), rules, rate.learning_rate, 0.0)
        return {"network": torch.optim.Adam(groups)}

    def train_dataset(self) -> Dataset[PosedSample]:
        """Return the scenes."""
        return self.scenes

    def collate(self, samples: list[Any]) -> PosedBatch:
        """Stack scenes."""
        return collate_posed(samples)

    # --- a step -----------------------------------------------------------------------------------------------

    def before_step(self, step: int) -> None:
        """Set the learning rates."""
        rate = self.config.rate
        scale_rates(self.optimizer["network"], rate.gamma ** (step // rate.drop_every))

    def training_step(self, batch: PosedBatch, step: int) -> dict[str, Tensor]:
        """Render patches and compare them."""
        # The loop has seeded torch's own generator as a function of the step.
        draws = draw_step(self.config, tuple(batch.images.shape), self.learner.patch)
        draws = _moved(draws, batch.images.device)
        return self.modules["network"](batch.images, batch.intrinsics, batch.poses, draws)

    def after_step(self, step: int) -> None:
        """Count."""
        self.done = step + 1

    # --- what comes of it -------------------------------------------------------------------------------------

    def validation(self) -> dict[str, float]:
        """Score geometry and features, keep the best network, and write the model at the end."""
        metrics: dict[str, float] = {}
        if self.looked_at is not None:
            with self.fabric.autocast():
                picture = self.out / PICTURES / f"step_{self.done:08d}.png"
                metrics = score_geometry(
                    self.network,
                    self.looked_at,
                    self.config,
                    self.fabric.device,
                    picture=picture if self.fabric.global_rank == 0 else None,
                )
        if self.fabric.global_rank == 0:
            self._keep(metrics)
        self.best = max(self.best, metrics.get(DECIDING, float("-inf")))
        return metrics

    def _keep(self, metrics: Mapping[str, float]) -> None:
        best_file, last = self.out / BEST_FILE, self.done == self.config.fit.steps
        wanted = self.config.look.keep == "best" and DECIDING in metrics
        if wanted and metrics[DECIDING] > self.best:
            save_scenedino(self.network, best_file, stage="geometry", steps=self.done, scores=dict(metrics))
        if not last:
            return
        if wanted and best_file.exists():
            # A copy: a run killed before its last checkpoint needs the best one again.
            with atomic_path(self.out / MODEL_FILE) as written:
                shutil.copyfile(best_file, written)
            return
        save_scenedino(
            self.network, self.out / MODEL_FILE, stage="geometry", steps=self.done, scores=dict(metrics)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the steps done and the best score."""
        return {"done": self.done, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on."""
        self.done, self.best = state["done"], state["best"]


def _moved(draws: StepDraws, device: torch.device) -> StepDraws:
    moved: StepDraws = to_device(draws, device)
    return moved


@torch.no_grad()
def score_geometry(
    network: SceneDino,
    scenes: Dataset[PosedSample],
    config: GeometryTrainingConfig,
    device: torch.device | str = "cpu",
    *,
    picture: Path | None = None,
) -> dict[str, float]:
    """Score what a network sees in scenes; rays are sampled at fixed distances, so that scores do not depend on chance.

    Args:
        network: in evaluation mode, with targets.
        scenes: of one size.
        config: settings.
        device: where the network is.
        picture: PNG to draw the first scenes into.

    Returns:
        ``abs_rel``, ``rmse``, ``a1``, ... of the depth of view 0 along z, where it is known; ``cosine``, ``l1``, ``l2`` of
        down-sampled features and targets; means over scenes (and views).
    """
    found: dict[str, list[Tensor]] = {}
    looks: list[GeometryLook] = []
    for index in spread(len(scenes), config.look.samples):  # type: ignore[arg-type]
        batch: PosedBatch = to_device(collate_posed([fixed_sample(scenes, index)]), torch.device(device))
        views = views_from_first(batch.images, batch.intrinsics, batch.poses)
        views = views[: config.look.views]
        depth, cells = _rendered_views(network, views, config)
        targets = network.targets(views.images[0]).movedim(1, -1)[None]
        scores = feature_scores(cells.float(), targets.float())
        along_z = depth_from_distance(depth[:, 0].float(), views.intrinsics[:, 0])
        if batch.depth is not None and bool((batch.depth > 0).any()):
            scores |= depth_scores(along_z, batch.depth)
        if len(looks) < config.look.pictures:
            known = None if batch.depth is None else batch.depth[0]
            looks.append(GeometryLook(views.images[0, 0], along_z[0], cells[0, 0], targets[0, 0], known))
        for name, values in scores.items():
            found.setdefault(name, []).append(values.float().mean())
    if picture is not None and looks:
        draw_geometry(picture, looks, config.rays.near, config.rays.far)
    return {name: float(torch.stack(values).nanmean()) for name, values in found.items()}


def _rendered_views(
    network: SceneDino, views: Views, config: GeometryTrainingConfig
) -> tuple[Tensor, Tensor]:
    """Distance (N, V, H, W) and down-sampled features (N, V, h, w, C) of views, as the field of view 0 shows them."""
    rays, (height, width) = config.rays, views.images.shape[-2:]
    settings = RenderSettings(samples=rays.samples, chunk=rays.chunk)
    field = network.encode(views[[0]], folded=True)
    depths, cells = [], []
    for number in range(views.images.shape[1]):
        one = views[[number]]
        seen = render_fast(field, whole_views(one, rays.near, rays.far), settings)
        assert seen.features is not None
        features = network.expansion(seen.features).unflatten(1, (height, width))
        depths.append(seen.depth.unflatten(1, (height, width)))
        cells.append(network.down_sample_image(features))
    return torch.stack(depths, dim=1), torch.stack(cells, dim=1)


def train_geometry(
    config: GeometryTrainingConfig,
    scenes: Dataset[PosedSample],
    out: str | Path,
    *,
    looked_at: Dataset[PosedSample] | None = None,
    inputs: Mapping[str, str] | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedStage:
    """Train, or go on, and leave ``model.safetensors`` in the run folder.

    Args:
        config: settings.
        scenes: posed views to learn from, of the network's image size.
        out: run folder.
        looked_at: scenes to score during training and at its end.
        inputs: what the scenes are, by name; a folder with other inputs is refused.
        device: where to train, see :func:`nolabel.engine.fit.fit`.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: the folder holds a run with other settings or inputs.
        DataError: images cannot be read.
        WeightsError: the transformer's file does not fit.
    """
    task = GeometryTraining(config, scenes, looked_at, Path(out))
    files = {"initial": config.network.initial, "transformer": config.network.transformer}
    hashes = {name: file_hash(find_network(file)) for name, file in files.items() if file is not None}
    return run_stage(
        task,
        config.fit,
        Path(out),
        config,
        {**(inputs or {}), **hashes},
        device=device,
        overwrite=overwrite,
        progress=progress,
    )
