"""Losses of QuadMix: divisors, void, empty masks, class vectors against loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from nolabel.methods.quadmix.class_vectors import class_vectors, maximum_mean_discrepancy
from nolabel.methods.quadmix.feature_distance import downscale_labels, feature_distance, thing_cells
from nolabel.methods.quadmix.losses import (
    entropy_loss,
    least_squares_loss,
    pixel_accuracy,
    pixel_cross_entropy,
    resolution_loss,
)


def random_case(seed=0, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 6, 8, generator=generator)
    labels = torch.randint(0, classes, (2, 6, 8), generator=generator)
    labels[0, :2] = 255
    return logits, labels, torch.rand(2, 6, 8, generator=generator)


def test_all_pixels_divide_the_weighted_loss():
    logits, labels, weights = random_case()
    losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    assert torch.isclose(pixel_cross_entropy(logits, labels, weights), (losses * weights).sum() / (2 * 6 * 8))
    labelled = pixel_cross_entropy(logits, labels, mean_over="labelled")
    assert torch.isclose(labelled, F.cross_entropy(logits, labels, ignore_index=255))


@pytest.mark.parametrize("mean_over", ["all", "labelled"])
def test_void_alone_costs_nothing(mean_over):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    for void in (255, 250, -1):
        loss = pixel_cross_entropy(logits, torch.full((1, 4, 4), void), mean_over=mean_over)
        loss.backward()
        assert loss == 0 and (logits.grad == 0).all()


def test_resolutions_share_the_loss():
    logits, labels, weights = random_case()
    outputs = {"fused": logits, "detail": logits[..., :3, :4], "context": logits}
    truth = {"fused": labels, "detail": labels[..., :3, :4], "context": labels}
    parts = {"fused": weights, "detail": weights[..., :3, :4], "context": weights}
    shares = {"fused": 0.9, "detail": 0.1}
    expected = {name: pixel_cross_entropy(outputs[name], truth[name], parts[name]) for name in shares}
    loss, found = resolution_loss(outputs, truth, parts, shares=shares, factor=2.0)
    assert found.keys() == shares.keys()
    assert torch.isclose(loss, 2 * (0.9 * expected["fused"] + 0.1 * expected["detail"]))
    executed, _ = resolution_loss(outputs, truth, parts, shares=shares, factor=2.0, reference_compat=True)
    assert torch.isclose(executed, 1.8 * expected["fused"] + 0.1 * expected["detail"])


def test_entropy_runs_from_none_to_one():
    assert torch.isclose(entropy_loss(torch.zeros(1, 7, 2, 2)), torch.tensor(1.0))
    sure = torch.zeros(1, 7, 2, 2)
    sure[:, 0] = 100
    assert entropy_loss(sure) < 1e-6
    half = torch.tensor([0.0, 0.0, -1e4, -1e4]).view(1, 4, 1, 1)
    assert entropy_loss(half).item() == pytest.approx(math.log(2) / math.log(4))


def test_a_discriminator_knows_its_numbers():
    scores = torch.tensor([0.0, 1.0])
    assert least_squares_loss(scores, "source") == 0.5 and least_squares_loss(scores[1:], "target") == 0


def test_accuracy_counts_void_as_wrong():
    logits = F.one_hot(torch.tensor([[[0, 1], [2, 2]]]), 3).movedim(-1, 1).float()
    assert pixel_accuracy(logits, torch.tensor([[[0, 1], [255, 0]]])) == 0.5


def test_cells_take_what_most_of_their_pixels_are():
    labels = torch.tensor([[1, 1, 2, 2, 255, 255], [1, 0, 2, 255, 255, 3], [9, 9, 9, 9, 9, 9]])[None]
    assert downscale_labels(labels, 2, 10).tolist() == [[[1, 2, 255]]]
    assert downscale_labels(labels, 2, 10, min_share=1.0).tolist() == [[[255, 255, 255]]]
    assert thing_cells(labels, (1, 3), [2, 3], 10).tolist() == [[[False, True, False]]]


def test_equal_features_and_empty_masks_have_finite_gradients():
    features = torch.randn(1, 4, 2, 3, requires_grad=True)
    for mask in (torch.zeros(1, 2, 3, dtype=torch.bool), torch.ones(1, 2, 3, dtype=torch.bool)):
        features.grad = None
        loss = feature_distance(features, features.detach(), mask)
        loss.backward()
        assert loss == 0 and torch.isfinite(features.grad).all()


def test_class_vectors_are_means_of_members():
    logits, labels, _ = random_case(seed=3, classes=4)
    found = class_vectors(logits, labels, min_pixels=3)
    predicted = logits.argmax(1)
    absent = 0
    for label in range(4):
        members = logits.movedim(1, -1)[(predicted == label) & (labels == label)]
        expected = members.mean(0) if len(members) >= 3 else torch.zeros(4)
        absent += len(members) < 3
        assert torch.allclose(found[label], expected, atol=1e-6)
    assert 0 < absent < 4
    assert (class_vectors(logits, labels, min_pixels=10**6) == 0).all()
    assert torch.isfinite(class_vectors(logits.bfloat16())).all()


def test_equal_sets_have_no_discrepancy():
    vectors = torch.randn(5, 5, requires_grad=True)
    assert maximum_mean_discrepancy(vectors, vectors).item() == pytest.approx(0, abs=1e-6)
    assert maximum_mean_discrepancy(vectors, vectors + 3) > 0.1
    nothing = torch.zeros(5, 5, requires_grad=True)
    loss = maximum_mean_discrepancy(nothing, nothing.detach())
    loss.backward()
    assert loss == 0 and torch.isfinite(nothing.grad).all()
