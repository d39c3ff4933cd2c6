"""Exact motion and visibility between frames, rigid motions of bodies, and stereo video samples with all truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.world.render import Eye, Renderer, WorldFrame
from nolabel.world.scenes import Scene

_DEPTH_SLACK = 0.01  # share of the depth: what is nearer than this hides the point
_OWN_PART_SLACK = 0.10  # the same, for the point's own part, whose depth may change much within a pixel


def frame_points(frame: WorldFrame) -> Tensor:
    """World points (H, W, 3) float64 of every pixel; for the sky the DIRECTION of the ray."""
    height, width = frame.depth.shape
    device = frame.depth.device
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float64, device=device),
        torch.arange(width, dtype=torch.float64, device=device),
        indexing="ij",
    )
    k = frame.matrix
    ray = torch.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], torch.ones_like(u)], -1)
    ray = ray @ frame.camera_to_world[:3, :3].T
    depth = frame.depth.double().unsqueeze(-1)
    return torch.where(depth > 0, frame.camera_to_world[:3, 3] + ray * depth, ray)


def rigid_motions(scene: Scene, time_0: float, time_1: float) -> Tensor:
    """World motions (A, 4, 4) float64 of all actors: X(time_1) = T X(time_0); static ones are exactly the identity."""
    first, second = scene.actor_poses(time_0), scene.actor_poses(time_1)
    motions = torch.from_numpy(second) @ torch.linalg.inv(torch.from_numpy(first))
    still = torch.tensor([not actor.moving for actor in scene.actors])
    motions[still] = torch.eye(4, dtype=torch.float64)
    return motions


def instance_motions(scene: Scene, first: WorldFrame, second: WorldFrame) -> dict[int, Tensor]:
    """For every instance id: the motion (4, 4) float64 that takes its points from camera `first` to camera `second`.

    Id 0 stands for the static world (the motion of the camera itself).
    """
    motions = rigid_motions(scene, first.time, second.time).to(first.camera_to_world.device)
    into, out = torch.linalg.inv(second.camera_to_world), first.camera_to_world
    owner = dict(zip(scene.parts.instance.tolist(), scene.parts.actor.tolist(), strict=True))
    owner[0] = 0
    return {instance: into @ motions[actor] @ out for instance, actor in sorted(owner.items())}


def exact_flow(scene: Scene, first: WorldFrame, second: WorldFrame) -> tuple[Tensor, Tensor, Tensor]:
    """Where every pixel of `first` is seen in `second` (another time, another eye, or both).

    Returns:
        flow (2, H, W) float32 px on the grid of `first`; depth (H, W) float32 of the same points in `second`, m
        (0 = sky); visible (H, W) bool: inside the other image and not hidden there.
    """
    height, width = first.depth.shape
    points = frame_points(first)
    sky = first.depth <= 0
    motions = rigid_motions(scene, first.time, second.time).to(points.device)[first.actor.clamp(min=0)]
    moved = (motions[..., :3, :3] @ points.unsqueeze(-1)).squeeze(-1) + motions[..., :3, 3]
    pose, k = second.camera_to_world, second.matrix
    local = torch.where(sky.unsqueeze(-1), points, moved - pose[:3, 3]) @ pose[:3, :3]
    z = local[..., 2]
    ahead = z > 1e-3
    safe = torch.where(ahead, z, 1.0)
    u = k[0, 0] * local[..., 0] / safe + k[0, 2]
    v = k[1, 1] * local[..., 1] / safe + k[1, 2]
    rows = torch.arange(height, dtype=torch.float64, device=z.device).unsqueeze(1)
    columns = torch.arange(width, dtype=torch.float64, device=z.device)
    flow = torch.stack([u - columns, v - rows]).float()
    inside = ahead & (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    depth = torch.where(sky, 0.0, z)
    return flow, depth.float(), inside & _seen(u, v, depth, first, second)


def _seen(u: Tensor, v: Tensor, depth: Tensor, first: WorldFrame, second: WorldFrame) -> Tensor:
    """Whether the pixel of `second` nearest to (u, v) shows the point at `depth`, and nothing in front of it."""
    height, width = second.depth.shape
    column, row = u.round().long().clamp(0, width - 1), v.round().long().clamp(0, height - 1)
    found = second.depth[row, column].double()
    own = second.part[row, column] == first.part
    slack = torch.where(own, _OWN_PART_SLACK, _DEPTH_SLACK)
    in_front = (found > 0) & ((first.depth <= 0) | (found < depth * (1 - slack)))
    return ~in_front


@dataclass(frozen=True)
class StereoVideoTruth:
    """Both eyes at two instants and everything that relates them.

    flow_forward / flow_backward (2, H, W) float32 px, left eye, on the grids of t0 / t1; visible_* (H, W) bool: the
    pixel is seen in the other frame: forward and backward in time, and 0 / 1 / right_0 / right_1 in the other eye;
    motions: instance id -> (4, 4) float64, left camera at t0 -> left camera at t1; ego_motion (4, 4): the same for the
    static world.
    """

    left_0: WorldFrame
    right_0: WorldFrame
    left_1: WorldFrame
    right_1: WorldFrame
    flow_forward: Tensor
    flow_backward: Tensor
    visible_forward: Tensor
    visible_backward: Tensor
    visible_0: Tensor
    visible_1: Tensor
    visible_right_0: Tensor
    visible_right_1: Tensor
    motions: dict[int, Tensor]
    ego_motion: Tensor


def relate(
    scene: Scene, left_0: WorldFrame, right_0: WorldFrame, left_1: WorldFrame, right_1: WorldFrame
) -> StereoVideoTruth:
    """All exact relations between four rendered frames."""
    forward, _, visible_forward = exact_flow(scene, left_0, left_1)
    backward, _, visible_backward = exact_flow(scene, left_1, left_0)
    motions = instance_motions(scene, left_0, left_1)
    return StereoVideoTruth(
        left_0, right_0, left_1, right_1, forward, backward, visible_forward, visible_backward,
        exact_flow(scene, left_0, right_0)[2], exact_flow(scene, left_1, right_1)[2],
        exact_flow(scene, right_0, left_0)[2], exact_flow(scene, right_1, left_1)[2],
        {instance: motion for instance, motion in motions.items() if instance}, motions[0],
    )  # fmt: skip


def render_stereo_video(
    renderer: Renderer, time_0: float = 0.0, time_1: float | None = None
) -> StereoVideoTruth:
    """Render both eyes at `time_0` and `time_1` (default: one frame of the rig later) with all truth."""
    time_1 = time_0 + 1.0 / renderer.rig.fps if time_1 is None else time_1
    eyes: tuple[Eye, Eye] = ("left", "right")
    frames = [renderer.frame(time, eye) for time in (time_0, time_1) for eye in eyes]
    return relate(renderer.scene, *frames)
