"""Census, occlusion and smoothness on images whose motion is known."""

import pytest
import torch

from nolabel.geometry import (
    backward_warp,
    census_difference,
    forward_backward_visible,
    move_points,
    pixel_grid,
    range_map,
)
from nolabel.geometry.photometric import edge_aware_roughness


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("window", [3, 5, 7])
def test_census_does_not_see_brightness(window) -> None:
    image = 0.2 + 0.4 * noise(2, 3, 20, 24)
    # Soft bits of nearly equal neighbours change a little where contrasts grow.
    assert float(census_difference(image, image + 0.15, window).max()) < 1e-4
    assert float(census_difference(image, 1.3 * image, window).mean()) < 0.02 * window**2
    assert float(census_difference(image, noise(2, 3, 20, 24, seed=1), window).mean()) > 0.3 * window**2


def test_census_is_least_at_the_true_shift() -> None:
    wide = noise(1, 3, 32, 60)
    first, second = wide[..., 10:50], 0.1 + 0.8 * wide[..., 7:47]  # 3 pixels to the right, and brighter
    costs = {}
    for shift in range(-5, 6):
        flow = torch.zeros(1, 2, 32, 40)
        flow[:, 0] = shift
        fetched, inside = backward_warp(second, flow, padding_mode="border")
        costs[shift] = float(census_difference(first, fetched)[inside].mean())
    assert min(costs, key=costs.__getitem__) == 3 and costs[3] < 0.2 * min(costs[2], costs[4])


@pytest.fixture
def moving_square():
    """Flow of a square of 8 x 8 pixels that moves 4 to the right over a background that stands still."""
    forward, backward = torch.zeros(1, 2, 24, 32), torch.zeros(1, 2, 24, 32)
    forward[:, 0, 8:16, 8:16], backward[:, 0, 8:16, 12:20] = 4.0, -4.0
    hidden = torch.zeros(24, 32, dtype=torch.bool)
    hidden[8:16, 16:20] = True  # background of the first image that the square covers in the second
    return forward, backward, hidden


def test_a_moving_square_hides_what_is_before_it(moving_square) -> None:
    forward, backward, hidden = moving_square
    assert torch.equal(~forward_backward_visible(forward, backward)[0, 0], hidden)
    assert torch.equal(range_map(backward)[0, 0] < 0.5, hidden)


def test_range_map_spreads_fractions() -> None:
    flow = torch.zeros(1, 2, 1, 4)
    flow[:, 0] = 0.25
    assert range_map(flow)[0, 0, 0].tolist() == [0.75, 1.0, 1.0, 1.0]
    assert float(range_map(flow + 100).sum()) == 0


def test_second_order_smoothness_lets_planes_pass() -> None:
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    plane = (0.5 * columns + 0.25 * rows)[None, None]
    image = torch.full((1, 3, 12, 16), 0.5)
    assert float(edge_aware_roughness(plane, image, order=2).max()) == 0
    assert edge_aware_roughness(plane, image)[0, 0, 0].item() == 0.75
    bent = plane.clone()
    bent[..., 8:] += 2.0
    step = image.clone()
    step[..., 8:] = 1.0
    flat, cut = (edge_aware_roughness(bent, x, 20.0, order=2).sum() for x in (image, step))
    assert cut < 0.01 * flat  # a bend where the image has an edge costs nothing


def test_points_move_by_a_homography() -> None:
    grid = pixel_grid(5, 6)
    shift = torch.tensor([[1.0, 0, 2], [0, 1, -1], [0, 0, 1]])
    assert torch.equal(
        move_points(shift, grid) - grid, torch.tensor([2.0, -1])[:, None, None].expand(2, 5, 6)
    )
    tilt = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.1, 0, 1]])
    assert torch.allclose(move_points(tilt, grid)[0, 0, 4], torch.tensor(4 / 1.4))
