"""Which class a cluster stands for: assignments from a table of pixel counts.

Unsupervised methods predict clusters without names. Every function here takes the counts
``(clusters, classes)`` (pixels predicted as that cluster and labelled with that class) and returns an
int64 vector ``(clusters,)`` with the class of each cluster, 255 where a cluster stands for none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from nolabel.errors import ConfigError

VOID = 255

Counts = NDArray[np.int64]
Assignment = NDArray[np.int64]
Matching = Literal["none", "one_to_one", "many_to_one", "majority", "covering"]


def identity(counts: Counts) -> Assignment:
    """Take cluster ids as class ids; clusters beyond the classes stand for none."""
    clusters, classes = counts.shape
    ids = np.arange(clusters, dtype=np.int64)
    return np.where(ids < classes, ids, VOID)


def one_to_one(counts: Counts) -> Assignment:
    """Hungarian matching with the largest total count; left-over clusters stand for no class (255)."""
    assignment = np.full(counts.shape[0], VOID, dtype=np.int64)
    clusters, classes = linear_sum_assignment(counts, maximize=True)
    assignment[clusters] = classes
    return assignment


def majority(counts: Counts) -> Assignment:
    """Every cluster takes the class it meets most often (the lowest id among equals)."""
    if counts.shape[1] == 0:
        return np.full(counts.shape[0], VOID, dtype=np.int64)
    return counts.argmax(axis=1).astype(np.int64)


def many_to_one(counts: Counts) -> Assignment:
    """Hungarian matching, then every left-over cluster takes its majority class.

    The rule of CUPS (spec cups_model 6.2). With no more clusters than classes every cluster gets a
    class of its own.
    """
    assignment = one_to_one(counts)
    return np.where(assignment == VOID, majority(counts), assignment)


def covering(counts: Counts) -> Assignment:
    """The map with the largest total count among those that use every class at least once.

    The rule of SceneDINO (spec scenedino 11.1; an integer programme there). It is solved exactly as an
    assignment problem: each class needs one representative, and making cluster k represent class c
    costs what k loses against its majority class. With fewer clusters than classes it is
    :func:`one_to_one`.
    """
    clusters, classes = counts.shape
    if clusters < classes:
        return one_to_one(counts)
    assignment = majority(counts)
    regret = counts.max(axis=1, keepdims=True) - counts if classes else counts
    representatives, represented = linear_sum_assignment(regret)
    assignment[representatives] = represented
    return assignment


_RULES: dict[str, Callable[[Counts], Assignment]] = {
    "none": identity,
    "one_to_one": one_to_one,
    "many_to_one": many_to_one,
    "majority": majority,
    "covering": covering,
}


def assign(counts: Counts, rule: Matching) -> Assignment:
    """Apply the named rule to ``counts`` ``(clusters, classes)``.

    Raises:
        ConfigError: the rule has no such name.
    """
    if rule not in _RULES:
        raise ConfigError(f"unknown matching {rule!r}", hint=f"one of {', '.join(_RULES)}")
    return _RULES[rule](np.asarray(counts))


def assign_within_groups(
    counts: Counts, rule: Matching, groups: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Assignment:
    """Solve the assignment separately for each ``(clusters, classes)`` group, e.g. stuff and things.

    A cluster in no group, or in a group without classes, stands for no class.
    """
    assignment = np.full(counts.shape[0], VOID, dtype=np.int64)
    for clusters, classes in groups:
        rows, columns = np.asarray(clusters, dtype=np.int64), np.asarray(classes, dtype=np.int64)
        if not rows.size or not columns.size:
            continue
        local = assign(counts[np.ix_(rows, columns)], rule)
        matched = local != VOID
        assignment[rows[matched]] = columns[local[matched]]
    return assignment


def merge_clusters(counts: Counts, assignment: Assignment) -> Counts:
    """Class confusion after an assignment.

    Args:
        counts: pixels ``(clusters, classes)``.
        assignment: class of each cluster, 255 for none.

    Returns:
        ``(classes, classes + 1)``: rows are true classes, columns predicted classes, and the last
        column holds pixels predicted as clusters without a class.
    """
    classes = counts.shape[1]
    merged = np.zeros((classes + 1, classes), dtype=np.int64)
    np.add.at(merged, np.where(assignment < classes, assignment, classes), counts)
    return merged.T.copy()
