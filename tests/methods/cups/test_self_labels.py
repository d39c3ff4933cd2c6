"""What a prediction becomes when it is learnt from."""

from __future__ import annotations

import torch

from nolabel.methods.cups.self_labels import confident_target, self_label, without_known
from nolabel.models.panoptic import PanopticSegments, Segment


def panoptic() -> PanopticSegments:
    """Two things of class 1 and 0 (scores 0.9, 0.6) on stuff channel 2."""
    ids = torch.full((8, 12), 3, dtype=torch.int32)
    ids[1:4, 1:5], ids[4:8, 6:12] = 1, 2
    segments = (Segment(1, True, 1, 12, 0.9), Segment(2, True, 0, 24, 0.6), Segment(3, False, 2, 60))
    return PanopticSegments(ids, segments)


def test_each_channel_is_measured_against_its_own_best_pixel() -> None:
    probabilities = torch.zeros(3, 1, 4)
    probabilities[1] = torch.tensor([[0.9, 0.5, 0.44, 0.1]])
    probabilities[2] = torch.tensor([[0.1, 0.5, 0.2, 0.1]])
    ids = torch.zeros(1, 4, dtype=torch.int32)
    target = self_label(probabilities, PanopticSegments(ids, ()), 0.5)
    # Pixel 1: equal, the lower channel; pixel 2: neither reaches half of its best; pixel 3: both too weak.
    assert target.semantic.tolist() == [[1, 1, 255, 255]] and len(target) == 0
    loose = self_label(probabilities, PanopticSegments(ids, ()), 0.0)
    assert loose.semantic.tolist() == [[1, 1, 1, 1]]


def test_things_of_the_map_become_objects_and_leave_the_semantics_alone() -> None:
    probabilities = torch.zeros(3, 8, 12)
    probabilities[2] = 1
    target = self_label(probabilities, panoptic())
    assert target.classes.tolist() == [1, 0]
    assert target.boxes.tolist() == [[1, 1, 5, 4], [6, 4, 12, 8]]
    assert (target.instances == torch.where(panoptic().ids == 3, 0, panoptic().ids)).all()
    assert (target.semantic == 2).all()


def test_unsure_things_become_void_and_the_others_are_renumbered() -> None:
    target = confident_target(panoptic(), 0.75)
    assert target.classes.tolist() == [1] and target.boxes.tolist() == [[1, 1, 5, 4]]
    assert (target.semantic[panoptic().ids == 2] == 255).all() and (target.semantic[1:4, 1:5] == 0).all()
    assert (target.semantic[panoptic().ids == 3] == 2).all()


def test_known_objects_are_left_out() -> None:
    target = confident_target(panoptic(), 0.0)
    known = torch.tensor([[1.0, 1.0, 5.0, 5.0]])  # IoU 0.75 with the first
    rest = without_known(target, known)
    assert rest.classes.tolist() == [0] and rest.instances.max() == 1
    assert (rest.instances[4:8, 6:12] == 1).all()
    assert without_known(target, known[:0]) is target
