"""Features that follow the scene are consistent."""

import pytest
import torch

from nolabel.metrics import FeatureConsistency


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
