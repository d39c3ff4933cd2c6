"""Objects grow over their untrusted edges, and no further; the published settings know nothing of it."""

import torch

from nolabel.methods.cups.proposals import ObjectProposalConfig
from nolabel.methods.cups.sf2se3.completion import grow_objects

SIZE = (20, 30)


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """An object of 10 px disparity before 5 px; its inner part is found, a band around its border is not trusted."""
    whole = torch.zeros(SIZE, dtype=torch.bool)
    whole[5:15, 8:20] = True
    found = torch.zeros(SIZE, dtype=torch.int64)
    found[7:13, 10:18] = 3
    disparity = torch.where(whole, 10.0, 5.0)
    trusted = torch.ones(SIZE, dtype=torch.bool)
    trusted[3:17, 6:22] = False
    trusted[7:13, 10:18] = True
    return found, disparity, trusted, whole


def test_an_object_grows_to_where_the_depth_jumps() -> None:
    found, disparity, trusted, whole = scene()
    grown = grow_objects(found, disparity, trusted, reach=5, tolerance=0.05)
    assert torch.equal(grown > 0, whole) and set(grown.unique().tolist()) == {0, 3}


def test_reach_and_trusted_pixels_bound_it() -> None:
    found, disparity, trusted, _ = scene()
    one = grow_objects(found, disparity, trusted, reach=1, tolerance=0.05)
    assert (one > 0).sum() == 8 * 10
    assert torch.equal(grow_objects(found, disparity, trusted, reach=0, tolerance=0.05), found)
    road = trusted.clone()
    road[13:] = True  # the ground at the object's foot has its disparity, but its own motion
    flat = torch.full(SIZE, 10.0)
    assert not (grow_objects(found, flat, road, reach=9, tolerance=0.05)[13:] > 0).any()


def test_pixels_go_to_the_object_of_their_disparity() -> None:
    labels = torch.zeros(1, 9, dtype=torch.int64)
    labels[0, 0], labels[0, 8] = 1, 2
    disparity = torch.tensor([[10.0, 10, 10, 10, 10, 20, 20, 20, 20]])
    grown = grow_objects(labels, disparity, labels > 0, reach=8, tolerance=0.05)
    assert grown.tolist() == [[1, 1, 1, 1, 1, 2, 2, 2, 2]]


def test_pixel_settings_scale_and_published_ones_do_not() -> None:
    config = ObjectProposalConfig()
    half = config.for_image(320, 640)
    assert half.grid_scale == 2 * config.grid_scale  # the same grid points
    assert half.edge_threshold == 2 * config.edge_threshold
    assert half.edge_size == 3 and config.for_image(640, 1280).edge_size == config.edge_size == 5
    published = ObjectProposalConfig(reference_compat=True)
    assert published.for_image(320, 640) == published
