"""Official DeepLabV3+ files: both ways through the name map, and errors that say what is wrong."""

import pytest
import torch

from nolabel.engine.segmentation_networks import build_network, load_backbone, load_network_state
from nolabel.errors import WeightsError
from nolabel.models.segmentation import build_segmentor
from nolabel.weights.layouts import deeplab_v3_plus


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_segmentor("deeplab_v3_plus_tiny", 5)


def test_an_official_file_is_loaded(network, tmp_path):
    official = deeplab_v3_plus.from_network(network.state_dict())
    assert "sem_seg_head.decoder.res5.project_conv.convs.4.1.bias" in official
    official = {f"module.{name}": v for name, v in official.items() if "num_batches_tracked" not in name}
    content = {"model": official | {"pixel_mean": torch.zeros(3, 1, 1)}, "iteration": 7}
    torch.save(content, tmp_path / "model_final.pth")
    loaded = build_network("deeplab_v3_plus_tiny", 5, weights=tmp_path / "model_final.pth")
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_our_own_state_is_loaded(network):
    other = build_segmentor("deeplab_v3_plus_tiny", 5)
    load_network_state(other, network.state_dict())
    assert torch.equal(other.classifier.weight, network.classifier.weight)


def test_other_files_are_refused(network):
    official = deeplab_v3_plus.from_network(network.state_dict())
    lacking = {n: v for n, v in official.items() if n != "sem_seg_head.decoder.res2.project_conv.weight"}
    with pytest.raises(WeightsError, match=r"low_level\.weight"):
        load_network_state(network, lacking)
    with pytest.raises(WeightsError, match="no DeepLabV3"):
        deeplab_v3_plus.to_network({"stem.conv1.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"stem\.conv3"):
        load_backbone(network, {"stem.conv1.weight": torch.zeros(1)})


def test_an_imagenet_resnet_fills_the_backbone_alone(network):
    prefix = deeplab_v3_plus.BACKBONE_PREFIX
    resnet = {n.removeprefix(prefix): v for n, v in network.state_dict().items() if n.startswith(prefix)}
    resnet |= {"stem.fc.weight": torch.zeros(3, 3)}
    other = build_segmentor("deeplab_v3_plus_tiny", 5)
    head = other.aspp.pooled.weight.clone()
    load_backbone(other, resnet)
    assert torch.equal(other.backbone.stem["conv3"].weight, network.backbone.stem["conv3"].weight)
    assert torch.equal(other.aspp.pooled.weight, head)


def test_a_timm_file_fills_a_timm_backbone():
    network, other = (build_segmentor("resnet18", 5) for _ in range(2))
    state = {
        n.removeprefix("backbone."): v for n, v in network.state_dict().items() if n.startswith("backbone.")
    }
    load_backbone(other, state | {"fc.weight": torch.zeros(2, 2)})
    assert torch.equal(other.backbone.conv1.weight, network.backbone.conv1.weight)
