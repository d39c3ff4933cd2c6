"""The exact truth of the procedural world, checked against the pictures and against independent geometry."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.world import (
    Renderer,
    Rig,
    StereoVideoTruth,
    exact_flow,
    frame_points,
    generate_scene,
    render_stereo_video,
    rigid_motions,
)

RIG = Rig((128, 256))
SEEDS = (0, 8)


@pytest.fixture(
    scope="module", params=[(seed, style) for seed in SEEDS for style in ("real", "synthetic")], ids=str
)
def truth(request: pytest.FixtureRequest) -> StereoVideoTruth:
    seed, style = request.param
    return render_stereo_video(Renderer(generate_scene(seed), style, RIG))


def sample(image: Tensor, flow: Tensor) -> Tensor:
    """Bilinear look-up of image (C, H, W) at the pixel grid + flow (2, H, W)."""
    _, height, width = image.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([(u + flow[0]) * 2 / (width - 1) - 1, (v + flow[1]) * 2 / (height - 1) - 1], -1)
    return F.grid_sample(image[None], grid[None].float(), align_corners=True, padding_mode="border")[0]


def photometric(first: Tensor, second: Tensor, flow: Tensor, visible: Tensor) -> tuple[float, float]:
    """Mean absolute error and share of pixels within 0.1, over visible pixels."""
    error = (sample(second, flow) - first).abs().mean(0)[visible]
    return float(error.mean()), float((error < 0.1).float().mean())


def test_warping_by_the_exact_flow_gives_the_first_image_back(truth: StereoVideoTruth) -> None:
    zero = torch.zeros_like(truth.flow_forward)
    for flow, visible, first, second in (
        (truth.flow_forward, truth.visible_forward, truth.left_0, truth.left_1),
        (truth.flow_backward, truth.visible_backward, truth.left_1, truth.left_0),
    ):
        mean, near = photometric(first.image, second.image, flow, visible)
        still, _ = photometric(first.image, second.image, zero, visible)
        assert mean < 0.045 and near > 0.90, (mean, near)
        assert mean < 0.6 * still, (mean, still)


def test_warping_by_the_exact_disparity_gives_the_left_image_back(truth: StereoVideoTruth) -> None:
    for left, right, visible in (
        (truth.left_0, truth.right_0, truth.visible_0),
        (truth.left_1, truth.right_1, truth.visible_1),
    ):
        flow = torch.stack([-left.disparity, torch.zeros_like(left.disparity)])
        mean, near = photometric(left.image, right.image, flow, visible)
        assert mean < 0.045 and near > 0.90, (mean, near)
    flow = torch.stack([truth.right_0.disparity, torch.zeros_like(truth.right_0.disparity)])
    mean, near = photometric(truth.right_0.image, truth.left_0.image, flow, truth.visible_right_0)
    assert mean < 0.045 and near > 0.90, (mean, near)


def test_disparity_is_focal_times_baseline_over_depth(truth: StereoVideoTruth) -> None:
    frame = truth.left_0
    solid = frame.depth > 0
    expected = RIG.focal * RIG.size[1] * RIG.baseline / frame.depth[solid]
    torch.testing.assert_close(frame.disparity[solid], expected, rtol=1e-5, atol=1e-5)
    assert (frame.disparity[~solid] == 0).all()
    assert ((frame.semantic == 10) == ~solid).all()


def test_stereo_flow_is_the_disparity(truth: StereoVideoTruth) -> None:
    scene = generate_scene(SEEDS[0])
    renderer = Renderer(scene, "synthetic", RIG)
    left, right = renderer.frame(0.0, "left"), renderer.frame(0.0, "right")
    flow, depth, _ = exact_flow(scene, left, right)
    solid = left.depth > 0
    torch.testing.assert_close(flow[0][solid], -left.disparity[solid], rtol=1e-4, atol=1e-3)
    assert flow[1].abs().max() < 1e-3
    torch.testing.assert_close(depth[solid], left.depth[solid], rtol=1e-5, atol=1e-5)


def test_static_flow_follows_from_depth_and_ego_pose(truth: StereoVideoTruth) -> None:
    first = truth.left_0
    static = (first.depth > 0) & (first.instance == 0)
    v, u = torch.nonzero(static, as_tuple=True)
    k = first.matrix
    z = first.depth[static].double()
    points = torch.stack([(u - k[0, 2]) / k[0, 0] * z, (v - k[1, 2]) / k[1, 1] * z, z, torch.ones_like(z)], 1)
    moved = points @ truth.ego_motion.T
    projected = moved[:, :3] @ k.T
    expected = projected[:, :2] / projected[:, 2:]
    found = torch.stack([u, v], 1) + truth.flow_forward[:, static].T
    ahead = moved[:, 2] > 1
    torch.testing.assert_close(found[ahead].double(), expected[ahead], rtol=0, atol=2e-3)


def test_instance_motions_take_points_of_objects_to_their_later_places(truth: StereoVideoTruth) -> None:
    """The moved points must lie on the same instance's surface as rendered at t1, wherever they are visible."""
    first, second = truth.left_0, truth.left_1
    later = torch.stack([second.depth, second.instance.float()])
    height, width = first.depth.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    checked = 0
    for instance, motion in truth.motions.items():
        own = (first.instance == instance) & truth.visible_forward
        if own.sum() < 150:
            continue
        k, z = first.matrix, first.depth[own].double()
        points = torch.stack(
            [(u[own] - k[0, 2]) / k[0, 0] * z, (v[own] - k[1, 2]) / k[1, 1] * z, z, torch.ones_like(z)], 1
        )
        moved = (points @ motion.T)[:, :3]
        projected = moved @ k.T
        column = (projected[:, 0] / projected[:, 2]).round().long()
        row = (projected[:, 1] / projected[:, 2]).round().long()
        depth, label = later[:, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        same = label == instance
        assert same.float().mean() > 0.75  # thin parts fall between pixels
        error = (depth[same] - moved[same, 2]).abs() / moved[same, 2]
        assert error.median() < 0.004
        checked += 1
    assert checked >= 1


def test_rigid_motions_are_rigid_and_move_what_moves() -> None:
    scene = generate_scene(3)
    motions = rigid_motions(scene, 0.0, 0.1)
    rotation = motions[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), torch.eye(3).double().expand_as(rotation))
    moving = torch.tensor([actor.moving for actor in scene.actors])
    shift = torch.from_numpy(scene.actor_poses(0.1) - scene.actor_poses(0.0))[:, :3, 3].norm(dim=1)
    speed = torch.tensor([actor.speed for actor in scene.actors], dtype=torch.float64)
    torch.testing.assert_close(shift, speed * 0.1, rtol=1e-3, atol=1e-9)
    assert moving.sum() >= 3
    assert (motions[~moving] == torch.eye(4).double()).all()


