"""A ResNet-50 that was pretrained under timm's names gives the same maps in a detector's backbone."""

from pathlib import Path

import pytest
import torch

from nolabel.engine.feature_extractors import save_features
from nolabel.errors import WeightsError
from nolabel.methods.cups.initial_weights import load_initial_weights
from nolabel.models.features import TimmFeatures
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig
from nolabel.weights.layouts import timm_resnet

IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def pretrained(max_stride: int) -> TimmFeatures:
    torch.manual_seed(0)
    features = TimmFeatures("resnet50", max_stride=max_stride).train()
    with torch.no_grad():
        for number in range(3):  # statistics that are not those of a new network
            features(IMAGE + number)
    return features.eval()


@pytest.fixture(scope="module")
def network() -> PanopticCascadeMaskRCNN:
    return PanopticCascadeMaskRCNN(PanopticConfig(num_things=2, num_stuff=3)).eval()


@torch.no_grad()
def test_a_run_of_pretrain_features_fills_the_backbone(
    network: PanopticCascadeMaskRCNN, tmp_path: Path
) -> None:
    features = pretrained(32)
    save_features(features, tmp_path / "model.safetensors", "resnet50", {"max_stride": 32})
    predictor = network.state_dict()["sem_seg_head.predictor.bias"].clone()
    load_initial_weights(network, tmp_path)
    maps = network.backbone.bottom_up(features.normalise(IMAGE))
    torch.testing.assert_close(maps["res5"], features(IMAGE), atol=1e-4, rtol=1e-4)
    assert torch.equal(network.state_dict()["sem_seg_head.predictor.bias"], predictor)


def test_a_file_of_torchvision_is_recognised() -> None:
    state = {name.removeprefix("network."): value for name, value in pretrained(32).state_dict().items()}
    state["fc.weight"] = torch.zeros(10, 2048)
    found = timm_resnet.to_detectron(state)
    assert timm_resnet.is_resnet(state) and not timm_resnet.is_resnet(found)
    assert "stem.conv1.norm.running_var" in found and "res4.0.shortcut.norm.bias" in found
    assert not any(name.startswith(("fc", "layer", "bn", "conv")) for name in found)


def test_a_resnet_without_its_last_stage_is_refused(network: PanopticCascadeMaskRCNN, tmp_path: Path) -> None:
    save_features(pretrained(16), tmp_path / "model.safetensors", "resnet50", {"max_stride": 16})
    with pytest.raises(WeightsError, match=r"res5"):
        load_initial_weights(network, tmp_path)
