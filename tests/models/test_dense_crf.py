"""The permutohedral filter by its laws, and the dense CRF by what it must repair."""

from __future__ import annotations

import pytest
import torch

from nolabel.errors import ConfigError
from nolabel.models.dense_crf import crf_image, dense_crf
from nolabel.models.permutohedral import NormalisedFilter, PermutohedralLattice


def grid(height: int, width: int, sigma: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2) / sigma


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_points_far_apart_do_not_mix(dimension: int) -> None:
    points = 200.0 * torch.arange(6)[:, None].expand(6, dimension) + torch.rand(6, dimension)
    out = PermutohedralLattice(points).filter(torch.eye(6))
    assert out.diagonal().min() > 0.1
    assert (out - out.diagonal().diag()).abs().max() == 0


def test_filter_is_symmetric_when_blur_order_does_not_matter() -> None:
    # The 1-D lattice has two axes that are one line: blurs commute, so the operator is symmetric.
    points = torch.rand(40, 1, generator=torch.Generator().manual_seed(0)) * 6
    matrix = PermutohedralLattice(points).filter(torch.eye(40))
    torch.testing.assert_close(matrix, matrix.T, atol=1e-6, rtol=1e-5)


def test_dense_plane_is_blurred_like_a_gaussian() -> None:
    height = width = 41
    impulse = torch.zeros(height * width, 1)
    impulse[20 * width + 20] = 1
    ours = PermutohedralLattice(grid(height, width, 4.0)).filter(impulse).reshape(height, width)
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(41) - 20.0, indexing="ij")
    exact = torch.exp(-(x * x + y * y) / (2 * 4.0**2))
    correlation = torch.corrcoef(torch.stack([ours.flatten(), exact.flatten()]))[0, 1]
    assert correlation > 0.99
    spread = ((ours * (x * x + y * y)).sum() / ours.sum() / 2).sqrt()
    assert spread == pytest.approx(4.0, rel=0.15)


def test_normalised_filter_keeps_strength_and_linearity() -> None:
    features = grid(12, 15, 2.0)
    values = torch.rand(180, 3)
    once, thrice = NormalisedFilter(features), NormalisedFilter(features, 3.0)
    torch.testing.assert_close(thrice(values), 3 * once(values))
    torch.testing.assert_close(once(values[:, :1] + values[:, 1:2]), once(values)[:, :2].sum(1, keepdim=True))


def test_too_fine_lattice_is_refused() -> None:
    with pytest.raises(ConfigError, match="63 bits"):
        PermutohedralLattice(torch.tensor([[0.0] * 5, [1e5] * 5]))


def test_crf_repairs_speckles_and_follows_the_edge() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(40, 60, dtype=torch.long)
    truth[:, 31:] = 1
    image = torch.where(truth == 0, 60, 200).to(torch.uint8).expand(3, -1, -1).contiguous()
    noisy = torch.where(torch.rand(40, 60, generator=generator) < 0.25, 1 - truth, truth)
    scores = torch.nn.functional.one_hot(noisy, 2).permute(2, 0, 1).float()
    before = (noisy == truth).float().mean()
    after = (dense_crf(scores, image).argmax(0) == truth).float().mean()
    assert before < 0.8
    assert after > 0.995


def test_crf_enlarges_scores_and_gives_probabilities() -> None:
    image = (torch.rand(3, 24, 32) * 255).to(torch.uint8)
    probabilities = dense_crf(torch.randn(5, 6, 8), image, iterations=3)
    assert probabilities.shape == (5, 24, 32)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(24, 32))


def test_crf_image_truncates_only_under_reference_compat() -> None:
    values = torch.arange(256).float().div(255).reshape(1, 16, 16).expand(3, -1, -1)
    exact = torch.arange(256).reshape(1, 16, 16).expand(3, -1, -1)
    assert torch.equal(crf_image(values).long(), exact)
    loss = exact - crf_image(values, reference_compat=True).long()
    assert set(loss.unique().tolist()) == {0, 1}