def test_visibility_agrees_with_a_picture_of_four_times_the_resolution() -> None:
    for seed in SEEDS:
        scene = generate_scene(seed)
        coarse, fine = (Renderer(scene, "synthetic", Rig(size)) for size in ((96, 192), (384, 768)))
        first, second = coarse.frame(0.0), coarse.frame(0.1)
        flow, depth, visible = exact_flow(scene, first, second)
        target = fine.frame(0.1).depth
        v, u = torch.meshgrid(torch.arange(96), torch.arange(192), indexing="ij")
        column, row = u + flow[0], v + flow[1]
        inside = (column >= 0) & (column <= 191) & (row >= 0) & (row <= 95)
        fine_column = (column * 4 + 1.5).round().long().clamp(0, 767)
        fine_row = (row * 4 + 1.5).round().long().clamp(0, 383)
        found = target[fine_row, fine_column]
        hidden = torch.where(first.depth > 0, (found > 0) & (found < 0.94 * depth), found > 0)
        assert (visible == ~hidden)[inside].float().mean() > 0.97
        assert not visible[~inside].any()
        assert visible[hidden & inside].float().mean() < 0.3 and hidden[inside].any()


def test_points_of_both_eyes_agree_and_instances_are_shared() -> None:
    scene = generate_scene(1)
    renderer = Renderer(scene, "synthetic", RIG)
    frames = [renderer.frame(time, eye) for time in (0.0, 0.2) for eye in ("left", "right")]
    left, right = frames[:2]
    flow, _, visible = exact_flow(scene, left, right)
    for name in ("instance", "semantic"):
        there = sample_nearest(getattr(right, name), flow)
        assert (there == getattr(left, name))[visible].float().mean() > 0.97
    points = frame_points(left)
    assert points.shape == (128, 256, 3) and points.dtype == torch.float64
    classes: dict[int, set[int]] = {}
    for frame in frames:
        for instance in frame.instance.unique().tolist():
            if instance:
                found = frame.semantic[frame.instance == instance].unique().tolist()
                classes.setdefault(instance, set()).update(found)
    assert len(classes) >= 5
    assert all(len(found) == 1 and min(found) >= 11 for found in classes.values())
    assert max(classes) <= scene.num_instances


def sample_nearest(labels: Tensor, flow: Tensor) -> Tensor:
    height, width = labels.shape
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return labels[
        (v + flow[1]).round().long().clamp(0, height - 1), (u + flow[0]).round().long().clamp(0, width - 1)
    ]
