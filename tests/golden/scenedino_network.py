"""Golden ``scenedino``: encoders, field, reductions, semantic head, and the layouts of official files."""

from functools import cache
from pathlib import Path

import pytest
import torch

from golden.support import case_parameters, fill_layout, golden_root, load_json, load_npz
from nolabel.geometry import pixel_intrinsics
from nolabel.methods.scenedino.network_files import scenedino_from
from nolabel.models.rendering import Views
from nolabel.models.scenedino import (
    CodeHead,
    SalienceDownsampler,
    SceneDino,
    SemanticHead,
    build_expansion,
    cells_of,
    shrink,
)
from nolabel.models.scenedino.positional_code import PositionalCode, normalised_depth
from nolabel.models.scenedino.targets import multi_crop_mean
from nolabel.weights.layouts import scenedino as layout

pytestmark = pytest.mark.golden

# README table, and the subsets it names
EXACT, PARTS, CROPS = 1e-5, 1e-3, 1e-4
NEAR_TIES, NEAR_TIES_LARGE = 0.01, 0.02
MODES = ("stego_kmeans", "stego_linear", "direct_kmeans", "direct_linear")


def near(actual: torch.Tensor, recorded, relative: float) -> None:
    recorded = torch.as_tensor(recorded)
    limit = relative * float(recorded.abs().max())
    torch.testing.assert_close(actual, recorded, rtol=0, atol=limit)


def unit_range(images) -> torch.Tensor:
    """Recorded images lie in [-1, 1]."""
    return torch.from_numpy(images) / 2 + 0.5


def views_of(images: torch.Tensor, matrices: torch.Tensor, poses: torch.Tensor | None = None) -> Views:
    """Views (N, V) from [0, 1] images and recorded matrices of images from -1 to 1."""
    height, width = images.shape[-2:]
    if poses is None:
        poses = torch.eye(4).expand(*images.shape[:2], 4, 4)
    return Views(images, pixel_intrinsics(matrices, height, width), poses)


@cache
def network_of(path: Path, salt: int, size: tuple[int, int]) -> SceneDino:
    return scenedino_from(fill_layout(path, salt), image_size=size, targets=True)


def network_and_input(path: Path):
    given = load_npz(path / "input.npz")
    size = (int(given["size"][0]), int(given["size"][1]))
    return network_of(path / "layout.json", int(given["salt"]), size), given


def few_differ(actual: torch.Tensor, recorded, share: float) -> None:
    assert (actual != torch.from_numpy(recorded)).float().mean() < share


