"""Rigid motions: group laws, exp/log, and recovering a motion from points."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry import compose, fit_rigid, invert, se3_exp, se3_log, transform

seeds = st.integers(0, 2**16)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tangent(seed: int, angle: float, *shape: int) -> torch.Tensor:
    values = random(seed, *shape, 6)
    axis = values[..., 3:] / values[..., 3:].norm(dim=-1, keepdim=True)
    return torch.cat([values[..., :3], angle * axis], dim=-1)


def test_quarter_turn_by_hand() -> None:
    motion = se3_exp(torch.tensor([0.0, 0, 0, 0, 0, math.pi / 2], dtype=torch.float64))
    moved = transform(motion, torch.tensor([[1.0, 0, 0]]).double())
    assert torch.allclose(moved, torch.tensor([[0.0, 1, 0]]).double(), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(seeds, st.floats(0, math.pi - 1e-3) | st.sampled_from([0.0, 1e-12, 1e-6, 0.0999, 0.1001, 3.1]))
def test_log_inverts_exp(seed: int, angle: float) -> None:
    vector = tangent(seed, angle, 2, 3)
    assert torch.allclose(se3_log(se3_exp(vector)), vector, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0, 3 * math.pi))
def test_exp_inverts_log_and_gives_proper_motions(seed: int, angle: float) -> None:
    motion = se3_exp(tangent(seed, angle, 4))
    rotation = motion[..., :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).double().expand(4, 3, 3), atol=1e-12)
    assert torch.allclose(torch.det(rotation), torch.ones(4).double())
    assert torch.allclose(se3_exp(se3_log(motion)), motion, atol=1e-6)


def test_exp_is_the_matrix_exponential() -> None:
    vector = tangent(7, 1.3, 5)
    x, y, z = vector[:, 3:].unbind(-1)
    generator = torch.zeros(5, 4, 4).double()
    generator[:, 0, 1], generator[:, 0, 2], generator[:, 1, 2] = -z, y, -x
    generator[:, 1, 0], generator[:, 2, 0], generator[:, 2, 1] = z, -y, x
    generator[:, :3, 3] = vector[:, :3]
    assert torch.allclose(se3_exp(vector), torch.matrix_exp(generator), atol=1e-12)


def test_log_at_half_a_turn() -> None:
    for axis in torch.cat([torch.eye(3), torch.tensor([[0.6, 0.8, 0.0], [-0.6, 0.0, 0.8]])]).double():
        motion = se3_exp(torch.cat([torch.ones(3).double(), math.pi * axis]))
        vector = se3_log(motion)
        assert torch.allclose(vector[3:].norm(), torch.tensor(math.pi).double())
        assert torch.allclose(se3_exp(vector), motion, atol=1e-9)


def test_exp_is_differentiable_at_zero() -> None:
    zero = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(se3_exp, (zero,))
    near = (1e-3 * random(0, 2, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: se3_log(se3_exp(v)), (near,))


def test_inverse_and_composition() -> None:
    first, second = se3_exp(tangent(0, 1.0, 3)), se3_exp(tangent(1, 2.0, 3))
    identity = torch.eye(4).double().expand(3, 4, 4)
    assert torch.allclose(compose(invert(first), first), identity, atol=1e-12)
    points = random(2, 3, 10, 3)
    both = transform(compose(second, first), points)
    assert torch.allclose(both, transform(second, transform(first, points)))


@settings(max_examples=40, deadline=None)
@given(seeds, st.floats(0, math.pi), st.integers(3, 40))
def test_fit_recovers_the_motion(seed: int, angle: float, count: int) -> None:
    motion = se3_exp(tangent(seed, angle, 2))
    source = 10 * random(seed + 1, 2, count, 3)
    weights = random(seed + 2, 2, count).abs() + 0.1
    assert torch.allclose(fit_rigid(source, transform(motion, source), weights), motion, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seeds, st.lists(st.integers(0, 3), min_size=8, max_size=8).filter(lambda w: sum(map(bool, w)) >= 4))
def test_integer_weights_equal_repeated_points_and_scale_does_not_matter(
    seed: int, counts: list[int]
) -> None:
    source, target = random(seed, 8, 3), random(seed + 1, 8, 3)
    weights = torch.tensor(counts, dtype=torch.float64)
    fitted = fit_rigid(source, target, weights)
    repeated = torch.repeat_interleave(torch.arange(8), torch.tensor(counts))
    assert torch.allclose(fitted, fit_rigid(source[repeated], target[repeated]), atol=1e-8)
    assert torch.allclose(fitted, fit_rigid(source, target, 7.5 * weights), atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_fit_is_equivariant(seed: int) -> None:
    source, target = random(seed, 12, 3), random(seed + 1, 12, 3)
    left, right = se3_exp(tangent(seed + 2, 1.0)), se3_exp(tangent(seed + 3, 2.0))
    direct = fit_rigid(transform(right, source), transform(left, target))
    assert torch.allclose(direct, left @ fit_rigid(source, target) @ invert(right), atol=1e-7)


def test_fit_minimises_the_weighted_error() -> None:
    source, weights = random(0, 20, 3), random(1, 20).abs()
    target = transform(se3_exp(tangent(2, 0.7)), source) + 0.1 * random(3, 20, 3)
    best = fit_rigid(source, target, weights)

    def error(motion: torch.Tensor) -> torch.Tensor:
        return (weights * (transform(motion, source) - target).square().sum(-1)).sum(-1)

    nearby = best @ se3_exp(1e-3 * random(4, 50, 6))
    assert bool((error(best) <= error(nearby)).all())


def test_a_mirrored_target_still_gives_a_rotation() -> None:
    source = random(5, 30, 3)
    fitted = fit_rigid(source, source * torch.tensor([1.0, 1.0, -1.0]).double())
    assert torch.det(fitted[:3, :3]).item() == pytest.approx(1.0)


def test_points_without_weight_do_not_matter_even_if_they_are_not_finite() -> None:
    source, motion = random(6, 10, 3), se3_exp(tangent(7, 1.0))
    target, weights = transform(motion, source), torch.ones(10).double()
    source[3], target[4] = math.nan, math.inf
    weights[3:5] = 0
    assert torch.allclose(fit_rigid(source, target, weights), motion, atol=1e-9)
    assert torch.equal(fit_rigid(source, target, torch.zeros(10)), torch.eye(4).double())


def test_half_precision_is_brought_up() -> None:
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert fit_rigid(points.bfloat16(), points.bfloat16()).dtype == torch.float32
    assert transform(torch.eye(4, dtype=torch.bfloat16), points).dtype == torch.float32
    assert se3_exp(torch.zeros(6, dtype=torch.half)).dtype == torch.float32
