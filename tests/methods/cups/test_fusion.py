"""Fusion: borders, ids, and the one class of each object."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.methods.cups.fusion import align_semantic_to_instances, clear_border_columns, renumber


def test_borders_are_cleared_and_zero_columns_clear_nothing() -> None:
    instances = torch.arange(1, 9).expand(3, 8)
    assert clear_border_columns(instances, 2)[0].tolist() == [0, 0, 3, 4, 5, 6, 0, 0]
    assert torch.equal(clear_border_columns(instances, 0), instances)


def test_ids_become_consecutive_in_their_order() -> None:
    assert renumber(torch.tensor([[0, 7, 7], [3, 0, 900]])).tolist() == [[0, 2, 2], [1, 0, 3]]
    assert renumber(torch.tensor([[5, 5], [9, 9]])).tolist() == [[1, 1], [2, 2]]
    assert renumber(torch.zeros(2, 2, dtype=torch.long)).sum() == 0


def test_beyond_the_limit_the_largest_objects_stay() -> None:
    instances = torch.tensor([[1, 2, 2, 3, 3, 3, 4, 4, 4, 4, 0, 0, 0, 0, 0]])
    assert renumber(instances, limit=2).tolist() == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0]]


def test_ties_go_to_the_smallest_class_but_class_zero_loses_in_the_original() -> None:
    semantic = torch.tensor([[0, 3, 2, 3, 0]])
    instances = torch.tensor([[1, 1, 2, 2, 0]])
    assert align_semantic_to_instances(semantic, instances, 5).tolist() == [[0, 0, 2, 2, 0]]
    compat = align_semantic_to_instances(semantic, instances, 5, reference_compat=True)
    assert compat.tolist() == [[3, 3, 2, 2, 0]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(1, 5))
def test_each_object_has_its_majority_and_nothing_else_changes(seed: int, classes: int, objects: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    semantic = torch.randint(classes, (7, 9), generator=generator)
    instances = torch.randint(objects + 1, (7, 9), generator=generator)
    fused = align_semantic_to_instances(semantic, instances, classes)
    assert torch.equal(fused[instances == 0], semantic[instances == 0])
    for i in instances.unique()[instances.unique() > 0]:
        counts = semantic[instances == i].bincount(minlength=classes)
        assert fused[instances == i].unique().tolist() == [int((counts == counts.max()).nonzero()[0])]
