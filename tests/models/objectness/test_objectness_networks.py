"""Objectness and existence networks: the folded head, official layouts, initial weights, what is not computed."""

import dataclasses

import pytest
import timm
import torch
import torch.nn.functional as F

from nolabel.errors import ConfigError, WeightsError
from nolabel.models.objectness import (
    DPT_SIZES,
    DptConfig,
    DptObjectness,
    build_existence,
    build_objectness,
    existence_from,
    load_backbone,
    load_transformer,
    objectness_from,
)
from nolabel.models.objectness import initial as initial_weights
from nolabel.weights.layouts import unmore_existence, unmore_objectness

TINY = DptConfig(32, 4, 2, 16, 4, (0, 1, 2, 3), (8, 12, 16, 16), 12, 20)


def network_of(form: str) -> DptObjectness:
    torch.manual_seed(0)
    network = DptObjectness(dataclasses.replace(TINY, boundary=form))
    for parameter in network.parameters():  # biases that matter, also at the border
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


def plain_boundary(network: DptObjectness, crops: torch.Tensor) -> torch.Tensor:
    features = network.features(network.decode(network.reassembled(crops)))
    return network.boundary_head.activate(network.boundary_head(features))[:, 0]


@pytest.mark.parametrize("form", ["tanh", "sine", "none"])
def test_the_folded_head_is_the_head_up_to_its_border(form: str) -> None:
    network, crops = network_of(form).double(), torch.rand(2, 3, 64, 64, dtype=torch.float64)
    coarse = network.decode(network.reassembled(crops))
    head, out = network.boundary_head, network.fusions[0].out
    plain = head(network.features(coarse))
    weight, bias, constant = head.taps()  # in float64 throughout: no tolerance hides a mistake at the border
    bias, weight = bias + weight @ out.bias, weight @ out.weight.flatten(1)
    maps = F.conv2d(coarse, weight[..., None, None], bias)
    for _ in range(2):
        maps = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=True)
    shifted = F.conv2d(maps, torch.eye(9, dtype=torch.float64).view(1, 9, 3, 3), constant[None], padding=1)
    torch.testing.assert_close(shifted, plain, rtol=1e-12, atol=1e-12)
    single = network.float()
    found = single(crops.float(), centre=False).boundary
    torch.testing.assert_close(found, plain_boundary(single, crops.float()), rtol=1e-3, atol=1e-3)


