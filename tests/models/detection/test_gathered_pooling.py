"""RoIAlign as a gather against torchvision's."""

import pytest
import torch
from torchvision.ops import roi_align

from nolabel.models.detection.gathered_pooling import gathered_roi_align


def regions(generator: torch.Generator, count: int, batch: int) -> torch.Tensor:
    """Boxes of very different shapes, some beyond the border of an image of 96 x 160 pixels."""
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([160.0, 96.0])
    half = torch.exp(torch.rand(count, 2, generator=generator) * 4.0)
    image = torch.randint(batch, (count, 1), generator=generator).float()
    return torch.cat([image, centre - half, centre + half], dim=1)


@pytest.mark.parametrize("size", [1, 7, 14])
@pytest.mark.parametrize("batch", [1, 3])
def test_values_and_gradients_are_those_of_torchvision(size: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(size)
    boxes = regions(generator, 150, batch)  # more than one chunk
    feature = torch.randn(batch, 5, 24, 40, generator=generator)
    weights = torch.randn(150, 5, size, size, generator=generator)
    found = []
    for pool in (
        lambda f: gathered_roi_align(f, boxes, size, 0.25),
        lambda f: roi_align(f, boxes, size, 0.25, 0, True),
    ):
        given = feature.clone().requires_grad_()
        pooled = pool(given)
        (pooled * weights).sum().backward()
        assert given.grad is not None
        found.append((pooled.detach(), given.grad))
    torch.testing.assert_close(found[0][0], found[1][0], atol=2e-5, rtol=0)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-3, rtol=1e-4)


def test_regions_without_area_or_numbers_give_zeros() -> None:
    feature = torch.ones(1, 2, 8, 8)
    nan = torch.nan
    boxes = torch.tensor([[0, 4, 4, 4, 20], [0, 9, 9, 3, 3], [0, nan, 2, nan, 8], [0, 4, 4, 24, 24]])
    pooled = gathered_roi_align(feature, boxes, 3, 0.25)
    assert (pooled[:3] == 0).all()
    torch.testing.assert_close(pooled[3], torch.ones(2, 3, 3))
    assert gathered_roi_align(feature, boxes[:0], 3, 0.25).shape == (0, 2, 3, 3)


def test_no_region_reaches_beyond_its_weights() -> None:
    """Rounding may carry a sample over one pixel more than there are samples; extents of whole pixels are the worst."""
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(20_000, 2, generator=generator) * 60
    boxes = torch.cat([torch.zeros(20_000, 1), low, low + 28], dim=1)
    pooled = gathered_roi_align(torch.ones(1, 1, 100, 100), boxes, 7, 1.0)
    torch.testing.assert_close(pooled, torch.ones_like(pooled), atol=1e-5, rtol=0)
