"""Refine motions by minimising the reprojection error: perspective-n-point by Levenberg-Marquardt (spec 5.7)."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_POINTS = 4
DAMPING = 1e-3
DAMPING_FACTOR = 10.0
MIN_STEP = 1.19e-7  # float32 epsilon, OpenCV's criterion


def refine_motions(
    motions: Tensor, points: Tensor, targets: Tensor, inliers: Tensor, matrix: Tensor, iterations: int = 20
) -> Tensor:
    """Return the motions (K, 4, 4) that project points closest to their targets, in the given type.

    All K problems run as one batch in float64, with left-multiplied rotation increments.

    Args:
        motions: (K, 4, 4) start.
        points: (N, 3) metres at t0.
        targets: (N, 2) pixels at t1.
        inliers: (K, N) bool; a motion with fewer than four becomes the identity.
        matrix: (3, 3) or (2, 3) camera matrix in pixels.
        iterations: steps at most.
    """
    used = inliers.any(dim=0)
    weights = inliers[:, used].double()
    points, targets, matrix = points[used].double(), targets[used].double(), matrix.double()
    state = motions.double()
    normal, gradient, cost = _normal_equations(state, points, targets, weights, matrix)
    damping = torch.full_like(cost, DAMPING)
    running = inliers.sum(dim=1) >= MIN_POINTS
    solvable = running.clone()
    for _ in range(iterations):
        if not running.any():
            break
        diagonal = torch.diagonal(normal, dim1=-2, dim2=-1)
        damped = normal + torch.diag_embed(diagonal * damping[:, None] + 1e-12)
        step = torch.linalg.solve_ex(damped, -gradient[..., None])[0][..., 0]
        tried = _apply(step, state)
        new_normal, new_gradient, new_cost = _normal_equations(tried, points, targets, weights, matrix)
        better = running & (new_cost < cost)
        damping = torch.where(better, damping / DAMPING_FACTOR, damping * DAMPING_FACTOR)
        state = torch.where(better[:, None, None], tried, state)
        normal = torch.where(better[:, None, None], new_normal, normal)
        gradient = torch.where(better[:, None], new_gradient, gradient)
        cost = torch.where(better, new_cost, cost)
        running = running & ~(step.norm(dim=1) < MIN_STEP)
    identity = torch.eye(4, dtype=state.dtype, device=state.device)
    return torch.where(solvable[:, None, None], state, identity).to(motions.dtype)


def _normal_equations(
    motions: Tensor, points: Tensor, targets: Tensor, weights: Tensor, matrix: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return J^T J (K, 6, 6), J^T r (K, 6) and the squared error (K,) of the weighted reprojection."""
    rotated = points @ motions[:, :3, :3].mT  # (K, N, 3)
    moved = rotated + motions[:, None, :3, 3]
    inverse = 1 / torch.where(moved[..., 2] == 0, 1.0, moved[..., 2])
    fx, fy = matrix[0, 0], matrix[1, 1]
    u, v = moved[..., 0] * inverse, moved[..., 1] * inverse
    residual_x = fx * u + matrix[0, 2] - targets[:, 0]
    residual_y = fy * v + matrix[1, 2] - targets[:, 1]
    zero = torch.zeros_like(u)
    # Derivatives of the image point by the moved point, then by (rotation increment, translation).
    by_point_x = torch.stack([fx * inverse, zero, -fx * u * inverse], dim=-1)
    by_point_y = torch.stack([zero, fy * inverse, -fy * v * inverse], dim=-1)
    rows = [
        torch.cat([torch.linalg.cross(rotated, by_point), by_point], dim=-1)
        for by_point in (by_point_x, by_point_y)
    ]
    jacobian = torch.stack(rows, dim=-2)  # (K, N, 2, 6)
    residual = torch.stack([residual_x, residual_y], dim=-1) * weights[..., None]
    flat = (jacobian * weights[..., None, None]).flatten(1, 2)
    normal = flat.mT @ flat
    gradient = (flat.mT @ residual.flatten(1, 2)[..., None])[..., 0]
    return normal, gradient, residual.square().sum(dim=(1, 2))


def _apply(step: Tensor, motions: Tensor) -> Tensor:
    """Turn the rotations by the left by ``step[:, :3]`` (axis-angle) and add ``step[:, 3:]`` to the translations."""
    skew = step.new_zeros(len(step), 3, 3)
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -step[:, 2], step[:, 1], -step[:, 0]
    turn = torch.linalg.matrix_exp(skew - skew.mT)
    moved = motions.clone()
    moved[:, :3, :3] = turn @ motions[:, :3, :3]
    moved[:, :3, 3] = motions[:, :3, 3] + step[:, 3:]
    return moved
