"""The compact network, and rows beside features."""

import pytest
import torch

from nolabel.errors import ConfigError
from nolabel.models.features import CompactFeatures, PlacedFeatures, build_backbone

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


def test_rows_beside_features() -> None:
    bare = build_backbone("compact", TINY).eval().requires_grad_(False)
    found = PlacedFeatures(bare, 2.0)(torch.rand(1, 3, 64, 48))
    assert found.shape == (1, 14, 8, 6)
    torch.testing.assert_close(found.square().sum(1), torch.full((1, 8, 6), 5.0))
    rows = found[0, -2:, :, 0].T
    assert float((rows[0] - rows[-1]).norm()) == pytest.approx(4.0)  # top and bottom: as far as can be
    assert torch.equal(found[0, -2:, :, 0], found[0, -2:, :, 5])
