"""Recorded pieces of SceneDINO's trainings: samplers, losses, buffers, heads (golden scenedino)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, fill_layout, load_npz
from nolabel.geometry import pixel_intrinsics
from nolabel.geometry.photometric import edge_aware_roughness, photometric_error, ssim_error
from nolabel.labels import CITYSCAPES_19, VOID, raw_table
from nolabel.methods.scenedino.geometry_learner import GeometryLearner, StepDraws, views_from_first
from nolabel.methods.scenedino.geometry_settings import GeometryTrainingConfig
from nolabel.methods.scenedino.network_files import scenedino_from
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
from nolabel.methods.scenedino.semantic_buffers import NeighbourhoodBuffer
from nolabel.methods.scenedino.semantic_learner import Neighbourhoods, SemanticLearner, unit_features
from nolabel.methods.scenedino.semantic_losses import StegoConfig, correlate
from nolabel.methods.scenedino.surface_sampling import SurfaceDraws, five_crop, sample_surface
from nolabel.methods.scenedino.views import ViewSplit
from nolabel.models.rendering import FieldSample, Views, image_rays
from nolabel.models.scenedino import SemanticHead
from nolabel.weights.layouts import scenedino as layout

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


@pytest.mark.parametrize("path", case_parameters("scenedino", "five_crop"))
def test_five_crop(path):
    given, recorded = read(path)
    crops = five_crop(given["features"].squeeze(-2).squeeze(1))
    assert torch.equal(crops, recorded["crops"].squeeze(-2).squeeze(1))


class StubField:
    """The field of the recorded case, see the README."""

    def __init__(self, offset):
        self.offset = offset

    def query(self, points, *, features=True, colour=False):
        x, y, z = points.unbind(-1)
        density = 3 * torch.sigmoid(4 * x.sin() + 2 * z.cos() + self.offset)
        return FieldSample(density, torch.stack([x, y, z, x * y, y * z, x * z], dim=-1))


@pytest.mark.parametrize("path", case_parameters("scenedino", "surface_sampling_3d"))
def test_surface_sampling(path):
    given, recorded = read(path)
    depth = given["depth"]
    height, width = depth.shape[-2:]
    intrinsics = pixel_intrinsics(given["projs"], height, width)
    rays = image_rays(intrinsics, given["poses"], height, width)
    *pixels, normals, radii = draws_of(given)
    draws = SurfaceDraws(torch.stack(pixels, dim=1), normals[None], radii[None, ..., 0])
    assert normals.shape[1] == 4 * given["n_samples"]
    found = sample_surface(StubField(given["offset"]), rays, depth.flatten(1), draws)
    assert_close(found.features, recorded["features"][0], 1e-4)
    assert_close(1 - torch.exp(-found.density), recorded["alpha"][0, ..., 0], 1e-4)


STEGO_NAMES = {
    "loss": "total_loss",
    "own": "self_loss",
    "neighbour": "knn_loss",
    "random": "random_loss",
    "direct_clusters": "direct_cluster_loss",
    "direct_probe": "direct_linear_loss",
    "code_clusters": "stego_cluster_loss",
    "code_probe": "stego_linear_loss",
}


def head_names(state):
    """A head's official names, as ours."""
    marked = {f"downstream_head.{name}": value for name, value in state.items()}
    marked["heads.normal_head.lin_in.bias"] = torch.zeros(1)  # the layout's mark of a whole network
    ours = layout.to_network(marked)
    return {n.removeprefix("semantic_head."): v for n, v in ours.items() if n.startswith("semantic_head.")}


