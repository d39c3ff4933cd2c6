"""Feature extractors: shapes, what moves them, and what their loaders refuse."""

from __future__ import annotations

import pytest
import torch

from nolabel.errors import ConfigError, WeightsError
from nolabel.models.features import DepthG, TimmFeatures, build_features, network_arguments
from nolabel.models.features.descriptors import DenseDescriptors, lab_colours
from nolabel.models.features.extractor import SceneGeometry
from nolabel.weights.layouts import depthg, dino

TINY_VIT = "vit_tiny_patch16_224"


def flat_geometry(height: float) -> SceneGeometry:
    ones = torch.ones(1, 1, 8, 12)
    return SceneGeometry(height * ones, 10 * ones, ones, ones)


def test_lab_of_known_colours() -> None:
    rgb = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]).T.reshape(1, 3, 1, 4)
    expected = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.2, 80.1, 67.2], [32.3, 79.2, -107.9]])
    torch.testing.assert_close(lab_colours(rgb)[0, :, 0].T, expected, atol=0.6, rtol=0)


@pytest.mark.parametrize("size", [(32, 48), (45, 71)])
def test_descriptors_have_one_vector_for_each_cell(size: tuple[int, int]) -> None:
    extractor = DenseDescriptors()
    features = extractor(torch.rand(2, 3, *size))
    assert features.shape == (2, extractor.channels, -(-size[0] // 4), -(-size[1] // 4))
    assert features.isfinite().all()


def test_descriptors_react_to_texture_colour_and_geometry_apart() -> None:
    extractor = DenseDescriptors()
    grey = torch.full((1, 3, 32, 48), 0.5)
    base = extractor(grey, flat_geometry(0.0))
    stripes = grey.clone()
    stripes[..., ::4] = 0.8
    for changed in (
        extractor(stripes, flat_geometry(0.0)),
        extractor(grey * torch.tensor([1.0, 0.6, 0.6])[:, None, None], flat_geometry(0.0)),
        extractor(grey, flat_geometry(2.0)),
    ):
        difference = (changed - base).abs().mean((0, 2, 3))
        assert difference.max() > 0.1
        assert (difference < 1e-4).any()


def test_descriptors_shift_with_the_image() -> None:
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    extractor = DenseDescriptors(place=0.0)
    shifted = extractor(image.roll(8, dims=-1))[..., 8:-8, 10:-8]
    torch.testing.assert_close(shifted, extractor(image)[..., 8:-8, 8:-10], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 96), (70, 100)])
def test_any_timm_vit_takes_any_size(size: tuple[int, int]) -> None:
    extractor = TimmFeatures(TINY_VIT)
    assert extractor.stride == 16
    features = extractor.eval()(torch.rand(1, 3, *size))
    assert features.shape == (1, 192, round(size[0] / 16), round(size[1] / 16))


def test_a_cnn_stops_at_its_stride() -> None:
    extractor = TimmFeatures("resnet18").eval()
    assert extractor.stride == 16
    assert extractor(torch.rand(1, 3, 64, 96)).shape == (1, 256, 4, 6)


def test_weights_that_do_not_fit_are_named() -> None:
    extractor = TimmFeatures(TINY_VIT)
    state = extractor.network.state_dict()
    extractor.load_weights(dino.to_network({f"module.backbone.{k}": v for k, v in state.items()}))
    broken = {name: value for name, value in state.items() if name != "norm.weight"}
    broken["blocks.0.attn.surprise"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"missing: norm\.weight; unknown: blocks\.0\.attn\.surprise"):
        extractor.load_weights(broken)


def test_unknown_names_and_absent_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="need weights"):
        build_features("depthg")
    with pytest.raises(ConfigError, match="no model"):
        build_features("vit_gigantic_patch3", {})
    with pytest.raises(WeightsError, match="do not fit DepthG"):
        build_features("depthg", {"probe.clusters": torch.zeros(3, 4)})


def test_depthg_layout_round_trip() -> None:
    network = DepthG(width=64, heads=1, depth=2, patch=8, dim=10, num_clusters=5)
    official = depthg.from_network(network.state_dict())
    assert "net.cluster2.2.weight" in official
    state = depthg.to_network(
        {**official, "linear_probe.weight": torch.zeros(1), "net.lhp.x": torch.zeros(1)}
    )
    assert network_arguments(state) == {
        "width": 64, "heads": 1, "depth": 2, "patch": 8, "dim": 10, "num_clusters": 5,
    }  # fmt: skip
    again = build_features("depthg", state)
    image = torch.rand(1, 3, 40, 64)
    assert torch.equal(again(image), network.eval()(image))


def test_probe_loss_is_minimal_at_its_centres() -> None:
    network = DepthG(width=64, heads=1, depth=1, dim=6, num_clusters=4)
    at_centres = network.probe.clusters.detach().T.reshape(1, 6, 2, 2)
    loss, assigned = network.probe.loss(at_centres)
    assert loss.item() == pytest.approx(-1.0, abs=1e-5)
    assert assigned.argmax(1).flatten().tolist() == [0, 1, 2, 3]
