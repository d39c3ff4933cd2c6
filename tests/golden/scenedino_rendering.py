"""Golden ``scenedino``: samples on rays, compositing, rendered views, the demo's image and grid."""

from pathlib import Path

import pytest
import torch

from golden.scenedino_network import (
    EXACT,
    MODES,
    NEAR_TIES,
    PARTS,
    few_differ,
    near,
    network_and_input,
    unit_range,
    views_of,
)
from golden.support import case_parameters, load_npz
from nolabel.models.rendering import Rays, RenderSettings, image_rays, query_in_chunks, render, render_fast
from nolabel.models.rendering.compositing import opacities, ray_weights, weighted
from nolabel.models.rendering.distances import (
    coarse_distances,
    depth_distances,
    fine_distances,
    histogram_distances,
)

pytestmark = pytest.mark.golden

DEPTH_SPREAD, NEAR, FAR = 1.0, 3.0, 80.0  # README: sampling_distances, and the note on rendering cases


def tensors_of(path: Path, name: str) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in load_npz(path / name).items()}


@pytest.mark.parametrize("path", case_parameters("scenedino", "sampling_distances"))
def test_sampling_distances(path: Path) -> None:
    given, recorded = tensors_of(path, "input.npz"), load_npz(path / "output.npz")
    bounds, weights = given["rays"][:, 6:8].unbind(1), given["weights"]
    draws = [given[name] for name in sorted(given) if name.startswith("draw_")]
    runs = ("inv", "lin")
    assert len(draws) == 6 * len(runs)
    for run, number in zip(runs, range(0, len(draws), 6), strict=True):
        jitter, bin_h, place_h, bin_f, place_f, normals = draws[number : number + 6]
        inverse = run == "inv"
        coarse = coarse_distances(*bounds, jitter, inverse)
        near(coarse, recorded[f"{run}_coarse"], EXACT)
        of_histogram = histogram_distances(coarse, weights, bin_h, place_h, inverse)
        near(of_histogram, recorded[f"{run}_from_dist"], EXACT)
        near(fine_distances(*bounds, weights, bin_f, place_f, inverse), recorded[f"{run}_fine"], EXACT)
        of_depth = depth_distances(*bounds, given["depth"], DEPTH_SPREAD, normals)
        near(of_depth, recorded[f"{run}_fine_depth"], EXACT)


@pytest.mark.parametrize("path", case_parameters("scenedino", "compositing"))
def test_compositing(path: Path) -> None:
    given, recorded = tensors_of(path, "input.npz"), load_npz(path / "output.npz")
    scenes, samples = len(given["sigma"]), given["z"].shape[1]
    distances = given["z"].reshape(scenes, -1, samples)
    density = given["sigma"].reshape(distances.shape)
    for run in ("cap", "nocap"):
        alphas = opacities(density, distances, hard_cap=run == "cap")
        weights = ray_weights(alphas)
        ours = {
            "alphas": alphas,
            "weights": weights,
            "depth": weighted(weights, distances),
            "rgb": weighted(weights, given["rgb"].reshape(*distances.shape, -1)),
            "feat": weighted(weights, given["feat"].reshape(*distances.shape, -1)),
        }
        for name, value in ours.items():
            near(value.flatten(0, 1), recorded[f"{run}_{name}"], EXACT)


@pytest.mark.parametrize("renderer", [render, render_fast])
@pytest.mark.parametrize("path", case_parameters("scenedino", "render_views"))
@torch.no_grad()
def test_render_views(path: Path, renderer) -> None:
    network, given = network_and_input(path)
    recorded, given = load_npz(path / "output.npz"), {n: torch.as_tensor(v) for n, v in given.items()}
    views = views_of(given["images"] / 2 + 0.5, given["projs"], given["poses"])
    columns = given["rays"].split([3, 3, 1, 1, 3], dim=-1)
    rays = Rays(columns[0], columns[1], columns[2][..., 0], columns[3][..., 0])
    fast = renderer is render_fast
    field = network.encode(views[:1], views[1:], folded=fast)
    found = renderer(field, rays, RenderSettings(chunk=4096), given["draw_00"], colour=True)
    near(found.distances, recorded["distances"], PARTS)
    near(found.alphas, recorded["alphas"], PARTS)
    near(found.weights, recorded["weights"], PARTS)
    near(found.depth, recorded["depth"], PARTS)
    near(found.features, recorded["features64"], PARTS)
    near(found.colour.flatten(2), recorded["rgb"], PARTS)
    assert torch.equal(found.invalid.float(), torch.from_numpy(recorded["invalid"]))
    [name] = [n for n in recorded if n.startswith("features") and n != "features64"]
    near(network.expansion(found.features), recorded[name], PARTS)


@pytest.mark.parametrize("renderer", [render, render_fast])
@pytest.mark.parametrize("path", case_parameters("scenedino", "demo_2d_3d"))
@torch.no_grad()
def test_demo(path: Path, renderer) -> None:
    network, given = network_and_input(path)
    recorded, mode = load_npz(path / "output.npz"), MODES[0]
    matrices, poses = (torch.from_numpy(given[name]) for name in ("projs", "poses"))
    view = views_of(unit_range(given["images"]), matrices, poses)[:1]
    field = network.encode(view, folded=renderer is render_fast)
    height, width = view.images.shape[-2:]
    rays = image_rays(view.intrinsics, view.poses, height, width, NEAR, FAR)
    settings = RenderSettings(hard_cap=False)
    found = renderer(field, rays, settings, torch.from_numpy(given["draw_00"]))
    near(found.depth.reshape(height, width), recorded["depth"], PARTS)
    few_differ(network.classify(found.features, mode).reshape(height, width), recorded["classes"], NEAR_TIES)
    image = network.expansion(found.features).reshape(height, width, -1)
    step = height // len(recorded["features_sub4"])
    near(image[::step, ::step], recorded["features_sub4"], PARTS)

    grid = query_in_chunks(field, torch.from_numpy(recorded["grid_points"]), 100)
    shape = recorded["grid_sigma"].shape
    near(grid.density.reshape(shape), recorded["grid_sigma"], PARTS)
    few_differ(network.classify(grid.features, mode).reshape(shape), recorded["grid_classes"], NEAR_TIES)
    expanded, kept = network.expansion(grid.features).reshape(*shape, -1), recorded["grid_features_sub"]
    steps = [-(-whole // few) for whole, few in zip(shape, kept.shape, strict=False)]
    near(expanded[:: steps[0], :: steps[1], :: steps[2]], kept, PARTS)
