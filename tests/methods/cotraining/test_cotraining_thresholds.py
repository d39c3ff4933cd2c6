"""Streamed thresholds are the sorted ones, pseudo-labels follow them, in any split and order of the images."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.engine.segmentation_inference import Prediction, label_and_confidence, shortest_edge_size
from nolabel.errors import ConfigError, DataError
from nolabel.methods.cotraining.prediction_files import PredictionFiles
from nolabel.methods.cotraining.priors import class_priors, least_prior, prior_factor
from nolabel.methods.cotraining.pseudo_labels import (
    ImageScores,
    drop_unsure,
    label_images,
    score_images,
)
from nolabel.methods.cotraining.thresholds import ThresholdSearch, class_thresholds, next_portion


def sorted_thresholds(labels, confidence, num_labels, portion, lowest, highest):
    """The rule as the specification writes it."""
    values = np.zeros(num_labels)
    for c in range(num_labels):
        x = np.sort(confidence[labels == c])
        if len(x):
            values[c] = x[min(round(len(x) * (1 - portion)), len(x) - 1)]
    return np.clip(values, lowest, highest)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    pixels=st.integers(1, 300),
    portion=st.sampled_from([0.0, 0.01, 0.2, 1 / 3, 0.5, 0.99, 1.0]),
    digits=st.sampled_from([1, 2, 7]),
)
def test_the_element_of_the_sort(seed, pixels, portion, digits):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, pixels).astype(np.uint8)
    confidence = rng.random(pixels).round(digits).astype(np.float32)
    expected = sorted_thresholds(labels, confidence, 6, portion, 0.0, 1.0)
    cuts = sorted(rng.integers(0, pixels, 2))
    parts = [
        Prediction(torch.from_numpy(a), torch.from_numpy(b))
        for a, b in zip(np.split(labels, cuts), np.split(confidence, cuts), strict=True)
    ]
    found = class_thresholds(parts, 6, portion, lowest=0.0, highest=1.0)
    assert found.tolist() == expected.tolist()


def test_a_portion_for_each_class_and_limits():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1], dtype=torch.uint8)
    confidence = torch.tensor([0.6, 0.7, 0.8, 0.99, 0.6, 0.7, 0.8, 0.85])
    found = class_thresholds([Prediction(labels, confidence)], 3, [0.25, 0.75, 0.5])
    assert found.tolist() == pytest.approx([0.9, 0.7, 0.5])


def test_thresholds_of_files_read_one_by_one(tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(1, 5, 20, 30, generator=generator) * 3 for _ in range(3)]
    predictions = [label_and_confidence(x) for x in logits]
    files = PredictionFiles(tmp_path, ["a", "b", "c"])
    for name, prediction in zip(files.names[:2], predictions, strict=False):
        files.write(name, Prediction(prediction.labels[0], prediction.confidence[0]))
    assert files.missing() == ["c"]
    with pytest.raises(DataError, match=r"c\.prediction"):
        class_thresholds(files, 5, 0.5)
    files.write("c", Prediction(predictions[2].labels[0], predictions[2].confidence[0]))
    assert torch.equal(class_thresholds(files, 5, 0.5), class_thresholds(predictions, 5, 0.5))
    assert torch.equal(files[1].confidence, predictions[1].confidence[0])


@pytest.mark.parametrize("value", [-0.1, 2.0, float("nan"), float("inf")])
def test_what_is_no_confidence_is_refused(value):
    with pytest.raises(DataError, match="confidences"):
        ThresholdSearch(3).count(torch.zeros(4, dtype=torch.uint8), torch.tensor([0.5, value, 0.6, 0.7]))


def test_what_is_no_label_or_portion_is_refused():
    search = ThresholdSearch(3)
    with pytest.raises(DataError, match="label 3"):
        search.count(torch.full((2,), 3, dtype=torch.uint8), torch.rand(2))
    with pytest.raises(ConfigError, match="portions"):
        search.locate(1.5)
    with pytest.raises(DataError, match="one image"):
        class_thresholds([], 3, 0.5)


def test_portions_grow_to_their_limit():
    assert next_portion(0.5, 0.5, 0.05, 0.7) == pytest.approx(0.55)
    assert next_portion(0.3, 0.3, 0.05, 0.2) == 0.2
    assert next_portion([0.5, 0.69], [0.5, 0.5], 0.05, 0.19) == pytest.approx([0.55, 0.69])


def test_a_threshold_between_floats_keeps_what_exceeds_it():
    """0.9 is no float32: the float just below must go, the one just above stay."""
    below = torch.tensor(0.9)
    above = torch.nextafter(below, torch.tensor(1.0))
    labels = torch.zeros(1, 1, 2, dtype=torch.uint8)
    kept = drop_unsure(labels, torch.stack([below, above]).view(1, 1, 2), torch.tensor([0.9, 0.5]).double())
    assert kept.flatten().tolist() == [1, 0]


def test_scores_of_what_is_left():
    labels = torch.tensor([[[0, 0, 1, 2]], [[2, 2, 2, 2]]], dtype=torch.uint8)
    confidence = torch.tensor([[[0.8, 0.6, 0.9, 0.7]], [[0.6, 0.6, 0.4, 0.2]]])
    thresholds = torch.tensor([0.5, 0.5, 0.5]).double()
    scores = score_images(labels, confidence, thresholds)
    assert scores.score.tolist() == pytest.approx([(0.8 + 0.6 + 0.9) / 3, 0.0])
    assert scores.pixels.tolist() == [[2, 1, 1], [0, 0, 4]]
    assert scores.class_confidence[0, :2].tolist() == pytest.approx([0.7, 0.9])
    assert scores.class_confidence[:, 2].isnan().all()
    assert (scores.num_classes.tolist(), scores.void_pixels.tolist()) == ([2, 0], [1, 4])
    executed = score_images(labels, confidence, thresholds, reference_compat=True)
    assert executed.score.tolist() == pytest.approx([0.75, 0.6])
    rows = executed.co_training_vectors()
    again = ImageScores.from_co_training_vectors(rows)
    assert torch.equal(again.co_training_vectors().nan_to_num(-1), rows.nan_to_num(-1))


def test_images_one_by_one_are_images_at_once():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (4, 6, 7), generator=generator).to(torch.uint8)
    confidence = torch.rand(4, 6, 7, generator=generator)
    thresholds = torch.tensor([0.5, 0.6, 0.5]).double()
    mask = torch.arange(7).expand(6, 7) > 5
    kept = {}
    predictions = [Prediction(*pair) for pair in zip(labels, confidence, strict=True)]
    scores = label_images(predictions, 4, thresholds, kept.__setitem__, mask=mask, reference_compat=True)
    at_once = drop_unsure(labels, confidence, thresholds, mask=mask)
    assert torch.equal(torch.stack([kept[i] for i in range(4)]), at_once)
    expected = score_images(at_once, confidence, thresholds, reference_compat=True)
    assert torch.equal(
        scores.co_training_vectors().nan_to_num(-1), expected.co_training_vectors().nan_to_num(-1)
    )


def test_scores_do_not_depend_on_the_order_of_pixels():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (1, 100, 100), generator=generator).to(torch.uint8)
    confidence = torch.rand(1, 100, 100, generator=generator) * 0.5 + 0.5
    thresholds = torch.full((4,), 0.5).double()
    first = score_images(labels, confidence, thresholds)
    second = score_images(labels.flip(1, 2), confidence.flip(1, 2), thresholds)
    assert torch.equal(first.class_confidence[:, :3], second.class_confidence[:, :3])
    assert torch.equal(first.score, second.score)


def test_an_unusual_place_needs_more_confidence():
    labels = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    prior = torch.tensor([[[0.05, 0.0]], [[0.0, 0.2]], [[0.0, 0.0]]])
    factor = prior_factor(labels, prior, 0.1)
    assert factor.tolist() == [[[0.5, 1.0]]]
    thresholds = torch.tensor([0.5, 0.5, 0.5]).double()
    kept = drop_unsure(labels, torch.tensor([[[0.9, 0.9]]]), thresholds, factor=factor)
    assert kept.tolist() == [[[2, 1]]]
    assert prior_factor(labels, prior, 0.0).tolist() == [[[1.0, 1.0]]]
    assert [least_prior(cycle) for cycle in range(4)] == [0.1, 0.05, 0.0, 0.0]


def test_priors_are_shares_of_images():
    maps = [torch.tensor([[0, 1]]), torch.tensor([[0, 0]])]
    priors = class_priors(maps, 3)
    assert priors[:, 0].tolist() == [[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]]
    smooth = class_priors([torch.randint(0, 3, (20, 30), generator=torch.Generator().manual_seed(0))], 3, 4.0)
    torch.testing.assert_close(smooth.sum(0), torch.ones(20, 30))
    assert smooth.std() < 0.1
    with pytest.raises(DataError, match="differ"):
        class_priors([torch.zeros(2, 2), torch.zeros(2, 3)], 3)


def test_a_mask_of_another_size_is_refused():
    labels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(DataError, match="mask"):
        drop_unsure(labels, torch.rand(1, 4, 4), torch.tensor([0.5, 0.5]), mask=torch.zeros(2, 4).bool())


def test_confidence_is_the_softmax():
    logits = torch.randn(2, 7, 5, 6, generator=torch.Generator().manual_seed(1)) * 4
    found = label_and_confidence(logits)
    confidence, labels = logits.softmax(1).max(1)
    assert torch.equal(found.labels.long(), labels)
    torch.testing.assert_close(found.confidence, confidence)


def test_the_shortest_edge_gives_way_to_the_longest():
    assert shortest_edge_size((1052, 1914), 512, 4096) == (512, 932)
    assert shortest_edge_size((1914, 1052), 512, 4096) == (932, 512)
    assert shortest_edge_size((100, 1000), 512, 2048) == (205, 2048)