def test_gradients_go_through_the_fold() -> None:
    network, crops = network_of("tanh"), torch.rand(2, 3, 64, 64)
    weights = list(network.boundary_head.parameters())
    drawn = network(crops, centre=False).boundary
    folded = torch.autograd.grad(drawn.square().mean(), weights)
    plain = torch.autograd.grad(plain_boundary(network, crops).square().mean(), weights)
    for ours, theirs in zip(folded, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("form", ["tanh", "sine", "none", "relu"])
def test_every_form_survives_the_official_layout(form: str) -> None:
    network, crops = network_of(form), torch.rand(1, 3, 64, 64)
    official = unmore_objectness.from_network(network.state_dict(), rectified=form == "relu")
    assert ("sdf_prediction_head.6.weight" in official) == (form == "relu")
    assert "backbone.scratch.refinenet4.resConfUnit1.conv2.bias" in official
    options = {**dataclasses.asdict(TINY), "boundary": "tanh" if form == "relu" else form}
    again = objectness_from({f"module.{n}": v for n, v in official.items()}, "dpt_small", options)
    with torch.no_grad():
        torch.testing.assert_close(again(crops).boundary, network(crops).boundary)
        torch.testing.assert_close(
            again(crops).boundary, plain_boundary(network, crops), rtol=1e-4, atol=1e-4
        )


def test_a_damaged_official_file_is_refused() -> None:
    official = unmore_objectness.from_network(network_of("tanh").state_dict())
    options = dataclasses.asdict(TINY)
    for name in ("backbone.pretrained.model.norm.weight", "sdf_prediction_head.3.bias"):
        with pytest.raises(WeightsError, match="missing"):
            objectness_from({n: v for n, v in official.items() if n != name}, "dpt_small", options)
    with pytest.raises(WeightsError, match="unexpected"):
        objectness_from({**official, "more": torch.zeros(1)}, "dpt_small", options)
    with pytest.raises(WeightsError, match="no existence network"):
        unmore_existence.to_network(official)


@pytest.mark.parametrize("architecture", ["dpt", "tiny", "resnet18"])
def test_only_what_is_asked_for(architecture: str) -> None:
    network = network_of("tanh") if architecture == "dpt" else build_objectness(architecture).eval()
    crops = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        both = network(crops)
        only_boundary, only_centre = network(crops, centre=False), network(crops, boundary=False)
    assert both.boundary.shape == (2, 64, 64) and both.centre.shape == (2, 2, 64, 64)
    assert only_boundary.centre is None and only_centre.boundary is None
    torch.testing.assert_close(only_boundary.boundary, both.boundary)
    torch.testing.assert_close(only_centre.centre, both.centre)


def test_heads_that_are_not_asked_for_are_not_run() -> None:
    network, crops = network_of("tanh"), torch.rand(1, 3, 64, 64)
    ran: list[str] = []
    network.centre_head.register_forward_hook(lambda *_: ran.append("centre"))
    network.fusions[0].out.register_forward_hook(lambda *_: ran.append("features"))
    network(crops, centre=False)
    assert ran == []  # not even the enlarged features
    network(crops, boundary=False)
    assert ran == ["features", "centre"]


def test_the_published_sizes() -> None:
    with torch.device("meta"):
        large = DptObjectness()
        assert all(DptObjectness(size).config == size for size in DPT_SIZES.values())
    official = unmore_objectness.from_network(large.state_dict())
    assert len(official) == 378
    assert sum(value.numel() for value in official.values()) > 349e6
    existence = build_existence()
    assert sum(p.numel() for p in existence.parameters()) == 25_558_033


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "dinov2"])
def test_a_transformer_keeps_its_tokens_in_its_new_place(architecture: str) -> None:
    """Scales of layers and normalisation of images become part of the weights, and nothing else changes."""
    torch.manual_seed(0)
    scale = 0.7 if architecture == "dinov2" else None
    source = timm.models.vision_transformer.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=32, depth=4, num_heads=2, num_classes=5, init_values=scale
    ).eval()
    network = network_of("tanh")
    load_transformer(network, source.state_dict())
    crops = torch.rand(2, 3, 64, 64)
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (initial_weights.IMAGENET_MEAN, initial_weights.IMAGENET_STD)
    )
    expected = source.get_intermediate_layers(
        (crops - mean) / std, n=1, reshape=False, return_prefix_tokens=True, norm=False
    )
    found = network._tokens(crops)[-1]
    torch.testing.assert_close(found[:, 1:], expected[0][0], rtol=1e-4, atol=1e-5)
    load_transformer(network, source.state_dict(), inputs="none")
    expected = source.get_intermediate_layers(crops, n=1, norm=False)
    torch.testing.assert_close(network._tokens(crops)[-1][:, 1:], expected[0], rtol=1e-4, atol=1e-5)


def test_transformers_that_do_not_fit_are_refused() -> None:
    other = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(WeightsError, match="of another shape"):
        load_transformer(network_of("tanh"), other.state_dict())
    with pytest.raises(WeightsError, match="no vision transformer"):
        load_transformer(network_of("tanh"), {"conv1.weight": torch.zeros(1)})


def test_existence_networks_load_and_start() -> None:
    torch.manual_seed(0)
    network = build_existence().eval()
    official = unmore_existence.from_network(network.state_dict())
    assert "classifier_backbone.layer1.0.downsample.1.running_var" in official and len(official) == 322
    crops = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(existence_from(official)(crops), network(crops))
    other = build_existence()
    torchvision_names = {
        n.removeprefix("classifier_backbone."): v for n, v in official.items() if "head" not in n
    }
    load_backbone(other, torchvision_names)
    torch.testing.assert_close(other.backbone.res5[2].conv3.weight, network.backbone.res5[2].conv3.weight)
    for small in ("tiny", "mobilenetv3_small_050"):
        found = build_existence(small).eval()(crops)
        assert found.shape == (2,) and bool(((found >= 0) & (found <= 1)).all())


def test_unknown_names_are_answered() -> None:
    with pytest.raises(ConfigError, match="resnet1"):
        build_existence("resnet181")
    with pytest.raises(ConfigError, match="options"):
        build_objectness("dpt_small", wdth=3)
