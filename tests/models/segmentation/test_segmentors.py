"""Segmentation networks: shapes, the contract, what their parts compute, and that they learn."""

import pytest
import torch
import torch.nn.functional as F

from nolabel.errors import ConfigError
from nolabel.models.backbones import ResNet, ResNetConfig
from nolabel.models.segmentation import DeepLabConfig, DeepLabV3Plus, build_segmentor, enlarge
from nolabel.models.segmentation.deeplab import PyramidPooling

NAMES = ["deeplab_v3_plus_tiny", "tiny", "resnet18", "mobilenetv3_small_050", "convnext_atto"]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_every_network_keeps_the_contract(name):
    torch.manual_seed(0)
    network = build_segmentor(name, 7).eval()
    images = torch.rand(2, 3, 45, 70)
    logits = network(images)
    assert logits.shape == (2, 7, -(-45 // network.stride), -(-70 // network.stride))
    assert network.full_size_logits(images).shape == (2, 7, 45, 70)
    # What the contract says of normalisation: a network sees the image, not its neighbours in the batch.
    torch.testing.assert_close(network(images[1:]), logits[1:], rtol=1e-3, atol=1e-5)


def test_unknown_networks_are_named():
    with pytest.raises(ConfigError, match="resnet1888"):
        build_segmentor("resnet1888", 5)
    with pytest.raises(ConfigError, match="no pyramid"):
        build_segmentor("vit_tiny_patch16_224", 5)


def test_the_pooling_window_is_an_average_over_its_cells():
    pooling = PyramidPooling(4, 3, (1,), (2, 3), 0.0)
    features = torch.rand(1, 4, 6, 6)
    torch.testing.assert_close(pooling._average(features), F.avg_pool2d(features, (2, 3), stride=1))
    small = torch.rand(1, 4, 1, 2)
    torch.testing.assert_close(pooling._average(small), small.mean((2, 3), keepdim=True))


def test_dilated_stages_keep_their_stride_and_see_farther():
    config = ResNetConfig((4, 4, 8), 16, 4, (1, 1, 1, 3), (1, 2, 2, 1), (1, 1, 1, (2, 4, 8)))
    resnet = ResNet(config).eval()
    maps = resnet(torch.rand(1, 3, 64, 64))
    assert [m.shape[-1] for m in maps.values()] == [16, 8, 4, 4]
    assert [block.conv2.dilation[0] for block in resnet.res5] == [2, 4, 8]


def test_cells_beyond_the_image_are_cut_off():
    logits = torch.arange(3.0).view(1, 1, 1, 3)
    assert enlarge(logits, 4, (4, 9)).shape == (1, 1, 4, 9)
    whole = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.equal(enlarge(logits, 4, (4, 9)), whole[..., :9])


@pytest.mark.parametrize("name", ["deeplab_v3_plus_tiny", "tiny"])
def test_small_networks_learn_two_colours(name):
    torch.manual_seed(0)
    network = build_segmentor(name, 2, dropout=0.0).train()
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[0, :, 16:] = labels[1, 16:] = 1
    images = torch.where(labels[:, None] == 1, 0.8, 0.2).expand(2, 3, 32, 32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(network.full_size_logits(images), labels).backward()
        optimizer.step()
    right = (network.full_size_logits(images).argmax(1) == labels).float().mean()
    assert right > 0.9


def test_published_sizes():
    with torch.device("meta"):
        network = DeepLabV3Plus(DeepLabConfig())
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(59.47, abs=0.01)
    assert len(network.state_dict()) == 688
