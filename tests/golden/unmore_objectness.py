"""Golden ``unmore``: the objectness and existence networks, in the official layouts."""

from pathlib import Path

import pytest
import torch

from golden.support import case_parameters, fill_layout, load_json, load_npz
from nolabel.methods.unmore.network_files import existence_from, objectness_from
from nolabel.models.objectness import DptObjectness, ResNetExistence
from nolabel.weights.layouts import unmore_existence, unmore_objectness

pytestmark = pytest.mark.golden

# README table
OUTPUTS, FEATURES, PROBABILITY = 1e-3, 2e-3, 1e-4
CHANNEL_STEP, FEATURE_STEP, FEATURE_STRIDE = 32, 16, 4  # what the names in output.npz say


def crops_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(load_npz(path / "input.npz")["images_u8"]).float() / 255


def near(actual: torch.Tensor, recorded, absolute: float, relative: float = 0.0) -> None:
    recorded = torch.from_numpy(recorded)
    limit = absolute + relative * float(recorded.abs().max())
    torch.testing.assert_close(actual, recorded, rtol=0, atol=limit)


@pytest.mark.slow
@pytest.mark.parametrize("path", case_parameters("unmore", "objectness_net"))
@torch.no_grad()
def test_objectness_network(path: Path) -> None:
    state = fill_layout(path / "layout.json", load_json(path / "meta.json")["salt"])
    recorded, crops = load_npz(path / "output.npz"), crops_of(path)
    network = objectness_from(state)
    assert isinstance(network, DptObjectness)
    names = unmore_objectness.from_network(network.state_dict())
    assert {n: v.shape for n, v in names.items()} == {n: v.shape for n, v in state.items()}
    maps = network.reassembled(crops)
    for number, found in enumerate(maps, start=1):
        near(found[:, ::CHANNEL_STEP], recorded[f"reassembled_{number}_every_32nd_channel"], 0, FEATURES)
    coarse = network.decode(maps)
    features = network.features(coarse)
    few = features[:, ::FEATURE_STEP, ::FEATURE_STRIDE, ::FEATURE_STRIDE]
    near(few, recorded["features_every_16th_channel_stride4"], 0, FEATURES)
    logits = network.boundary_head.folded(coarse, network.fusions[0].out)
    near(logits, recorded["sdf_logits"], OUTPUTS)
    near(network.boundary_head.activate(logits), recorded["sdf_maps"], OUTPUTS)
    near(network.centre_head(features), recorded["center_fields"], OUTPUTS)
    # The head as it is published, convolution by convolution.
    near(network.boundary_head(features), recorded["sdf_logits"], OUTPUTS)


@pytest.mark.parametrize("path", case_parameters("unmore", "existence_net"))
@torch.no_grad()
def test_existence_network(path: Path) -> None:
    state = fill_layout(path / "layout.json", load_json(path / "meta.json")["salt"])
    recorded, crops = load_npz(path / "output.npz"), crops_of(path)
    network = existence_from(state)
    assert isinstance(network, ResNetExistence)
    assert unmore_existence.from_network(network.state_dict()).keys() == state.keys()
    outputs: list[torch.Tensor] = []
    network.outputs.register_forward_hook(lambda *call: outputs.append(call[2]))
    near(network(crops)[:, None], recorded["probability"], PROBABILITY)
    near(outputs[0], recorded["logits1000"], PROBABILITY)
