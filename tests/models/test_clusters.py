"""Clusters of features: what they find, that they repeat, and their file form."""

from __future__ import annotations

import pytest
import torch

from nolabel.errors import DataError
from nolabel.models.clusters import FeatureClusters, fit_clusters, spherical_kmeans


def blobs(sizes: list[int], spread: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(8)[: len(sizes)]
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return centres[labels] + spread * torch.randn(len(labels), 8, generator=generator), labels


def purity(found: torch.Tensor, labels: torch.Tensor) -> float:
    table = torch.bincount(found * 100 + labels, minlength=10000).reshape(100, 100)
    return float(table.max(0).values.sum() / len(labels))


def assign(clusters: FeatureClusters, samples: torch.Tensor) -> torch.Tensor:
    return clusters.log_probabilities(clusters.project(samples.T[None, :, :, None]))[0, :, :, 0].argmax(0)


@pytest.mark.parametrize("lift", [0.0, 2.0])
@pytest.mark.parametrize("balance", [1.0, 0.5])
def test_separate_blobs_are_found(lift: float, balance: float) -> None:
    samples, labels = blobs([200, 150, 100, 80, 60])
    clusters = fit_clusters(samples, 5, torch.Generator().manual_seed(3), lift=lift, balance=balance)
    assert purity(assign(clusters, samples), labels) > 0.99


def test_lift_tells_lengths_apart() -> None:
    direction = torch.randn(200, 1).sign()
    samples = torch.cat([direction * 0.2, direction * 3.0]) * torch.tensor([[1.0, 0.5]])
    labels = torch.arange(4).repeat_interleave(100)
    labels = torch.cat([(direction[:, 0] > 0).long(), 2 + (direction[:, 0] > 0).long()])
    samples = samples + 0.02 * torch.randn(samples.shape, generator=torch.Generator().manual_seed(1))
    lifted = fit_clusters(samples, 4, torch.Generator().manual_seed(0), lift=3.0)
    assert purity(assign(lifted, samples), labels) > 0.95


def test_balance_gives_a_rare_surface_its_own_cluster() -> None:
    wide, _ = blobs([3000], spread=0.35)
    rare = torch.eye(8)[3] * 1.2 + 0.03 * torch.randn(12, 8, generator=torch.Generator().manual_seed(2))
    samples = torch.cat([wide, rare])
    found = assign(fit_clusters(samples, 6, torch.Generator().manual_seed(0), lift=2.0, balance=0.3), samples)
    of_rare = found[3000:].mode().values
    assert (found[3000:] == of_rare).all()


def test_same_seed_same_bits_other_seed_other_start() -> None:
    samples = torch.randn(500, 12, generator=torch.Generator().manual_seed(0))
    fits = [fit_clusters(samples, 7, torch.Generator().manual_seed(seed), restarts=1) for seed in (5, 5, 6)]
    assert torch.equal(fits[0].centres, fits[1].centres)
    assert not torch.equal(fits[0].centres, fits[2].centres)


def test_state_round_trip_and_probabilities() -> None:
    samples = torch.randn(300, 6)
    clusters = fit_clusters(samples, 4, torch.Generator().manual_seed(0), dimensions=3, lift=1.0)
    again = FeatureClusters.from_state(clusters.state_dict())
    code = clusters.project(torch.randn(2, 6, 5, 4))
    assert code.shape == (2, 3, 5, 4)
    assert torch.equal(clusters.log_probabilities(code), again.log_probabilities(code))
    torch.testing.assert_close(clusters.log_probabilities(code).exp().sum(1), torch.ones(2, 5, 4))


def test_no_cluster_stays_empty_and_too_few_samples_are_refused() -> None:
    points = torch.nn.functional.normalize(torch.randn(60, 4), dim=1)
    centres, _ = spherical_kmeans(points, 20, torch.Generator().manual_seed(0))
    assert len((points @ centres.T).argmax(1).unique()) >= 18
    with pytest.raises(DataError, match="too few"):
        fit_clusters(torch.randn(3, 4), 5, torch.Generator().manual_seed(0))
