"""Disparity, depth, visibility and scene flow on scenes whose truth is known."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry import (
    PinholeCamera,
    backward_warp,
    depth_from_disparity,
    disparity_as_flow,
    disparity_from_depth,
    forward_backward_visible,
    scene_flow,
    se3_exp,
    transform,
)

HEIGHT, WIDTH = 20, 40


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 500), st.floats(1, 5000), st.floats(0.01, 10))
def test_disparity_and_depth_are_inverse(disparity: float, focal: float, baseline: float) -> None:
    value = torch.tensor([disparity], dtype=torch.float64)
    depth = depth_from_disparity(value, focal, baseline)
    assert torch.allclose(depth, torch.tensor([focal * baseline / disparity]).double())
    assert torch.allclose(disparity_from_depth(depth, focal, baseline), value)


def test_unknown_stays_unknown_without_poisoning_gradients() -> None:
    disparity = torch.tensor([0.0, -1.0, 2.0], requires_grad=True)
    depth = depth_from_disparity(disparity, 100.0, 0.5)
    assert depth.tolist() == [0.0, 0.0, 25.0]
    depth.sum().backward()
    assert disparity.grad is not None and disparity.grad.tolist() == [0.0, 0.0, -12.5]


def test_disparity_flows_fetch_the_other_view() -> None:
    right = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    disparity = torch.full((1, 1, HEIGHT, WIDTH), 4.0)
    left = torch.zeros_like(right)
    left[..., 4:] = right[..., :-4]  # x_right = x_left - 4
    fetched, inside = backward_warp(right, disparity_as_flow(disparity, "left"))
    assert torch.equal(fetched, left) and bool(inside[..., 4:].all()) and not bool(inside[..., :4].any())
    fetched, _ = backward_warp(left, disparity_as_flow(disparity, "right"))
    assert torch.equal(fetched[..., :-4], right[..., :-4])


def test_visibility_of_a_moving_square_over_a_still_ground() -> None:
    forward, backward = torch.zeros(1, 2, HEIGHT, WIDTH), torch.zeros(1, 2, HEIGHT, WIDTH)
    forward[:, 0, 5:15, 10:18] = 6
    backward[:, 0, 5:15, 16:24] = -6
    visible = forward_backward_visible(forward, backward)[0, 0]
    truth = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    truth[5:15, 18:24] = False  # the ground that the square covers afterwards
    assert torch.equal(visible, truth)


def test_leaving_the_image_is_not_visible() -> None:
    forward = torch.zeros(1, 2, HEIGHT, WIDTH)
    forward[:, 0] = 5
    visible = forward_backward_visible(forward, -forward)
    assert bool(visible[..., :-5].all()) and not bool(visible[..., -5:].any())


def test_tolerance_grows_with_alpha_and_beta() -> None:
    forward = torch.full((1, 2, HEIGHT, WIDTH), 3.0)
    backward = -forward + 0.6  # squared error 0.72; |F|^2 + |B|^2 = 18 + 11.52
    inner = (..., slice(2, -6), slice(2, -6))
    assert not bool(forward_backward_visible(forward, backward, 0.0, 0.5)[inner].any())
    assert bool(forward_backward_visible(forward, backward, 0.01, 0.5)[inner].all())
    assert bool(forward_backward_visible(forward, backward, 0.0, 0.8)[inner].all())


def test_scene_flow_of_a_rigid_scene_is_the_rigid_motion() -> None:
    """A wall seen by a camera that approaches it: the points move by the camera's motion."""
    matrix = torch.tensor([[40.0, 0, 19.5], [0, 40.0, 9.5], [0, 0, 1]])
    camera, motion = PinholeCamera(matrix), se3_exp(torch.tensor([0.0, 0, -2.0, 0, 0, 0]))
    depth_0, depth_1 = torch.full((1, 1, HEIGHT, WIDTH), 10.0), torch.full((1, 1, HEIGHT, WIDTH), 8.0)
    truth = transform(motion, camera.backproject(depth_0[:, 0]).reshape(1, -1, 3))
    pixels, _ = camera.project(truth)
    grid, _ = camera.project(camera.backproject(depth_0[:, 0]).reshape(1, -1, 3))
    flow = (pixels - grid).mT.reshape(1, 2, HEIGHT, WIDTH)
    points_0, points_1, known = scene_flow(depth_0, depth_1, flow, camera)
    assert bool(known[..., 5:-5, 8:-8].all()) and not bool(known[..., 0, :].any())
    error = (points_1 - truth.mT.reshape(1, 3, HEIGHT, WIDTH)).abs().amax(dim=1, keepdim=True)
    assert float(error[known].max()) <= 0.51 * 8 / 40  # half a pixel at 8 m
    assert torch.allclose((points_1 - points_0)[:, 2:][known], torch.tensor(-2.0))


def test_scene_flow_needs_both_depths() -> None:
    camera = PinholeCamera(torch.eye(3))
    depth = torch.ones(1, 1, 4, 4)
    holes = depth.clone()
    holes[..., 1, 1] = 0
    flow = torch.zeros(1, 2, 4, 4)
    for first, second in ((holes, depth), (depth, holes)):
        known = scene_flow(first, second, flow, camera)[2]
        assert int(known.sum()) == 15 and not bool(known[0, 0, 1, 1])
