"""What samples along a ray add up to (SceneDINO specification, 5; Mildenhall et al., ECCV 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["opacities", "opacity", "pass_through", "ray_weights", "stretches", "weighted"]

BEYOND = 1e10  # metres: length of the stretch after the last sample
LEAST_TRANSMISSION = 1e-10  # of a sample: keeps gradients of what is behind opaque matter


def stretches(distances: Tensor) -> Tensor:
    """Length (..., S) of the stretch of ray that each sample at (..., S) stands for, metres; the last has no end."""
    lengths = (distances[..., 1:] - distances[..., :-1]).abs()
    return torch.cat([lengths, torch.full_like(distances[..., :1], BEYOND)], dim=-1)


def opacity(density: Tensor, lengths: Tensor) -> Tensor:
    """Opacity 0..1 of stretches of matter: density in 1 / metre, what is below 0 counts as 0; lengths in metres."""
    return 1 - torch.exp(-lengths * F.relu(density))


def opacities(density: Tensor, distances: Tensor, hard_cap: bool = True) -> Tensor:
    """Opacity (..., S) of each sample's stretch of ray, 0..1.

    Args:
        density: (..., S) 1 / metre.
        distances: (..., S) rising, metres.
        hard_cap: the last sample is opaque, whatever its density; without, it is so where there is any.
    """
    alphas = opacity(density, stretches(distances))
    if hard_cap:
        alphas = torch.cat([alphas[..., :-1], torch.ones_like(alphas[..., -1:])], dim=-1)
    return alphas


def pass_through(alphas: Tensor) -> Tensor:
    """Share of light that comes through samples of these opacities."""
    return 1 - alphas + LEAST_TRANSMISSION


def ray_weights(alphas: Tensor) -> Tensor:
    """Share (..., S) of each sample in the picture: its opacity times what the samples before it let through."""
    passing = torch.cat([torch.ones_like(alphas[..., :1]), pass_through(alphas[..., :-1])], dim=-1)
    return alphas * passing.cumprod(dim=-1)


def weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Sum of values (N, R, S, ...) by weights (N, R, S): (N, R, ...)."""
    flat = values.flatten(3) if values.ndim > 3 else values[..., None]
    summed = (weights[..., None, :].to(flat.dtype) @ flat)[..., 0, :]
    return summed.reshape(*weights.shape[:2], *values.shape[3:])
