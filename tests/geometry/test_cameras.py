"""Cameras: round trips, known projections, folds and half precision."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nolabel.geometry import (
    FisheyeCamera,
    PinholeCamera,
    camera_rays,
    depth_from_distance,
    distance_from_depth,
    invert,
    se3_exp,
    transform,
)
from nolabel.geometry.cameras import distort_radius, undistort_radius

seeds = st.integers(0, 2**16)


def random(seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def matrix(fx: float = 500.0, fy: float = 450.0, cx: float = 320.0, cy: float = 200.0) -> torch.Tensor:
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def test_pinhole_by_hand() -> None:
    pixels, depth = PinholeCamera(matrix()).project(torch.tensor([[1.0, -2.0, 10.0]]))
    assert pixels.tolist() == [[370.0, 110.0]] and depth.tolist() == [10.0]


@settings(max_examples=30, deadline=None)
@given(seeds, st.floats(10, 3000), st.floats(10, 3000), st.floats(-0.5, 0.5))
def test_pinhole_round_trip(seed: int, fx: float, fy: float, skew: float) -> None:
    matrices = matrix(fx, fy).repeat(3, 1, 1)
    matrices[:, 0, 1] = skew
    points = random(seed, 3, 50, 3)
    points[..., 2] = points[..., 2].abs() * 50 + 0.1
    camera = PinholeCamera(matrices)
    assert torch.allclose(camera.unproject(*camera.project(points)), points, atol=1e-9)


def test_backproject_agrees_with_project() -> None:
    depth = random(0, 2, 6, 8, low=1, high=40)
    points = PinholeCamera(matrix()).backproject(depth)
    pixels, back = PinholeCamera(matrix()).project(points.reshape(2, -1, 3))
    assert torch.allclose(back.reshape(depth.shape), depth)
    u, v = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="xy")
    assert torch.allclose(pixels[0].reshape(6, 8, 2), torch.stack([u, v], dim=-1).double(), atol=1e-9)


def test_backproject_of_half_precision_depth_is_float32() -> None:
    points = PinholeCamera(matrix()).backproject(torch.full((4, 2000), 8.0, dtype=torch.bfloat16))
    assert points.dtype == torch.float64  # that of the matrix
    assert points[0, 1999, 0].item() == pytest.approx((1999 - 320) / 500 * 8)


KITTI_360_LIKE = torch.tensor([2.2134, 0.0165, 1.6985, 1336.3, 1335.8, 716.9, 705.8], dtype=torch.float64)


def test_fisheye_axis_lands_at_the_centre() -> None:
    pixels, cosine = FisheyeCamera(KITTI_360_LIKE).project(torch.tensor([[0.0, 0.0, 3.0]]).double())
    assert torch.allclose(pixels[0], KITTI_360_LIKE[5:]) and cosine.item() == 1.0
    rays, seen = FisheyeCamera(KITTI_360_LIKE).unproject(KITTI_360_LIKE[None, 5:])
    assert torch.allclose(rays[0], torch.tensor([0.0, 0, 1]).double()) and bool(seen.all())


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0, 2.5), st.floats(-0.1, 0.1), st.floats(0, 2))
def test_fisheye_round_trip(seed: int, xi: float, k1: float, k2: float) -> None:
    parameters = torch.tensor([xi, k1, k2, 900.0, 880.0, 500.0, 510.0], dtype=torch.float64)
    angle = random(seed, 64, low=0, high=math.radians(60))
    turn = random(seed + 1, 64, low=0, high=2 * math.pi)
    rays = torch.stack([angle.sin() * turn.cos(), angle.sin() * turn.sin(), angle.cos()], dim=-1)
    radius = rays[:, :2].norm(dim=-1) / (rays[:, 2] + xi)
    assume(bool((1 + 3 * k1 * radius**2 + 5 * k2 * radius**4 > 0.05).all()))
    camera = FisheyeCamera(parameters)
    pixels, cosine = camera.project(rays * random(seed + 2, 64, 1, low=0.5, high=30))
    back, seen = camera.unproject(pixels)
    assert bool(seen.all())
    assert torch.allclose(back, rays, atol=1e-7)
    assert torch.allclose(cosine, angle.cos())


def test_fisheye_sees_behind_itself_and_reports_what_nothing_lands_on() -> None:
    camera = FisheyeCamera(KITTI_360_LIKE.repeat(2, 1))  # a batch of cameras
    behind = torch.tensor([[[1.0, 0.2, -0.2]], [[-0.3, 1.0, -0.1]]], dtype=torch.float64)
    pixels, cosine = camera.project(behind)
    rays, seen = camera.unproject(pixels)
    assert bool((cosine < 0).all()) and bool(seen.all())
    assert torch.allclose(rays, behind / behind.norm(dim=-1, keepdim=True), atol=1e-9)
    far, seen = camera.unproject(torch.full((2, 1, 2), 1e5, dtype=torch.float64))
    assert not bool(seen.any()) and bool(torch.isfinite(far).all())


def test_the_fold_of_a_barrel_distortion_bounds_the_inverse() -> None:
    k1, k2 = torch.tensor(-0.2).double(), torch.tensor(0.0).double()
    fold = math.sqrt(1 / 0.6)
    largest = float(distort_radius(torch.tensor(fold).double(), k1, k2))
    radius, found = undistort_radius(
        torch.tensor([0.5 * largest, 0.999 * largest, 1.01 * largest]).double(), k1, k2
    )
    assert found.tolist() == [True, True, False]
    assert torch.allclose(distort_radius(radius[:2], k1, k2), torch.tensor([0.5, 0.999]).double() * largest)
    assert bool((radius <= fold + 1e-9).all())


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.3, 3), st.floats(-0.3, 3), st.floats(0, 1))
def test_undistort_inverts_distort_before_the_fold(k1: float, k2: float, part: float) -> None:
    roots = [r for r in _fold_candidates(k1, k2) if r > 0]
    radius = torch.tensor([part * min([3.0, *(0.98 * math.sqrt(root) for root in roots)])]).double()
    a, b = torch.tensor(k1).double(), torch.tensor(k2).double()
    back, found = undistort_radius(distort_radius(radius, a, b), a, b, iterations=60)
    assert bool(found.all()) and torch.allclose(back, radius, atol=1e-7)


def _fold_candidates(k1: float, k2: float) -> list[float]:
    """Positive solutions x = r^2 of 1 + 3 k1 x + 5 k2 x^2 = 0, the school formula."""
    a, b = 5 * k2, 3 * k1
    if abs(a) < 1e-12:
        return [-1 / b] if b < 0 else []
    discriminant = b * b - 4 * a
    if discriminant < 0:
        return []
    return [(-b + s * math.sqrt(discriminant)) / (2 * a) for s in (1, -1)]


def test_rays_pass_through_what_the_camera_sees() -> None:
    pose = se3_exp(random(3, 2, 6))
    origins, directions = camera_rays(matrix(50, 50, 4, 3), 6, 8, pose)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(2, 6, 8).double())
    assert torch.allclose(origins[:, 0, 0], pose[:, :3, 3])
    points = origins + 7.5 * directions
    pixels, _ = PinholeCamera(matrix(50, 50, 4, 3)).project(transform(invert(pose), points.reshape(2, -1, 3)))
    u, v = torch.meshgrid(torch.arange(8.0), torch.arange(6.0), indexing="xy")
    assert torch.allclose(pixels[1].reshape(6, 8, 2), torch.stack([u, v], dim=-1).double(), atol=1e-9)


def test_distance_and_depth_are_inverse() -> None:
    depth = random(4, 2, 6, 8, low=1, high=40)
    distance = distance_from_depth(depth, matrix(50, 50, 4, 3))
    assert distance[0, 3, 4] == depth[0, 3, 4] and bool((distance >= depth).all())
    assert torch.allclose(depth_from_distance(distance, matrix(50, 50, 4, 3)), depth)
    _, directions = camera_rays(matrix(50, 50, 4, 3), 6, 8)
    points = PinholeCamera(matrix(50, 50, 4, 3)).backproject(depth)
    assert torch.allclose(directions * distance[..., None], points)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(\.\.\., 3, 3\), got \(3, 4\)"):
        PinholeCamera(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"\(\.\.\., 7\)"):
        FisheyeCamera(torch.zeros(6))
