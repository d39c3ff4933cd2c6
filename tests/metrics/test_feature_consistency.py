"""Features that follow the scene are consistent."""

import pytest
import torch

from nolabel.metrics import FeatureConsistency
from nolabel.metrics.novel_views import structural_similarity, view_scores


def shifted(features: torch.Tensor, columns: int) -> torch.Tensor:
    return features.roll(-columns, dims=-1)


def flows(columns: int, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    forward = torch.zeros(1, 2, *size)
    forward[:, 0] = -columns
    return forward, -forward


def test_moved_features_agree_and_others_do_not():
    first = torch.randn(1, 8, 20, 30, generator=torch.Generator().manual_seed(0))
    forward, backward = flows(4, (20, 30))
    good, bad = FeatureConsistency(), FeatureConsistency()
    good.update(first, shifted(first, 4), forward, backward)
    bad.update(first, first, forward, backward)
    scores = good.compute()
    assert scores.l1 == pytest.approx(0, abs=1e-5) and scores.l2 == pytest.approx(0, abs=1e-5)
    assert scores.cosine == pytest.approx(1) and scores.visible == pytest.approx(26 / 30)
    assert bad.compute().cosine < 0.3 and bad.compute().l1 > 5


def test_values_are_those_of_the_definition():
    first = torch.zeros(1, 3, 4, 4)
    first[:, 0] = 1
    second = torch.zeros(1, 3, 4, 4)
    second[:, 1] = 2
    metric = FeatureConsistency()
    metric.update(first, second, torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8))
    scores = metric.compute()
    assert (scores.l1, scores.l2, scores.cosine) == pytest.approx((3, 5**0.5, 0))


def test_hidden_pixels_do_not_count():
    first = torch.ones(1, 2, 6, 6)
    forward = torch.zeros(1, 2, 6, 6)
    backward = forward.clone()
    backward[:, :, :3] = 5  # what the upper half goes to comes from elsewhere
    metric = FeatureConsistency()
    metric.update(first, -first, forward, backward)
    assert metric.compute().visible == pytest.approx(0.5)


def test_views_like_the_photograph():
    image = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(1))
    noisy = (image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1)
    spoilt = image.clone()
    spoilt[..., :2, :] = 0  # within the border that does not count
    assert torch.all(view_scores(spoilt, image)["psnr"].isinf())
    torch.testing.assert_close(view_scores(image, image)["ssim"], torch.ones(2, dtype=torch.float64))
    scores = view_scores(noisy, image)
    assert torch.all((scores["psnr"] > 18) & (scores["psnr"] < 24))
    assert torch.all((scores["ssim"] < 0.98) & (scores["ssim"] > 0.8))
    flat, other = torch.full((1, 1, 9, 9), 0.25), torch.full((1, 1, 9, 9), 0.5)
    expected = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    assert structural_similarity(flat, other).item() == pytest.approx(expected)
