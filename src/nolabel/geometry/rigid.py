"""Rigid motions: 4x4 matrices T with X1 = T X0.

A tangent vector (..., 6) is (translation part rho, rotation vector phi in radians), se(3) order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry._precision import common_precision, full_precision

__all__ = ["compose", "fit_rigid", "from_rotation_translation", "invert", "se3_exp", "se3_log", "transform"]


def from_rotation_translation(rotation: Tensor, translation: Tensor) -> Tensor:
    """(..., 3, 3) and (..., 3) to (..., 4, 4)."""
    rotation, translation = common_precision(rotation, translation)
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def transform(motion: Tensor, points: Tensor) -> Tensor:
    """Move points.

    Args:
        motion: (..., 4, 4).
        points: (..., N, 3); leading axes broadcast.

    Returns:
        (..., N, 3).
    """
    motion, points = common_precision(motion, points)
    return points @ motion[..., :3, :3].mT + motion[..., None, :3, 3]


def invert(motion: Tensor) -> Tensor:
    """The inverse of rigid motions (..., 4, 4), by transposing the rotation."""
    motion = full_precision(motion)
    rotation = motion[..., :3, :3].mT
    return from_rotation_translation(rotation, -(rotation @ motion[..., :3, 3:])[..., 0])


def compose(second: Tensor, first: Tensor) -> Tensor:
    """The motion that does ``first``, then ``second``: second @ first, in full precision."""
    second, first = common_precision(second, first)
    return second @ first


def fit_rigid(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The rigid motion that moves the source points closest to the target points (weighted Kabsch).

    Minimises sum w |T source - target|^2 in closed form. Two or collinear points leave a rotation open; one of the
    best is returned. Without any weight the result is the identity.

    Args:
        source: (..., N, 3).
        target: (..., N, 3).
        weights: (..., N) >= 0; equal by default. A common factor changes nothing; weight 0 removes a point,
            even one that is not finite.

    Returns:
        (..., 4, 4), a proper rotation (determinant +1) and a translation.
    """
    source, target = common_precision(source, target)
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    weights = weights.to(source.dtype)[..., None]
    source, target, weights = torch.broadcast_tensors(source, target, weights)
    weights = weights[..., :1]
    source, target = (torch.where(weights > 0, points, 0.0) for points in (source, target))
    total = weights.sum(dim=-2, keepdim=True)
    share = weights / torch.where(total > 0, total, 1.0)
    centre_0 = (share * source).sum(dim=-2, keepdim=True)
    centre_1 = (share * target).sum(dim=-2, keepdim=True)
    moment = ((target - centre_1) * share).mT @ (source - centre_0)
    moment = torch.where(total > 0, moment, torch.eye(3, dtype=moment.dtype, device=moment.device))
    u, _, vt = torch.linalg.svd(moment)
    handedness = torch.det(u) * torch.det(vt)
    signs = torch.ones_like(u[..., 0])
    signs[..., 2] = torch.where(handedness < 0, -1.0, 1.0)
    rotation = (u * signs[..., None, :]) @ vt
    translation = centre_1 - centre_0 @ rotation.mT
    return from_rotation_translation(rotation, translation[..., 0, :])


def _hat(vector: Tensor) -> Tensor:
    """(..., 3) to the (..., 3, 3) matrix of the cross product."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def _coefficients(square: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """sin a / a, (1 - cos a) / a^2 and (a - sin a) / a^3 of a = sqrt(square), smooth through 0."""
    small = square < 1e-2
    safe = torch.where(small, 1.0, square)
    angle = safe.sqrt()
    half = torch.sin(angle / 2)
    exact = (
        torch.sin(angle) / angle,
        2 * half.square() / safe,  # 1 - cos a without cancellation
        (angle - torch.sin(angle)) / (safe * angle),
    )
    x = square
    series = (
        1 - x / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72))),
        0.5 * (1 - x / 12 * (1 - x / 30 * (1 - x / 56 * (1 - x / 90)))),
        1 / 6 * (1 - x / 20 * (1 - x / 42 * (1 - x / 72 * (1 - x / 110)))),
    )
    a, b, c = (torch.where(small, s, e) for s, e in zip(series, exact, strict=True))
    return a, b, c


def se3_exp(tangent: Tensor) -> Tensor:
    """The motion of a tangent vector.

    Args:
        tangent: (..., 6) = (rho, phi).

    Returns:
        (..., 4, 4); differentiable everywhere, also at 0.
    """
    tangent = full_precision(tangent)
    rho, phi = tangent[..., :3], tangent[..., 3:]
    a, b, c = (k[..., None, None] for k in _coefficients(phi.square().sum(dim=-1)))
    hat = _hat(phi)
    square = hat @ hat
    identity = torch.eye(3, dtype=hat.dtype, device=hat.device)
    rotation = identity + a * hat + b * square
    left_jacobian = identity + b * hat + c * square
    return from_rotation_translation(rotation, (left_jacobian @ rho[..., None])[..., 0])


def se3_log(motion: Tensor) -> Tensor:
    """The inverse of :func:`se3_exp` for rotation angles up to pi (at pi the axis' sign is arbitrary).

    Args:
        motion: (..., 4, 4).

    Returns:
        (..., 6) = (rho, phi), with the angle |phi| in 0..pi.
    """
    motion = full_precision(motion)
    phi = _rotation_vector(motion[..., :3, :3])
    square = phi.square().sum(dim=-1)
    a, b, _ = _coefficients(square)
    # Inverse left Jacobian: I - hat / 2 + k hat^2 with k = (1 - a / (2 b)) / angle^2, 1/12 at 0.
    small = square < 1e-2
    exact = (1 - a / (2 * b)) / torch.where(small, 1.0, square)
    series = 1 / 12 + square / 720 + square.square() / 30240
    k = torch.where(small, series, exact)[..., None, None]
    hat = _hat(phi)
    identity = torch.eye(3, dtype=hat.dtype, device=hat.device)
    inverse_jacobian = identity - 0.5 * hat + k * (hat @ hat)
    rho = (inverse_jacobian @ motion[..., :3, 3:])[..., 0]
    return torch.cat([rho, phi], dim=-1)


def _rotation_vector(rotation: Tensor) -> Tensor:
    """The rotation vector (..., 3) of (..., 3, 3), through the quaternion: accurate from 0 to pi."""
    r = rotation
    xx, yy, zz = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    # Rows: the quaternion times 4 w, 4 x, 4 y and 4 z. The row with the largest diagonal is the accurate one.
    table = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], dim=-1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], dim=-1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], dim=-1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )
    best = table.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = table.take_along_dim(best[..., None, None], dim=-2)[..., 0, :]
    row = torch.where(row[..., :1] < 0, -row, row)
    vector, w = row[..., 1:], row[..., 0]
    square = vector.square().sum(dim=-1)
    tiny = square < torch.finfo(square.dtype).tiny * 1e4
    sine = torch.where(tiny, 1.0, square).sqrt()
    scale = torch.where(tiny, 2 / torch.where(tiny, w, 1.0), 2 * torch.atan2(sine, w) / sine)
    return vector * scale[..., None]
