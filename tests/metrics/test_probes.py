"""Probes of frozen features, where the right answer is known."""

import pytest
import torch

from nolabel.metrics.probes import CellBank, cell_labels, fit_linear_probe, neighbour_votes


def clouds(count, seed, length=1.0):
    """Points around two centres of different length and one direction, and around a third direction."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[4.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    labels = torch.arange(3).repeat(count)
    return centres[labels] * length + 0.1 * torch.randn(len(labels), 2, generator=generator), labels


@pytest.mark.parametrize(("likeness", "told_apart"), [("distance", True), ("direction", False)])
def test_neighbours_of_a_kind(likeness, told_apart) -> None:
    bank, (queries, truth) = CellBank(*clouds(50, 0)), clouds(40, 1)
    votes = neighbour_votes(bank, queries, 4, neighbours=9, likeness=likeness)
    torch.testing.assert_close(votes.sum(1), torch.ones(len(queries)))
    assert votes.shape == (120, 4) and bool((votes[:, 3] == 0).all())
    right = votes.argmax(1) == truth
    assert right[truth == 2].all()
    # The first two clouds differ in length, hardly in direction.
    assert (float(right[truth < 2].float().mean()) > 0.99) == told_apart


def test_nearer_neighbours_count_more() -> None:
    bank = CellBank(torch.tensor([[0.0], [1.0], [1.1]]), torch.tensor([0, 1, 1]))
    votes = neighbour_votes(bank, torch.tensor([[0.1]]), 2, neighbours=3, likeness="distance")
    assert votes[0, 0] > 0.5  # two of three say 1, from far away
    assert neighbour_votes(bank, torch.zeros(1, 1), 2, neighbours=50).sum() == pytest.approx(1.0)
    assert neighbour_votes(bank, torch.zeros(0, 1), 2).shape == (0, 2)


@pytest.mark.parametrize("length", [1e-3, 1.0, 1e3])
def test_linear_probe_tells_what_lines_can(length) -> None:
    features, labels = clouds(60, 0, length)
    if length != 1:
        features, labels = clouds(60, 0)
        features = features * length
    probe = fit_linear_probe(CellBank(features, labels), 3)
    queries, truth = clouds(40, 1)
    found = probe.probabilities(queries * length)
    assert (found.argmax(1) == truth).float().mean() > 0.98
    torch.testing.assert_close(found.sum(1), torch.ones(len(queries)))


def test_linear_probe_bears_constant_features() -> None:
    features, labels = clouds(20, 0)
    bank = CellBank(torch.cat([features, torch.ones(len(features), 1)], 1), labels)
    assert fit_linear_probe(bank, 3).weight.isfinite().all()


def test_cells_have_the_class_that_covers_most_of_them() -> None:
    labels = torch.zeros(8, 12, dtype=torch.long)
    labels[:4, :3] = 1  # three quarters of the first cell
    labels[4:, 4:8] = 255
    labels[:4, 8:] = torch.arange(4)  # no half
    expected = torch.tensor([[1, 0, 255], [0, 255, 0]])
    assert torch.equal(cell_labels(labels, (2, 3), 4), expected)
