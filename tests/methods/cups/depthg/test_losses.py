"""Correlation losses: what attracts, what repels, and what counts nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nolabel.methods.cups.depthg.losses import (
    Shifts,
    correlate,
    correlation_losses,
    depth_loss,
    depth_similarity,
    pair_loss,
    sample_at,
)
from nolabel.methods.cups.depthg.sampling import uniform_coordinates

SHIFTS = Shifts(0.1, 0.1, 0.1, 0.0)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_places_are_read_as_named_and_corners_are_cell_centres() -> None:
    maps = torch.arange(12.0).view(1, 1, 3, 4)
    coordinates = torch.tensor([[[[-1.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [1.0, 0.0]]]])
    sampled = sample_at(maps, coordinates)[0, 0]
    # [i, j] is the place coordinates[j, i]: (x, y)
    assert sampled.tolist() == [[0.0, 8.0], [3.0, 7.0]]


def test_codes_move_towards_what_features_say() -> None:
    code = torch.tensor([0.5], requires_grad=True)
    pair_loss(code, torch.tensor([0.9]), 0.3).sum().backward()
    assert code.grad is not None and code.grad.item() == pytest.approx(-0.6)  # alike: attract
    code.grad = None
    pair_loss(code, torch.tensor([0.1]), 0.3).sum().backward()
    assert code.grad.item() == pytest.approx(0.2)  # unlike: repel
    apart = torch.tensor([-0.5], requires_grad=True)
    pair_loss(apart, torch.tensor([0.9]), 0.3).sum().backward()
    assert apart.grad is not None and apart.grad.item() == 0  # codes that disagree are left alone


def test_correlation_of_a_place_with_itself_is_one() -> None:
    maps = random(2, 5, 3, 3)
    own = correlate(maps, maps).flatten(1, 2).flatten(2)
    torch.testing.assert_close(own.diagonal(dim1=1, dim2=2), torch.ones(2, 9))
    torch.testing.assert_close(own, own.transpose(1, 2))


def test_depth_similarity_is_a_ratio_and_unknown_depth_says_nothing() -> None:
    similarity, known = depth_similarity(torch.tensor([[[[2.0, 8.0], [0.0, 2.0]]]]))
    pairs = similarity.view(4, 4)
    assert pairs[0].tolist() == [1.0, 0.25, 0.0, 1.0]
    assert known.view(4, 4)[2].any().item() is False
    scaled, _ = depth_similarity(100 * torch.tensor([[[[2.0, 8.0], [0.0, 2.0]]]]))
    torch.testing.assert_close(scaled, similarity)


def test_depth_pulls_together_what_is_equally_far() -> None:
    depth = torch.full((1, 1, 8, 8), 5.0)
    depth[..., 4:] = 40.0
    coordinates = uniform_coordinates(1, 6, torch.Generator().manual_seed(0), "cpu")
    grid = coordinates.transpose(1, 2)
    far = F.grid_sample(depth, grid, mode="nearest", align_corners=True)[0, 0] > 20
    code = random(1, 4, 6, 6).abs().requires_grad_()
    for _ in range(200):
        (gradient,) = torch.autograd.grad(depth_loss(code, depth, coordinates, 0.0).loss.mean(), code)
        code = (code - 20 * gradient).detach().requires_grad_()
    units = F.normalize(code[0].flatten(1), dim=0)
    cosines = units.T @ units
    flat = far.flatten()
    same = flat[:, None] == flat
    assert cosines[same].mean() > 0.9
    assert cosines[~same].mean() < 0.3


def test_images_without_depth_change_nothing() -> None:
    code = random(2, 4, 3, 3)
    depth = torch.rand(2, 1, 8, 8) + 0.1
    depth[1] = 0
    coordinates = uniform_coordinates(2, 3, torch.Generator().manual_seed(0), "cpu")
    term = depth_loss(code, depth, coordinates, 0.03)
    assert term.loss[0].abs().max() > 0
    assert term.loss[1].abs().max() == 0
    assert torch.isfinite(term.loss).all()


def test_features_get_no_gradient_and_a_negative_is_never_the_image_itself() -> None:
    features = random(3, 6, 4, 4).requires_grad_()
    code = random(3, 5, 4, 4, seed=1).requires_grad_()
    places = uniform_coordinates(3, 3, torch.Generator().manual_seed(0), "cpu")
    identity = torch.arange(3)[None]
    losses = correlation_losses((features, features), (code, code), None, (places, places), identity, SHIFTS)
    assert losses.depth is None
    # With equal places an image that met itself would correlate perfectly somewhere.
    own = losses.negative.correlation.flatten(3).flatten(1, 2).diagonal(dim1=1, dim2=2)
    assert own.max() < 0.999
    assert losses.intra.correlation.flatten(3).flatten(1, 2).diagonal(dim1=1, dim2=2).min() > 0.999
    losses.negative.loss.mean().backward()
    assert features.grad is None
    assert code.grad is not None
