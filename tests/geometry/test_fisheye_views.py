"""Perspective pictures from fisheye images."""

import math

import pytest
import torch

from nolabel.geometry import (
    FisheyeCamera,
    PinholeCamera,
    depth_from_distance,
    fisheye_grid,
    normalised_fisheye,
    pixel_fisheye,
    pixel_intrinsics,
    project_fisheye_normalised,
    regular_points,
    sample_fisheye,
)

SIDE, SIZE = 200, (30, 80)
PIXELS = torch.tensor([2.2, 0.017, 1.65, 190.0, 191.0, 101.0, 98.0], dtype=torch.float64)
MATRIX = torch.tensor([[0.9, 0.0, -0.03], [0.0, 2.4, 0.2], [0.0, 0.0, 1.0]], dtype=torch.float64)


def turned(degrees):
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]], dtype=torch.float64)


def image_of_rays():
    """A fisheye image whose pixels hold the direction they see."""
    rows, columns = torch.meshgrid(*(torch.arange(SIDE, dtype=torch.float64),) * 2, indexing="ij")
    rays, _ = FisheyeCamera(PIXELS).unproject(torch.stack([columns, rows], dim=-1).view(-1, 2))
    return rays.view(SIDE, SIDE, 3).permute(2, 0, 1)


def rays_of_picture():
    camera = PinholeCamera(pixel_intrinsics(MATRIX, *SIZE))
    rays = camera.backproject(torch.ones(SIZE, dtype=torch.float64)) @ turned(-15).T
    return rays / rays.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("compat", [False, True])
def test_a_picture_shows_what_its_rays_meet(compat):
    parameters = normalised_fisheye(PIXELS, SIDE, SIDE)
    grid = fisheye_grid(MATRIX, turned(-15), parameters, SIZE, reference_compat=compat)
    found = sample_fisheye(image_of_rays(), grid, reference_compat=compat).permute(1, 2, 0)
    error = (found - rays_of_picture()).norm(dim=-1)
    if compat:  # the original is off by up to half a pixel of the picture
        assert 0.005 < float(error.max()) < 0.03
    else:
        assert float(error.max()) < 2e-4


def test_edges_lie_at_one_and_pixels_come_back():
    parameters = normalised_fisheye(PIXELS, 120, 160, 0.5)
    torch.testing.assert_close(pixel_fisheye(parameters, 120, 160, 0.5), PIXELS)
    torch.testing.assert_close(parameters[3:5], 2 * PIXELS[3:5] / torch.tensor([160.0, 120.0]))
    points = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, -3.0], [40.0, 0.0, 1.0]], dtype=torch.float64)
    image, cosine, outside = project_fisheye_normalised(points, normalised_fisheye(PIXELS, SIDE, SIDE))
    torch.testing.assert_close(image[0], 2 * (PIXELS[5:] + 0.5) / SIDE - 1)
    assert cosine[:2].tolist() == [1, -1] and outside.tolist() == [False, True, False]


def test_matrices_scaled_as_a_whole_convert_depth_alike():
    distance = torch.rand(5, 7, dtype=torch.float64) + 1
    matrix = torch.tensor([[6.0, 0.0, 3.0], [0.0, 6.0, 2.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        depth_from_distance(distance, matrix), depth_from_distance(distance, 1.7 * matrix)
    )


def test_regular_points_include_both_ends():
    points = regular_points((-9, 0, 21), (9, 0.75, 3), (5, 3, 4))
    assert points.shape == (5, 3, 4, 3)
    assert points[0, 0, 0].tolist() == [-9, 0, 21] and points[-1, -1, -1].tolist() == [9, 0.75, 3]
    assert points[0, 0, 1].tolist() == [-9, 0, 15]  # the last axis is the fastest
