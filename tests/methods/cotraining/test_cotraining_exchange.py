"""What branches give each other, and how labels add up over the cycles."""

from itertools import pairwise

import torch

from nolabel.methods.cotraining.exchange import (
    Branch,
    fuse_labels,
    images_with_class,
    rank_by_class,
    rank_for_partner,
    share,
)
from nolabel.methods.cotraining.pseudo_labels import ImageScores
from nolabel.methods.cotraining.selection import (
    SelectedLabel,
    accumulate,
    cycle_seed,
    draw_subset,
    read_selection,
    write_selection,
)

VOID = 3


def test_fusion_fills_void_and_subtraction_drops_disputes():
    first = torch.tensor([[0, 1, VOID, VOID, 2]])
    second = torch.tensor([[0, 2, 1, VOID, VOID]])
    mine, yours = fuse_labels(first, second, VOID)
    assert mine.tolist() == [[0, 1, 1, VOID, 2]]
    assert yours.tolist() == [[0, 2, 1, VOID, 2]]
    mine, yours = fuse_labels(first, second, VOID, subtract=True)
    assert mine.tolist() == yours.tolist() == [[0, VOID, 1, VOID, 2]]


def test_a_class_counts_with_more_than_the_least_pixels():
    labels = torch.tensor([[[0, 0, 1]], [[1, 1, 2]]])
    assert images_with_class(labels, 4, 1).tolist() == [
        [True, False, False, False],
        [False, True, False, False],
    ]


def test_ranking_by_class_takes_global_images():
    """Class 1 is demanded most; images 2 and 3 have it, and 3 is far surer: 2 is beyond the gap."""
    has_class = torch.tensor([[1, 0], [1, 0], [1, 1], [0, 1]]).bool()
    confidence = torch.tensor([[0.9, 0.1], [0.89, 0.1], [0.5, 0.6], [0.1, 0.9]])
    demand = torch.tensor([0.1, -0.1])
    assert rank_by_class(demand, has_class, confidence) == [3, 0, 1]
    # As executed, positions in the class's list [2, 3] stand for images: 1 and 0, of confidence 0.1 and 0.1.
    assert rank_by_class(demand, has_class, confidence, reference_compat=True) == [0, 1]


def test_a_class_seen_only_by_the_partner_is_not_ranked():
    has_class = torch.tensor([[True], [True]])
    assert rank_by_class(torch.zeros(1), has_class, torch.tensor([[0.9], [float("nan")]])) == []


def test_classes_the_branch_has_no_opinion_of_do_not_block():
    """Image 2 got its class 0 from the partner: image 0 is given all the same, but not as executed."""
    confidence = torch.tensor([[0.9, float("nan")], [0.5, float("nan")], [float("nan"), float("nan")]])
    scores = ImageScores(torch.ones(3, 2).long(), confidence, torch.rand(3))
    labels, limits = torch.zeros(3, 2, 2, dtype=torch.int64), torch.tensor([0.5, 0.5]).double()
    sorting = "by_confidence_on_class_demand"
    for executed, expected in ((False, [0]), (True, [])):
        branch = Branch.of(scores, limits, labels, 1, reference_compat=executed)
        assert rank_for_partner(branch, branch, sorting) == expected


def branch(confidence, thresholds, score):
    confidence = torch.tensor(confidence)
    pixels = torch.full(confidence.shape, 10, dtype=torch.int64)
    scores = ImageScores(pixels, confidence, torch.tensor(score))
    return Branch(scores, torch.tensor(thresholds).double(), torch.ones(confidence.shape).bool())


def test_the_receiver_gets_what_it_is_unsure_of():
    giver = branch([[0.9, 0.5, 0.5], [0.5, 0.9, 0.5]], [0.8, 0.8, 0.5], [0.1, 0.2])
    needs_first = branch([[0.5] * 3] * 2, [0.5, 0.8, 0.5], [0.1, 0.2])
    needs_second = branch([[0.5] * 3] * 2, [0.8, 0.5, 0.5], [0.1, 0.2])
    for sorting in ("by_confidence_difference_between_branches", "by_confidence_on_class_demand"):
        assert rank_for_partner(giver, needs_first, sorting)[0] == 0
        assert rank_for_partner(giver, needs_second, sorting)[0] == 1
    assert rank_for_partner(giver, needs_first, "confidence") == [1, 0]


def test_shares():
    assert share([1, 2], [3, 4], 2, "cotraining") == [("partner", 3), ("partner", 4)]
    assert share([1, 2], [3, 4], 9, "self") == [("own", 1), ("own", 2)]
    assert share([1, 2], [3, 4], 3, "self_cotraining") == [("own", 1), ("partner", 3), ("partner", 4)]


def entry(name, score, void, folder):
    return SelectedLabel(f"/img/{name}", f"/{folder}/{name}", score, void, 5)


def test_better_labels_replace_and_new_ones_follow():
    old = [entry("a.png", 0.5, 999.0, "old"), entry("b.png", 0.9, 100.0, "old")]
    new = [
        entry("c.png", 0.1, 1.0, "new"),
        entry("b.png", 0.8, 99.0, "new"),
        entry("a.png", 0.6, 1000.0, "new"),
    ]
    by_score = accumulate(old, new, "update_best_score", "confidence")
    assert [e.label for e in by_score] == ["/new/a.png", "/old/b.png", "/new/c.png"]
    by_void = accumulate(old, new, "update_best_score", "per_void_pixels")
    assert [e.label for e in by_void] == ["/old/a.png", "/new/b.png", "/new/c.png"]
    executed = accumulate(old, new, "update_best_score", "per_void_pixels", reference_compat=True)
    assert [e.label for e in executed] == ["/new/a.png", "/old/b.png", "/new/c.png"]
    assert accumulate(old, new, "none", "confidence") == new
    assert len(accumulate(old, new, "all", "confidence")) == 5


def test_selections_survive_the_disk(tmp_path):
    entries = [entry("a b.png", 9e-05, 4535.0, "with space"), entry("b.png", 0.655105, 0.0, "x")]
    write_selection(tmp_path, entries)
    assert read_selection(tmp_path) == entries


def test_subsets_depend_on_the_seed_alone():
    names = [f"{i:03d}" for i in range(40)]
    assert [cycle_seed(100, k, "self_training") for k in range(5)] == [100, 101, 103, 106, 110]
    assert [cycle_seed(100, k, "co_training") for k in range(3)] == [100, 101, 102]
    assert draw_subset(names, 7, 1) == draw_subset(names[::-1], 7, 1) != draw_subset(names, 7, 2)
    assert sorted(draw_subset(names, -1, 1)) == names
    every = sorted(int(name) for name in draw_subset(names, 50, 3, step=5))
    assert {b - a for a, b in pairwise(every)} == {5}
