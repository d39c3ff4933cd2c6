"""One step of stage 1: render patches of some views of a field made from one of them, and compare (SceneDINO, 6 and 7)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nolabel.geometry import invert
from nolabel.methods.scenedino.geometry_settings import GeometryTrainingConfig
from nolabel.methods.scenedino.ray_samplers import (
    PatchPlaces,
    colours_at,
    draw_grid_shift,
    draw_patch_places,
    patch_cells,
    patch_pixels,
    rays_through,
    shift_grid,
    values_of_cells,
)
from nolabel.methods.scenedino.reconstruction_loss import RenderedPatches, reconstruction_loss
from nolabel.methods.scenedino.views import ViewSplit, split_views
from nolabel.models.rendering import RenderSettings, Views, render_fast
from nolabel.models.scenedino import SceneDino
from nolabel.models.scenedino.targets import enlarged_targets, multi_crop_targets

__all__ = ["GeometryLearner", "StepDraws", "draw_step", "views_from_first"]


@dataclass(frozen=True, eq=False)
class StepDraws:
    """All that chance decides in a step.

    Attributes:
        split: which views are compared with which.
        mirrored: whether the encoder sees the mirror image.
        shift: of the targets' grid, pixels (down, right); None where targets are pixels.
        places: of the patches, N scenes with P of them; views count within ``split.loss``.
        jitter: (N, P p p, S) uniforms: where in its stretch of ray each sample lies.
        seed: of the crops of ``multi_crop`` targets.
    """

    split: ViewSplit
    mirrored: bool
    shift: tuple[int, int] | None
    places: PatchPlaces
    jitter: Tensor
    seed: int = 0


def draw_step(
    config: GeometryTrainingConfig,
    shape: tuple[int, ...],
    patch: int,
    generator: torch.Generator | None = None,
) -> StepDraws:
    """Draw a step.

    Args:
        config: settings.
        shape: (N, V, 3, H, W) of the images.
        patch: side of a patch, pixels.
        generator: source of the draws; torch's own by default.
    """
    scenes, views, _, height, width = shape
    strategy, rays = config.views, config.rays
    split = split_views(strategy.strategy, views, generator, reference_compat=strategy.reference_compat)
    mirrored = bool(torch.rand((), generator=generator) < strategy.mirror)
    shift = draw_grid_shift(patch, generator) if config.targets == "cells" else None
    places = draw_patch_places(
        scenes, len(split.loss), (height, width), patch, rays.patches, generator, shifted=shift is not None
    )
    jitter = torch.rand(scenes, rays.patches * patch * patch, rays.samples, generator=generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    return StepDraws(split, mirrored, shift, places, jitter, seed)


def views_from_first(images: Tensor, intrinsics: Tensor, poses: Tensor) -> Views:
    """Views in a world that is the frame of view 0's camera; arguments as those of a batch (N, V, ...)."""
    relative = invert(poses[:, :1].double()) @ poses.double()  # never in lower precision
    return Views(images, intrinsics.float(), relative.float())


class GeometryLearner(nn.Module):
    """A network and the loss of stage 1.

    Args:
        network: what is trained.
        config: settings.
    """

    def __init__(self, network: SceneDino, config: GeometryTrainingConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        rays = config.rays
        self.settings = RenderSettings(samples=rays.samples, chunk=rays.chunk)

    @property
    def patch(self) -> int:
        """Side of a patch, pixels: that of a target's cell."""
        return self.network.config.stride

    def forward(
        self, images: Tensor, intrinsics: Tensor, poses: Tensor, draws: StepDraws
    ) -> dict[str, Tensor]:
        """All terms of the loss, and ``loss``.

        Args:
            images: (N, V, 3, H, W) in [0, 1]; the field is made from view 0.
            intrinsics: (N, V, 3, 3) pixels.
            poses: (N, V, 4, 4) camera to world.
            draws: on the device of the images.
        """
        views = views_from_first(images, intrinsics, poses)
        rendered, truth, targets, artifacts = self.rendered(views, draws)
        with torch.autocast(images.device.type, enabled=False):
            return reconstruction_loss(rendered, truth, targets, artifacts, self.config.loss)

    def rendered(
        self, views: Views, draws: StepDraws
    ) -> tuple[RenderedPatches, Tensor, Tensor, Tensor | None]:
        """Patches as the field shows them, their true colours (N, P, p, p, 3), target features and artifacts.

        Args:
            views: of N scenes; the world is the frame of view 0.
            draws: of the step.
        """
        network, patch, places = self.network, self.patch, draws.places
        compared, colours = views[list(draws.split.loss)], views[list(draws.split.render)]
        with torch.autocast(views.images.device.type, enabled=False):
            pixels = patch_pixels(places, patch, draws.shift or (0, 0))
            flat = pixels.flatten(1, 3)
            numbers = places.views.repeat_interleave(patch * patch, dim=1)
            rays = rays_through(compared, numbers, flat, self.config.rays.near, self.config.rays.far)
            truth = colours_at(compared.images, numbers, flat)
        field = network.encode(views[[0]], colours, mirrored=draws.mirrored, folded=True)
        seen = render_fast(field, rays, self.settings, draws.jitter, colour=True)
        assert seen.features is not None and seen.colour is not None and seen.invalid is not None
        shape = pixels.shape[1:4]
        features = network.expansion(seen.features).unflatten(1, shape)
        targets, artifacts = self._targets(compared.images, draws, pixels)
        patches = RenderedPatches(
            depth=seen.depth.unflatten(1, shape),
            colour=seen.colour.unflatten(1, shape).float(),
            features=features.float(),
            cells=(features if draws.shift is None else network.down_sample(features)).float(),
            invalid=seen.invalid.unflatten(1, shape),
            weights=seen.weights.unflatten(1, shape),
            sample_colour=None if seen.sample_colour is None else seen.sample_colour.unflatten(1, shape),
        )
        return patches, truth.unflatten(1, shape), targets, artifacts

    def _targets(self, images: Tensor, draws: StepDraws, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Target features of the patches, (N, P, C) of cells or (N, P, p, p, C) of pixels; and artifacts of the cells."""
        network, places, mode = self.network, draws.places, self.config.targets
        flat, count = images.flatten(0, 1), images.shape[:2]
        if draws.shift is not None:
            rows, columns = patch_cells(places, draws.shift)
            maps = network.targets(shift_grid(flat, draws.shift)).unflatten(0, count)
            found = values_of_cells(maps.float(), places.views, rows, columns)
            if network.artifacts is None:
                return found, None
            return found, network.artifacts[:, rows, columns].movedim(0, -1)
        if mode == "multi_crop":
            maps = multi_crop_targets(network.targets, flat, torch.Generator().manual_seed(draws.seed))
        else:
            assert mode != "cells"
            size = (images.shape[-2], images.shape[-1])
            maps = enlarged_targets(network.targets(flat), size, mode)
        numbers = places.views[..., None, None].expand(pixels.shape[:-1]).flatten(1)
        columns, rows = pixels.long().flatten(1, 3).unbind(-1)
        found = values_of_cells(maps.unflatten(0, count).float(), numbers, rows, columns)
        return found.unflatten(1, pixels.shape[1:4]), None