@pytest.mark.parametrize("path", case_parameters("scenedino", "semantic_head_training"))
def test_semantic_head_training(path):
    given, recorded = read(path)
    features, code, clusters, classes, slots, samples, *_ = given["dims"].tolist()
    state = fill_layout(path / "layout.json", int(given["salt"]))
    head = SemanticHead(features, code, clusters, classes)
    head.load_state_dict(head_names(state))
    head.direct_clusters.classes.copy_(given["assign_direct"])
    head.code_clusters.classes.copy_(given["assign_stego"])
    learner = SemanticLearner(head)
    buffer = NeighbourhoodBuffer(slots, samples, features, reference_compat=True)
    steps = sorted(name for name in given if name.startswith("crops_"))
    draws = draws_of(given)[2:]  # the first two made the centres
    for number, name in enumerate(steps):
        own = unit_features(given[name].flatten(0, 1))
        means = buffer.add(own)
        neighbour = buffer[buffer.similar(means, draws[2 * number])]
        other = buffer[draws[2 * number + 1]]
        rendered = unit_features(given[f"rendered_{number}"].flatten(1, 4))
        target = torch.tensor(raw_table("kitti_360", CITYSCAPES_19)).long()[given[f"labels_{number}"]]
        assert torch.equal(target.where(target != VOID, -1), recorded[f"s{number}_target"])
        head.zero_grad()
        seen = Neighbourhoods(own, own, neighbour, other)
        losses = learner(seen, rendered, target.flatten(1))
        losses["loss"].backward()
        for ours, theirs in STEGO_NAMES.items():
            assert_close(losses[ours].detach(), recorded[f"s{number}_{theirs}"], 1e-5, theirs)
        assert_close(buffer.means, recorded[f"s{number}_buffer_mean"], 1e-5, "buffer")
        for kind, mode in (("direct", "direct"), ("stego", "stego")):
            for ending, recorded_as in (("kmeans", "cluster"), ("linear", "linear")):
                ours = head(rendered, f"{mode}_{ending}")
                theirs = recorded[f"s{number}_{kind}_{recorded_as}_pred"].flatten(1)
                assert torch.equal(ours, theirs), (kind, ending)
    sides = {"self": own, "nn": neighbour, "random": other}
    for side, others in sides.items():
        name = f"s{len(steps) - 1}_dino_{side}_corr"
        assert_close(correlate(own, others), recorded[name], 1e-5, name)
        with torch.no_grad():
            codes = correlate(head.code(own), head.code(others))
        assert_close(codes, recorded[f"s{len(steps) - 1}_stego_{side}_corr"], 1e-5, name)
    official = {
        name.removeprefix("grad_"): grad for name, grad in recorded.items() if name.startswith("grad_")
    }
    assert official
    parameters = dict(head.named_parameters())
    for name, grad in head_names(official).items():
        assert_close(parameters[name].grad, grad, 1e-4, name)
    pointwise = SemanticLearner(head, StegoConfig(pointwise=True))(seen, rendered)
    for ours, theirs in (("own", "self"), ("neighbour", "knn"), ("random", "random")):
        assert_close(pointwise[ours].detach(), recorded[f"pointwise_{theirs}"], 1e-5, theirs)


@pytest.mark.parametrize("path", case_parameters("scenedino", "training_step"))
def test_training_step(path):
    given, recorded = read(path)
    network = scenedino_from(
        fill_layout(path / "layout.json", int(given["salt"])),
        image_size=tuple(given["size"].tolist()),
        targets=True,
    )
    stride, scenes = network.config.stride, len(given["images"])
    shift, *draws = draws_of(given)
    places = places_of(draws, scenes)
    jitter = draws[3 * scenes].unflatten(0, (scenes, -1))
    split = ViewSplit(tuple(given["ids_loss"].tolist()), tuple(given["ids_render"].tolist()))
    step = StepDraws(split, False, tuple(shift.tolist()), places, jitter)
    config = GeometryTrainingConfig(
        rays={"samples": jitter.shape[-1], "patches": places.views.shape[1]}, loss={"reference_compat": True}
    )
    learner = GeometryLearner(network, config)
    intrinsics = pixel_intrinsics(given["projs"], *given["images"].shape[-2:])
    images = given["images"] / 2 + 0.5
    views = views_from_first(images, intrinsics, given["poses"])
    seen, truth, targets, artifacts = learner.rendered(views, step)
    assert seen.depth.shape[-1] == stride
    for ours, name in (
        (seen.depth, "depth"),
        (seen.colour, "rgb"),
        (seen.cells[:, :, None], "features_down"),
        (targets, "dino_gt"),
        (artifacts, "artifacts"),
        (truth, "rgb_gt"),
    ):
        assert_close(ours.detach(), recorded[name], 1e-3, name)
    losses = learner(images, intrinsics, given["poses"], step)
    for ours, theirs in LOSS_NAMES.items():
        assert_close(losses[ours].detach(), recorded[theirs], 1e-4, theirs)
    losses["loss"].backward()
    grads = {
        name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in network.named_parameters()
    }
    official = layout.from_network(grads)
    norms = dict(zip(recorded.pop("grad_names").tolist(), recorded["grad_norms"].tolist(), strict=True))
    assert norms
    largest = max(norms.values())
    for name, norm in norms.items():
        assert float(official[name].norm()) == pytest.approx(norm, rel=1e-2, abs=1e-6 * largest), name
    for name, grad in recorded.items():
        if name.startswith("grad:") and float(grad.norm()) > 1e-6 * largest:
            ours = official[name.removeprefix("grad:")].reshape(grad.shape)
            assert_close(ours, grad, 1e-2, name)
