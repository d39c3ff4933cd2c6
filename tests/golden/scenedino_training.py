"""Recorded pieces of SceneDINO's trainings: samplers, losses, buffers, heads (golden scenedino)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.geometry import pixel_intrinsics
from nolabel.methods.scenedino.photometric import edge_aware_roughness, photometric_error, ssim_error
from nolabel.methods.scenedino.ray_samplers import (
    PatchPlaces,
    colours_at,
    patch_cells,
    patch_pixels,
    rays_through,
    values_of_cells,
)
from nolabel.methods.scenedino.reconstruction_loss import (
    ReconstructionConfig,
    RenderedPatches,
    reconstruction_loss,
)
from nolabel.models.rendering import Views

pytestmark = pytest.mark.golden


def read(path):
    return load_tensors(path / "input.npz"), load_tensors(path / "output.npz")


def load_tensors(path):
    return {
        name: torch.from_numpy(values) if values.dtype.kind in "fiub" else values
        for name, values in load_npz(path).items()
    }


def assert_close(ours, recorded, tolerance, what=""):
    assert ours.shape == recorded.shape, (what, ours.shape, recorded.shape)
    scale = recorded.abs().max().clamp(min=1e-30)
    error = (ours - recorded).abs().max() / scale
    assert error <= tolerance, (what, float(error))


def draws_of(given):
    return [given[name] for name in sorted(name for name in given if name.startswith("draw_"))]


def views_of(given):
    images = given["images"]
    intrinsics = pixel_intrinsics(given["projs"], *images.shape[-2:])
    return Views(images, intrinsics, given["poses"])


def places_of(draws, scenes):
    """Draws are recorded scene by scene: view, row, column."""
    return PatchPlaces(*(torch.stack(draws[kind : 3 * scenes : 3]) for kind in range(3)))


def ray_columns(rays, pixels, size, image_ids=None, numbers=None):
    height, width = size
    columns = [rays.origins, rays.directions, rays.near[..., None], rays.far[..., None]]
    if image_ids is not None:
        columns.append(image_ids[numbers][..., None].float())
    x = (2 * pixels[..., 0] + 1) / width - 1
    y = (2 * pixels[..., 1] + 1) / height - 1
    return torch.cat([*columns, x[..., None], y[..., None]], dim=-1)


def bounds_of(rays):
    return float(rays[0, 0, 6]), float(rays[0, 0, 7])


@pytest.mark.parametrize("path", case_parameters("scenedino", "patch_ray_sampler"))
def test_patch_rays(path):
    given, recorded = read(path)
    views, draws = views_of(given), draws_of(given)
    scenes, size = len(views.images), views.images.shape[-2:]
    patch = size[0] // given["features"].shape[-2]
    shift = tuple(given["shift"].tolist())
    for prefix, moved, drawn in (("", (0, 0), draws), ("shift_", shift, draws[3 * scenes :])):
        places = places_of(drawn, scenes)
        pixels = patch_pixels(places, patch, moved).flatten(1, 3)
        numbers = places.views.repeat_interleave(patch * patch, dim=1)
        near_far = bounds_of(recorded[f"{prefix}rays"])
        rays = rays_through(views, numbers, pixels, *near_far)
        ours = ray_columns(rays, pixels, size, given["image_ids"], numbers)
        assert_close(ours, recorded[f"{prefix}rays"], 1e-6, "rays")
        colours = colours_at(views.images, numbers, pixels)
        assert_close(colours, recorded[f"{prefix}rgb_gt"], 1e-6, "colours")
        cells = patch_cells(places, moved)
        targets = values_of_cells(given["features"], places.views, *cells)
        assert_close(targets, recorded[f"{prefix}dino_gt"], 1e-6, "targets")


@pytest.mark.parametrize("path", case_parameters("scenedino", "random_ray_sampler"))
def test_random_rays(path):
    given, recorded = read(path)
    views, draws = views_of(given), draws_of(given)
    scenes, (height, width) = len(views.images), views.images.shape[-2:]
    index = torch.stack(draws[:scenes])
    numbers, inside = index // (height * width), index % (height * width)
    pixels = torch.stack([inside % width, inside // width], dim=-1).float()
    rays = rays_through(views, numbers, pixels, *bounds_of(recorded["random_rays"]))
    ids = torch.arange(views.images.shape[1])
    ours = ray_columns(rays, pixels, (height, width), ids, numbers)
    assert_close(ours, recorded["random_rays"], 1e-5, "rays")
    assert_close(colours_at(views.images, numbers, pixels), recorded["random_rgb"], 1e-5, "colours")

    offset, places = draws[scenes], places_of(draws[scenes + 1 :], scenes)
    per_patch = recorded["jitter_rays"].shape[1] // places.views.shape[1]
    patch = round(per_patch**0.5)
    pixels = patch_pixels(places, patch, aligned=False).flatten(1, 3) + (offset - 0.5) * 0.8
    numbers = places.views.repeat_interleave(per_patch, dim=1)
    rays = rays_through(views, numbers, pixels, *bounds_of(recorded["jitter_rays"]))
    columns = [rays.origins, rays.directions, rays.near[..., None], rays.far[..., None]]
    ours = torch.cat([*columns, ids[numbers][..., None].float()], dim=-1)
    assert_close(ours, recorded["jitter_rays"], 1e-5, "jittered rays")
    assert_close(colours_at(views.images, numbers, pixels), recorded["jitter_rgb"], 1e-5, "jittered colours")


@pytest.mark.parametrize("path", case_parameters("scenedino", "photometric_and_smoothness"))
def test_photometric(path):
    given, recorded = read(path)
    a, b = given["a"], given["b"]
    assert_close(photometric_error(a, b), recorded["l1ssim"], 1e-5)
    assert_close(ssim_error(a, b), recorded["ssim_err"], 1e-5)
    assert_close(ssim_error(a, b, "mean"), recorded["ssim_reflect_avg"], 1e-5)
    assert_close(edge_aware_roughness(given["d"], a), recorded["smooth_t1"], 1e-5)
    assert_close(edge_aware_roughness(given["f"], a, 25.0), recorded["smooth_t25"], 1e-5)


LOSS_NAMES = {
    "loss": "rec_loss",
    "colour": "loss_rgb_coarse",
    "features": "loss_dino_coarse",
    "depth_smoothness": "edge_aware_smoothness",
    "feature_smoothness": "dino_edge_aware_smoothness",
}


def patches_of(given, part=slice(None)):
    return RenderedPatches(
        depth=given["depth"][part],
        colour=given["rgb"][part],
        features=given["dino"][part].squeeze(-2),
        cells=given["dino_down"][part].squeeze(-2),
        invalid=given["invalid"][part],
        weights=given["weights"][part],
    )


@pytest.mark.parametrize("path", case_parameters("scenedino", "reconstruction_loss"))
def test_reconstruction_loss(path):
    given, recorded = read(path)
    leaves = {"rgb": "rgb", "depth": "depth", "dino": "dino", "dino_down": "dino_down"}
    for name in leaves:
        given[name].requires_grad_()
    compat = ReconstructionConfig(reference_compat=True)
    truth = (given["rgb_gt"], given["dino_gt"], given["dino_artifacts"])
    losses = reconstruction_loss(patches_of(given), *truth, config=compat)
    for ours, theirs in LOSS_NAMES.items():
        assert_close(losses[ours].detach(), recorded[theirs], 1e-5, theirs)
    losses["loss"].backward()
    for name in leaves:
        assert_close(given[name].grad, recorded[f"grad_{name}"], 1e-4, f"grad {name}")
    one = slice(0, 1)
    for config in (ReconstructionConfig(), compat):
        alone = reconstruction_loss(patches_of(given, one), *(t[one] for t in truth), config=config)
        for ours, theirs in LOSS_NAMES.items():
            assert_close(alone[ours].detach(), recorded[f"single_{theirs}"], 1e-5, theirs)
    variants = [name for name in recorded if name.startswith("rgb_")]
    assert variants
    for name in variants:
        policy, criterion = name.removeprefix("rgb_").rsplit("_", 1)
        config = ReconstructionConfig(invalid=policy, criterion=criterion)
        ours = reconstruction_loss(patches_of(given), *truth, config=config)["colour"]
        assert_close(ours.detach(), recorded[name], 1e-5, name)
    proper = reconstruction_loss(patches_of(given), *truth)["depth_smoothness"]
    assert not np.isclose(float(proper), float(losses["depth_smoothness"]), rtol=1e-3)
