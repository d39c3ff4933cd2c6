"""Assignments against exhaustive search and hand-made tables."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nolabel.errors import ConfigError
from nolabel.metrics.matching import (
    assign,
    assign_within_groups,
    covering,
    majority,
    many_to_one,
    merge_clusters,
    one_to_one,
)


@st.composite
def tables(draw, clusters=(1, 5), classes=(1, 3)):
    shape = draw(st.integers(*clusters)), draw(st.integers(*classes))
    values = draw(st.lists(st.integers(0, 50), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]))
    return np.array(values, dtype=np.int64).reshape(shape)


def total(counts, assignment):
    return sum(counts[k, c] for k, c in enumerate(assignment) if c != 255)


@given(tables())
def test_covering_is_the_best_map_that_uses_every_class(counts):
    clusters, classes = counts.shape
    maps = [m for m in product(range(classes), repeat=clusters) if len(set(m)) == min(clusters, classes)]
    best = max(total(counts, m) for m in maps)
    ours = covering(counts)
    assert len(set(ours.tolist())) == min(clusters, classes)
    assert total(counts, ours) == best


@given(tables(clusters=(1, 4), classes=(1, 4)))
def test_one_to_one_is_the_best_injective_map(counts):
    clusters, classes = counts.shape
    options = [*range(classes), 255]
    maps = [m for m in product(options, repeat=clusters) if len(set(m) - {255}) == sum(c != 255 for c in m)]
    ours = one_to_one(counts)
    used = ours[ours != 255]
    assert len(set(used.tolist())) == len(used) == min(clusters, classes)
    assert total(counts, ours) == max(total(counts, m) for m in maps)


@given(tables())
def test_many_to_one_keeps_the_pairs_and_sends_the_rest_to_their_majority(counts):
    pairs, merged = one_to_one(counts), many_to_one(counts)
    matched = pairs != 255
    np.testing.assert_array_equal(merged[matched], pairs[matched])
    np.testing.assert_array_equal(merged[~matched], majority(counts)[~matched])


def test_many_to_one_by_hand():
    counts = np.array([[9, 0], [8, 7], [0, 1]])
    # Best pairs: 0 -> 0 and 1 -> 1 (16); cluster 2 is left over and meets class 1.
    np.testing.assert_array_equal(many_to_one(counts), [0, 1, 1])
    np.testing.assert_array_equal(one_to_one(counts), [0, 1, 255])
    np.testing.assert_array_equal(majority(counts), [0, 0, 1])


def test_groups_never_mix():
    counts = np.array([[0, 100, 1], [5, 100, 2], [100, 3, 0]])
    assignment = assign_within_groups(counts, "many_to_one", [((0, 1), (0, 2)), ((2,), (1,))])
    np.testing.assert_array_equal(assignment, [2, 0, 1])


def test_group_without_classes_stands_for_nothing():
    counts = np.array([[3, 1], [1, 3]])
    assignment = assign_within_groups(counts, "many_to_one", [((0,), (0, 1)), ((1,), ())])
    np.testing.assert_array_equal(assignment, [0, 255])


@given(tables())
def test_merging_keeps_every_pixel(counts):
    for rule in ("none", "one_to_one", "many_to_one", "majority", "covering"):
        merged = merge_clusters(counts, assign(counts, rule))
        np.testing.assert_array_equal(merged.sum(1), counts.sum(0))


def test_unknown_rule():
    with pytest.raises(ConfigError, match="best"):
        assign(np.zeros((1, 1), int), "best")
