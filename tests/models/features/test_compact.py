"""The compact network, and rows beside features."""

import pytest
import torch

from nolabel.errors import ConfigError
from nolabel.models.features import CompactFeatures, DenseDescriptors, DescribedFeatures, build_backbone

TINY = {"widths": [8, 8, 16], "depths": [1, 1, 1], "channels": 12}


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("size", [(32, 48), (45, 71)])
def test_cells_tile_the_picture(stride, size) -> None:
    network = build_backbone("compact", {**TINY, "stride": stride}).eval()
    found = network(torch.rand(2, 3, *size))
    assert found.shape == (2, 12, -(-size[0] // stride), -(-size[1] // stride))
    assert found.isfinite().all()


def test_every_stage_counts_and_learns() -> None:
    network = CompactFeatures(tuple(TINY["widths"]), (1, 1, 1), 12)
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    still = {name for name, value in network.named_parameters() if not value.grad.abs().sum()}
    # A block begins as its shortcut: its first convolution learns from the second step on.
    assert all(".first." in name or ".second.weight" in name for name in still), still


def test_a_cell_sees_its_surroundings() -> None:
    torch.manual_seed(0)
    network = build_backbone("compact", TINY).eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if name.endswith("norm.weight"):
            value.fill_(1.0)  # blocks that began as their shortcuts do something
    image = torch.rand(1, 3, 160, 160)
    other = image.clone()
    other[..., 120:128, 120:128] = 0
    changed = (network(image) - network(other)).abs().amax(1)[0] > 1e-6
    assert changed[15, 15] and changed[13, 14] and not changed[0, 0]


def test_other_sizes_are_refused() -> None:
    for options in ({"stride": 16}, {"widths": [8, 8]}, {"width": 3}):
        with pytest.raises(ConfigError):
            build_backbone("compact", options)


def test_features_beside_descriptors() -> None:
    bare = build_backbone("compact", TINY).eval().requires_grad_(False)
    picture = torch.rand(1, 3, 64, 48)
    found = DescribedFeatures(bare, 2.0)(picture)
    assert found.shape == (1, 15 + 12, 16, 12)
    torch.testing.assert_close(found[:, :15], DenseDescriptors()(picture))
    assert float(found[:, 15:].norm(dim=1).max()) == pytest.approx(
        2.0, rel=0.01
    )  # unit vectors, interpolated
    assert DescribedFeatures(bare, 2.0, place=0.0)(picture)[:, 8].abs().max() == 0