@pytest.mark.parametrize("path", case_parameters("scenedino", "encoder_*"))
@torch.no_grad()
def test_encoder(path: Path) -> None:
    network, given = network_and_input(path)
    recorded, images = load_npz(path / "output.npz"), unit_range(given["image"])
    maps = network.encoder.vit.maps(images)
    assert len(maps) == sum(name.startswith("vit_map_") for name in recorded)
    for number, found in enumerate(maps):
        step = found.shape[1] // recorded[f"vit_map_{number}"].shape[1]
        near(found[:, ::step], recorded[f"vit_map_{number}"], PARTS)
    near(network.targets(images), recorded["target"], PARTS)
    keys = type(network.encoder.vit)(
        type(network.config.vit)(**{**vars(network.config.vit), "keys": True, "taps": ()})
    )
    keys.load_state_dict(network.encoder.vit.state_dict())
    key_map = keys(images)
    near(key_map[:, :: key_map.shape[1] // recorded["key_map"].shape[1]], recorded["key_map"], PARTS)
    decoded = network.encoder.decoder(maps, tuple(images.shape[-2:]))
    compare_map(decoded, recorded)
    # The folded last layers, with a matrix that changes nothing.
    compare_map(network.encoder(images, torch.eye(decoded.shape[1])), recorded)


def compare_map(decoded: torch.Tensor, recorded) -> None:
    assert list(decoded.shape) == recorded["dpt_shape"].tolist()
    step = decoded.shape[-1] // recorded["dpt_sub8"].shape[-1]
    near(decoded[..., ::step, ::step], recorded["dpt_sub8"], PARTS)
    flat = decoded.flatten(2)
    near(torch.stack([flat.mean(-1), flat.std(-1)], dim=-1), recorded["dpt_mean_std"], PARTS)


@pytest.mark.parametrize("path", case_parameters("scenedino", "field_query"))
@torch.no_grad()
def test_field_query(path: Path) -> None:
    network, given = network_and_input(path)
    recorded = load_npz(path / "output.npz")
    views = views_of(unit_range(given["images"]), *(torch.from_numpy(given[n]) for n in ("projs", "poses")))
    points = torch.from_numpy(given["points"])
    field = network.encode(views[:1], views[1:])
    looked_up, code, outside = field.inputs(points)
    inputs = torch.cat([looked_up, code], dim=-1)
    step = inputs.shape[1] // recorded["mlp_input"].shape[1]
    near(inputs[:, ::step], recorded["mlp_input"][:, :, 0], PARTS)
    assert torch.equal(outside[..., None], torch.from_numpy(recorded["outside_encoder_view"]))
    for found in (field, network.encode(views[:1], views[1:], folded=True)):
        sample = found.query(points, colour=True)
        near(sample.density[..., None], recorded["sigma"], PARTS)
        near(sample.features, recorded["features64"], PARTS)
        near(sample.colour.flatten(2), recorded["rgb"], PARTS)
        assert torch.equal(sample.invalid.float(), torch.from_numpy(recorded["invalid"]))
        expanded = network.expansion(sample.features)
        [name] = [n for n in recorded if n.startswith("features") and n != "features64"]
        near(expanded[:, :: expanded.shape[1] // recorded[name].shape[1]], recorded[name], PARTS)
        for mode in MODES:
            few_differ(network.classify(sample.features, mode), recorded[f"class_{mode}"], NEAR_TIES)
    targets = network.targets(views.images.flatten(0, 1)).unflatten(0, views.images.shape[:2])
    near(targets[:, :, :: targets.shape[2] // recorded["targets"].shape[2]], recorded["targets"], PARTS)


@pytest.mark.slow
@pytest.mark.parametrize("path", case_parameters("scenedino", "full_model"))
@torch.no_grad()
def test_full_model(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    root = golden_root()
    assert root is not None
    file = root / "scenedino" / "layouts" / "checkpoint_dino_stage2.json"
    network = scenedino_from(fill_layout(file, int(given["salt"])), targets=True)
    images = torch.from_numpy(given["image_u8"])[None].float() / 255
    features = network.encoder(images)[0]
    assert list(features.shape) == recorded["map_shape"].tolist()
    flat = features.flatten(1)
    near(torch.stack([flat.mean(-1), flat.std(-1)], dim=-1), recorded["map_mean_std"], PARTS)
    steps = [whole // kept for whole, kept in zip(features.shape, recorded["map_sub"].shape, strict=True)]
    near(features[:: steps[0], :: steps[1], :: steps[2]], recorded["map_sub"], PARTS)
    targets = network.targets(images)[0]
    steps = [whole // kept for whole, kept in zip(targets.shape, recorded["target_sub"].shape, strict=True)]
    near(targets[:: steps[0], :: steps[1], :: steps[2]], recorded["target_sub"], PARTS)
    del features, flat
    views = views_of(images[:, None], torch.from_numpy(given["K"])[None, None])
    points = torch.from_numpy(given["points"])
    sample = network.encode(views, folded=True).query(points)
    near(sample.density[..., None], recorded["sigma"], PARTS)
    near(sample.features, recorded["features64"], PARTS)
    expanded = network.expansion(sample.features)
    [name] = [n for n in recorded if n.startswith("features") and n != "features64"]
    near(expanded[:, :: expanded.shape[1] // recorded[name].shape[1]], recorded[name], PARTS)
    for mode in MODES:
        few_differ(network.classify(sample.features, mode), recorded[f"class_{mode}"], NEAR_TIES_LARGE)


@pytest.mark.parametrize("path", case_parameters("scenedino", "positional_code"))
def test_positional_code(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    xy, z, distance = (torch.from_numpy(given[name]) for name in ("xy", "z", "distance"))
    runs = [name.removesuffix("_code") for name in recorded if name.endswith("_code")]
    assert runs
    for run in runs:
        measure, spacing = run.split("_")
        code = PositionalCode(depth=measure, inverse=spacing == "inv")
        depth = normalised_depth(z if measure == "z" else distance, code.near, code.far, code.inverse)
        near(torch.cat([xy, depth], dim=-1), recorded[f"{run}_in"], EXACT)
        near(code(xy, z[..., 0], distance[..., 0]), recorded[f"{run}_code"], EXACT)


@pytest.mark.parametrize("path", case_parameters("scenedino", "dim_reduction"))
@torch.no_grad()
def test_expansion(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    given = {name: torch.from_numpy(value) for name, value in given.items()}
    (hidden, compact), channels = given["w_in"].shape, len(given["w_out"])
    expansion = build_expansion("mlp", compact, channels, hidden)
    names = {"first.weight": "w_in", "first.bias": "b_in", "last.weight": "w_out", "last.bias": "b_out"}
    expansion.load_state_dict({ours: given[theirs] for ours, theirs in names.items()})
    near(expansion(given["x"]), recorded["mlp"], EXACT)
    linear = build_expansion("orthogonal-linear", compact, channels)
    linear.load_state_dict({"weight": given["ortho_w"], "bias": given["ortho_b"]})
    near(linear(given["x"]), recorded["ortho"], EXACT)


@pytest.mark.parametrize("path", case_parameters("scenedino", "downsampler"))
@torch.no_grad()
def test_downsampler(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    given = {name: torch.from_numpy(value) for name, value in given.items()}
    patch, channels = len(given["patch_weight"]), given["conv_weight"].shape[1]
    sampler = SalienceDownsampler(channels, patch)
    sampler.load_state_dict(
        {
            "salience.weight": given["conv_weight"].flatten(1),
            "salience.bias": given["conv_bias"],
            "weight": given["patch_weight"],
            "bias": given["patch_bias"],
        }
    )
    # The recorded axis before the channels counts scales: one.
    found, salience, weights = sampler.explained(given["patches"].squeeze(-2))
    near(found[..., None, :], recorded["patch_feat"], EXACT)
    near(salience[..., None, None], recorded["patch_salience"], EXACT)
    near(weights[..., None, None], recorded["patch_weights"], EXACT)
    image = given["image"].squeeze(-2)
    found, salience, weights = sampler.explained(cells_of(image, patch))
    near(found[..., None, :], recorded["image_feat"], EXACT)
    for ours, name in ((salience, "image_salience"), (weights, "image_weights")):
        whole = ours.movedim(-2, -3).flatten(-2).flatten(-3, -2)
        near(whole[..., None, None], recorded[name], EXACT)
    near(shrink(image, patch)[..., None, :], recorded["bilinear_feat"], EXACT)


@pytest.mark.parametrize("path", case_parameters("scenedino", "semantic_head_inference"))
@torch.no_grad()
def test_semantic_head(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    width, code, clusters, classes = given["dims"][:4].tolist()
    head = SemanticHead(width, code, clusters, classes)
    state = fill_layout(path / "layout.json", int(given["salt"]))
    names = {f"downstream_head.{name}": value for name, value in state.items()}
    names["heads.normal_head.lin_in.bias"] = torch.zeros(1)  # the layout's mark of a whole network
    ours = {
        name.removeprefix("semantic_head."): value
        for name, value in layout.to_network(names).items()
        if name.startswith("semantic_head.")
    }
    head.load_state_dict(ours)
    head.code_clusters.classes.copy_(torch.from_numpy(given["assign_stego"]))
    head.direct_clusters.classes.copy_(torch.from_numpy(given["assign_direct"]))
    assert isinstance(head.code, CodeHead)
    for kind in ("features", "image_features"):
        features = torch.from_numpy(given[kind])
        unit = torch.nn.functional.normalize(features, dim=-1)
        near(head.code(unit), recorded[f"{kind}_code"], EXACT)
        for mode in MODES:
            assert torch.equal(head(features, mode), torch.from_numpy(recorded[f"{kind}_{mode}"]))


@pytest.mark.parametrize("path", case_parameters("scenedino", "multi_crop_targets"))
def test_multi_crop_targets(path: Path) -> None:
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    features, transforms = (torch.from_numpy(given[name]) for name in ("features", "transforms"))
    found, recorded_mean = multi_crop_mean(features, transforms), torch.from_numpy(recorded["mean"])
    wrong = ((found - recorded_mean).abs() > CROPS * recorded_mean.abs().max()).any(dim=1)
    # Only pixels on the border of a warped view may differ: its validity there is a matter of rounding.
    assert wrong.float().mean() < 2 * sum(wrong.shape[-2:]) / (wrong.shape[-2] * wrong.shape[-1])
    assert wrong.float().mean() < 0.02


@pytest.mark.parametrize("path", case_parameters("scenedino", "layouts/*.json"))
def test_layouts(path: Path) -> None:
    entries = {entry["name"]: tuple(entry["shape"]) for entry in load_json(path)}
    kinds = {"int64": torch.int64, "float32": torch.float32}
    state = {
        entry["name"]: torch.tensor(entry["const"], dtype=kinds[entry["dtype"]]).reshape(entry["shape"])
        if "const" in entry
        else torch.zeros(1).expand(entry["shape"])
        for entry in load_json(path)
    }
    nested = layout.to_network(state)
    network = scenedino_from(state, targets=True)
    assert {n: v.shape for n, v in network.state_dict().items()} == {n: v.shape for n, v in nested.items()}
    back = layout.from_network(network.state_dict())
    unused = {n for n in entries if n.startswith(("lpips.", "renderer.renderer."))}
    assert {n: tuple(v.shape) for n, v in back.items()} == {
        n: s for n, s in entries.items() if n not in unused
    }
    for name, value in back.items():
        if name.startswith("renderer.net.code_xyz."):
            torch.testing.assert_close(value, state[name])
