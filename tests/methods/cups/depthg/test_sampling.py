"""Places of the losses: spread over the scene, in image coordinates."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from nolabel.methods.cups.depthg.sampling import (
    depth_points,
    derangement,
    farthest_coordinates,
    farthest_points,
    uniform_coordinates,
)


def test_farthest_points_take_the_corners_first() -> None:
    line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [10, 0, 0]])
    other = torch.tensor([[0.0, 0, 0], [9, 0, 0], [1, 0, 0], [4, 0, 0]])
    chosen = farthest_points(torch.stack([line, other]), 3)
    assert chosen.tolist() == [[0, 3, 2], [0, 1, 3]]


def test_a_point_lies_on_its_ray() -> None:
    points = depth_points(torch.full((1, 1, 4, 8), 2.0)).view(4, 8, 3)
    assert points[0, 0, 0] == -points[0, 7, 0]  # symmetric about the axis
    assert points[0, 0, 1] == -points[3, 0, 1]
    # 90 degrees: the border of the image, half a pixel on, is as far to the side as it is ahead
    step = points[0, 1, 0] - points[0, 0, 0]
    assert torch.isclose(points[0, 7, 0] + step / 2, torch.tensor(2.0))
    assert torch.isclose(points[1, 0, 1] - points[0, 0, 1], step)  # square pixels


def test_near_objects_do_not_crowd_out_the_far_ones() -> None:
    depth = torch.full((1, 1, 20, 30), 2.0)
    depth[..., 25:] = 30.0  # a sixth of the image, most of the scene
    spread = farthest_coordinates(depth, (20, 30), 6)
    uniform = uniform_coordinates(1, 6, torch.Generator().manual_seed(0), "cpu")

    def far(places: torch.Tensor) -> float:
        read = F.grid_sample(depth, places, mode="nearest", align_corners=True)
        return float((read > 20).float().mean())

    assert far(spread) > 2 * far(uniform)


def test_coordinates_are_x_first_and_reach_the_borders() -> None:
    depth = torch.ones(1, 1, 6, 12)
    depth[..., -1, :] = 50.0  # the bottom row is far away from all else
    places = farthest_coordinates(depth, (6, 12), 3)[0].flatten(0, 1)
    assert places[:, 1].max() == 1.0
    assert (places[:, 1] == 1.0).sum() >= 5  # y, the second entry, is the row
    swapped = farthest_coordinates(depth, (6, 12), 3, reference_compat=True)[0].flatten(0, 1)
    assert swapped.max() < 1.0


def test_unknown_depth_does_not_pull_cells_nearer() -> None:
    depth = torch.full((1, 1, 8, 8), 10.0)
    holes = depth.clone()
    holes[..., ::2, ::2] = 0
    assert torch.equal(farthest_coordinates(depth, (4, 4), 3), farthest_coordinates(holes, (4, 4), 3))


def test_no_image_is_its_own_negative() -> None:
    assert derangement(torch.tensor([0, 1, 2, 3])).tolist() == [1, 2, 3, 0]
    assert derangement(torch.tensor([1, 0, 3, 2])).tolist() == [1, 0, 3, 2]
