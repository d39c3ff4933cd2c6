"""Targets: balanced, centred, and what shows that they have collapsed."""

import math

import pytest
import torch

from nolabel.methods.pretraining.feature_losses import (
    Balancing,
    collapse_of,
    cross_entropy,
    sinkhorn,
    statistics_of,
)


def test_sinkhorn_uses_all_prototypes_alike() -> None:
    torch.manual_seed(0)
    outputs = 0.3 * torch.randn(400, 8)
    outputs[:, 0] += 0.5  # one prototype would take nearly all
    assert (outputs.argmax(1) == 0).float().mean() > 0.5
    targets = sinkhorn(outputs, 0.1, 20)
    torch.testing.assert_close(targets.sum(1), torch.ones(400))
    torch.testing.assert_close(targets.mean(0), torch.full((8,), 1 / 8), atol=5e-3, rtol=0)
    # Of two samples the one that likes a prototype more gets more of it.
    assert targets[outputs[:, 3].argmax(), 3] > targets[outputs[:, 3].argmin(), 3]


def test_sinkhorn_survives_low_precision_and_temperature() -> None:
    targets = sinkhorn(torch.randn(64, 16).bfloat16(), 0.01, 3)
    assert targets.dtype == torch.float32 and targets.isfinite().all()


def test_the_centre_follows_the_outputs() -> None:
    balancing = Balancing(4, "centre", momentum=0.5, iterations=3)
    outputs = torch.tensor([0.8, 0.1, 0.0, 0.0]).expand(2, 10, 4)
    first = balancing(outputs, 0.1)
    for _ in range(12):
        last = balancing(outputs, 0.1)
    assert first[0, 0, 0] > 0.9  # the first targets come before the centre knows anything
    torch.testing.assert_close(balancing.centre, outputs[0, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(last[0, 0], torch.full((4,), 0.25), atol=0.01, rtol=0)


def test_cross_entropy_is_least_for_the_same_outputs() -> None:
    outputs = torch.randn(3, 7, 5)
    targets = (outputs / 0.1).softmax(-1)
    least = torch.special.entr(targets).sum(-1).mean()
    torch.testing.assert_close(cross_entropy(targets, outputs, 0.1), least)
    assert cross_entropy(targets, outputs.roll(1, -1), 0.1) > least


@pytest.mark.parametrize(
    ("targets", "features", "kind"),
    [
        (torch.eye(16).repeat(4, 1), "random", None),
        (torch.full((64, 16), 1 / 16), "random", "uniform"),
        (torch.eye(16)[:1].expand(64, -1), "random", "constant"),
        (torch.eye(16).repeat(4, 1), "one", "constant"),
    ],
)
def test_collapse_is_told(targets, features, kind) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 8, 4, 4) if features == "random" else torch.ones(2, 8, 4, 4)
    found = statistics_of(targets, maps)
    assert collapse_of(*(float(value) for value in found)) == kind


def test_statistics_are_shares() -> None:
    torch.manual_seed(0)
    found = statistics_of(
        torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]), torch.randn(4, 64, 8, 8)
    )
    assert float(found.entropy) == pytest.approx(math.log(2) / math.log(4))
    assert float(found.marginal) == pytest.approx(1.0)
    assert float(found.spread) == pytest.approx(1.0, abs=0.05)
