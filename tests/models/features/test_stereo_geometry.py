"""Heights and orientations of a scene whose disparity is known in closed form."""

from __future__ import annotations

import pytest
import torch

from nolabel.models.features.stereo_geometry import consistent_disparity, scene_geometry

HEIGHT, WIDTH, BASELINE = 128, 256, 0.5
CAMERA_HEIGHT, WALL = 1.4, 12.0
K = torch.tensor([[280.0, 0, 127.5], [0, 280.0, 55.0], [0, 0, 1]])


def street(camera_height: float = CAMERA_HEIGHT) -> tuple[torch.Tensor, torch.Tensor]:
    """Disparity (1, H, W) of a level road that ends at a wall 12 m ahead, and where the wall is."""
    v = torch.arange(HEIGHT).float()[:, None].expand(HEIGHT, WIDTH)
    slope = (v - 55.0) / 280.0
    road = torch.where(slope > 0, camera_height / slope.clamp(min=1e-6), 1e6)
    depth = road.clamp(max=WALL)
    return (280.0 * BASELINE / depth)[None], road > WALL


def everywhere() -> torch.Tensor:
    return torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


@pytest.mark.parametrize("camera_height", [0.9, 1.4, 2.2])
def test_road_has_height_zero_and_faces_up(camera_height: float) -> None:
    disparity, wall = street(camera_height)
    geometry = scene_geometry(disparity, K, BASELINE, everywhere())
    road = ~wall[2::4, 2::4]
    road[:, [0, -1]] = road[-1] = False
    road[int(road.float().argmax(0)[5]) : int(road.float().argmax(0)[5]) + 3] = False  # foot of the wall
    assert geometry.height[0, 0][road].abs().max() < 0.05
    assert geometry.upwardness[0, 0][road].min() > 0.9


def test_wall_has_its_heights_depth_and_is_upright() -> None:
    disparity, _ = street()
    geometry = scene_geometry(disparity, K, BASELINE, everywhere())
    v = torch.arange(5, 10) * 4 + 1.5
    expected = CAMERA_HEIGHT - (v - 55.0) / 280.0 * WALL
    torch.testing.assert_close(geometry.height[0, 0, 5:10, 30], expected, atol=0.05, rtol=0)
    torch.testing.assert_close(geometry.depth[0, 0, 5:10, 30], torch.full((5,), WALL), atol=0.01, rtol=0)
    assert geometry.upwardness[0, 0, 5:10, 10:50].abs().max() < 0.1


def test_outliers_and_holes_do_not_move_the_ground() -> None:
    generator = torch.Generator().manual_seed(0)
    disparity, _ = street()
    noisy = disparity + 0.2 * torch.randn(disparity.shape, generator=generator)
    wild = torch.rand(disparity.shape, generator=generator)
    noisy = torch.where(wild < 0.15, 40 * torch.rand(disparity.shape, generator=generator), noisy)
    known = (wild[0] < 0.15) | (wild[0] > 0.5)
    geometry = scene_geometry(torch.where(known, noisy, 0.0), K, BASELINE, known)
    bottom = geometry.height[0, 0, 26:30, 4:60]
    assert bottom.median().abs() < 0.1


@pytest.mark.parametrize("fill", [0.0, 5.0])
def test_without_any_ground_the_result_is_finite(fill: float) -> None:
    disparity = torch.full((1, HEIGHT, WIDTH), fill)
    geometry = scene_geometry(disparity, K, BASELINE, everywhere())
    assert geometry.stacked().isfinite().all()


def test_sides_that_are_no_multiple_of_the_cell() -> None:
    geometry = scene_geometry(torch.rand(1, 45, 70) * 20, K, BASELINE, torch.ones(45, 70, dtype=torch.bool))
    assert geometry.stacked().shape == (1, 4, 12, 18)


def test_consistency_marks_what_the_right_eye_does_not_see() -> None:
    left = torch.full((1, 8, 40), 4.0)
    right = torch.full((1, 8, 40), 4.0)
    right[:, :, 10:20] = 9.0
    agree = consistent_disparity(left, right)
    assert not agree[:, :4].any()  # leaves the right image
    assert not agree[:, 14:24].any()
    assert agree[:, 4:14].all()
    assert agree[:, 24:].all()
