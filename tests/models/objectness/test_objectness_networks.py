"""Objectness and existence networks: the folded head, sizes, and what is not computed."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from nolabel.errors import ConfigError
from nolabel.models.objectness import (
    DPT_SIZES,
    DptConfig,
    DptObjectness,
    build_existence,
    build_objectness,
)
from nolabel.weights.layouts import unmore_objectness

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


def test_small_existence_networks() -> None:
    for small in ("tiny", "mobilenetv3_small_050"):
        found = build_existence(small).eval()(torch.rand(2, 3, 64, 64))
        assert found.shape == (2,) and bool(((found >= 0) & (found <= 1)).all())


def test_unknown_names_are_answered() -> None:
    with pytest.raises(ConfigError, match="resnet1"):
        build_existence("resnet181")
    with pytest.raises(ConfigError, match="options"):
        build_objectness("dpt_small", wdth=3)
