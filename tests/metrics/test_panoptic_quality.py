"""Panoptic quality against hand-computed truths and a plain loop over segments."""

from __future__ import annotations

import copy
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelClass, LabelSpace
from nolabel.metrics import PanopticQuality, segment_table

SPACE = LabelSpace(
    "test",
    tuple(
        LabelClass(name, (0, 0, 0), name in ("car", "person")) for name in ("road", "sky", "car", "person")
    ),
)
ROAD, SKY, CAR, PERSON, VOID = 0, 1, 2, 3, 255


def panoptic(rows):
    """Rows of (class, instance) runs: ``[[(class, instance, length), ...], ...]`` to ``(H, W, 2)``."""
    return torch.tensor([[pixel[:2] for pixel in row for _ in range(pixel[2])] for row in rows])


def score(prediction, target, **options):
    metric = PanopticQuality(None, None, SPACE, matching=False, **options)
    metric.update(prediction[None], target[None])
    return metric.compute()


def loop_counts(prediction, target, space, strict):
    """The rules one segment at a time, as written in the specification."""
    classes = space.num_classes

    def segments(image):
        masks = {}
        for v, row in enumerate(image.tolist()):
            for u, (category, instance) in enumerate(row):
                known = 0 <= category < classes
                key = (category if known else VOID, instance if known and category in space.things else 0)
                masks.setdefault(key, set()).add((v, u))
        return masks

    predicted, true = segments(prediction), segments(target)
    void_predicted, void_true = predicted.pop((VOID, 0), set()), true.pop((VOID, 0), set())
    crowds = {key: mask for key, mask in true.items() if strict and key[0] in space.things and key[1] == 0}
    sums = np.zeros((4, classes))
    matched_predicted, matched_true = set(), set()
    for p, mask_p in predicted.items():
        for t, mask_t in true.items():
            shared = len(mask_p & mask_t)
            union = (
                len(mask_p - void_true)
                + len(mask_t)
                - shared
                - (0 if strict else len(mask_t & void_predicted))
            )
            if p[0] == t[0] and t not in crowds and shared and shared / union > 0.5:
                sums[0, t[0]] += shared / union
                sums[1, t[0]] += 1
                matched_predicted.add(p)
                matched_true.add(t)
    for p, mask in predicted.items():
        forgiven = mask & (void_true | crowds.get((p[0], 0), set()))
        if p not in matched_predicted and len(forgiven) / len(mask) <= 0.5:
            sums[2, p[0]] += 1
    for t, mask in true.items():
        forgiven = set() if strict else mask & void_predicted
        if t not in matched_true and t not in crowds and len(forgiven) / len(mask) <= 0.5:
            sums[3, t[0]] += 1
    return sums


def test_perfect():
    target = panoptic([[(ROAD, 0, 4), (CAR, 1, 3), (CAR, 2, 2), (VOID, 0, 1)]])
    scores = score(target, target)
    assert scores.pq == scores.sq == scores.rq == scores.pq_things == scores.pq_stuff == 1
    assert scores.miou == scores.accuracy == 1
    np.testing.assert_array_equal(scores.true_positives, [1, 0, 2, 0])
    assert scores.class_names == ("road", "sky", "car", "person")


def test_by_hand():
    # Car 1: 3 of its 4 px found, IoU 3/4. Car 2 (2 px) is missed. The road has 4 px, 7 predicted: 4/7.
    target = panoptic([[(ROAD, 0, 4), (CAR, 1, 4), (CAR, 2, 2)]])
    prediction = panoptic([[(ROAD, 0, 4), (CAR, 7, 3), (ROAD, 0, 3)]])
    scores = score(prediction, target)
    car = 0.75 / (1 + 0.5)
    road = 4 / 7
    np.testing.assert_allclose(scores.pq_per_class, [road, 0, car, 0])
    assert scores.pq == pytest.approx((road + car) / 2)
    assert scores.pq_things == pytest.approx(car)
    assert scores.rq_things == pytest.approx(2 / 3)
    assert scores.sq_things == pytest.approx(0.75)
    assert scores.accuracy == pytest.approx(7 / 10)


def test_iou_of_one_half_is_no_match():
    scores = score(panoptic([[(SKY, 0, 2), (ROAD, 0, 2)]]), panoptic([[(SKY, 0, 4)]]))
    np.testing.assert_array_equal(scores.true_positives, 0)
    np.testing.assert_array_equal(scores.false_negatives, [0, 1, 0, 0])
    np.testing.assert_array_equal(scores.false_positives, [1, 1, 0, 0])


def test_void_prediction_is_free_only_with_the_torchmetrics_rule():
    # Car 1 of 10 px: 4 found, 6 left void.
    target = panoptic([[(CAR, 1, 10)]])
    prediction = panoptic([[(CAR, 1, 4), (VOID, 0, 6)]])
    free, strict = score(prediction, target), score(prediction, target, void_rule="panopticapi")
    assert free.pq == 1
    np.testing.assert_array_equal(strict.false_negatives, [0, 0, 1, 0])
    np.testing.assert_array_equal(strict.false_positives, [0, 0, 1, 0])
    assert strict.pq == 0
    # Nothing found: forgiven when more than half is void, else missed.
    prediction = panoptic([[(ROAD, 0, 4), (VOID, 0, 6)]])
    assert score(prediction, target).false_negatives[CAR] == 0
    assert score(prediction, target, void_rule="panopticapi").false_negatives[CAR] == 1


def test_void_target_does_not_count_against_a_prediction():
    target = panoptic([[(CAR, 1, 4), (VOID, 0, 6)]])
    for rule in ("torchmetrics", "panopticapi"):
        assert score(panoptic([[(CAR, 1, 10)]]), target, void_rule=rule).pq == 1
        wrong = score(panoptic([[(PERSON, 1, 10)]]), target, void_rule=rule)
        np.testing.assert_array_equal(wrong.false_positives, 0)  # 6 of 10 on void
        np.testing.assert_array_equal(wrong.false_negatives, [0, 0, 1, 0])


def test_group_of_cars_is_one_object_or_a_crowd():
    target = panoptic([[(CAR, 0, 6), (ROAD, 0, 4)]])
    prediction = panoptic([[(CAR, 1, 3), (CAR, 2, 3), (ROAD, 0, 4)]])
    ordinary, crowd = score(prediction, target), score(prediction, target, void_rule="panopticapi")
    np.testing.assert_array_equal(ordinary.false_positives, [0, 0, 2, 0])
    np.testing.assert_array_equal(ordinary.false_negatives, [0, 0, 1, 0])
    assert crowd.pq == 1 and not crowd.false_positives.any() and not crowd.false_negatives.any()
    # A person on the crowd of cars is wrong; a car mostly outside it too.
    assert (
        score(panoptic([[(PERSON, 1, 6), (ROAD, 0, 4)]]), target, void_rule="panopticapi").false_positives[3]
        == 1
    )
    assert (
        score(panoptic([[(ROAD, 0, 4), (CAR, 1, 6)]]), target, void_rule="panopticapi").false_positives[2]
        == 1
    )


def test_stuff_clusters_of_one_class_are_one_segment():
    # Clusters 0 and 1 both mean road; cluster 2 is sky; clusters 3 and 4 are things.
    target = panoptic([[(ROAD, 0, 6), (SKY, 0, 3), (CAR, 1, 4), (PERSON, 1, 4)]])
    prediction = panoptic([[(0, 0, 4), (1, 0, 2), (2, 0, 3), (4, 1, 4), (3, 9, 4)]])
    metric = PanopticQuality(5, 3, SPACE)
    metric.update(prediction[None], target[None])
    scores = metric.compute()
    np.testing.assert_array_equal(scores.assignment, [ROAD, ROAD, SKY, PERSON, CAR])
    assert scores.pq == scores.miou == 1
    one_to_one = PanopticQuality(5, 3, SPACE, one_to_one=True)
    one_to_one.update(prediction[None], target[None])
    scores = one_to_one.compute()
    np.testing.assert_array_equal(scores.assignment, [ROAD, 255, SKY, PERSON, CAR])
    assert scores.pq == 1  # the unmatched cluster is void, and void is free


def test_split_forbids_a_stuff_cluster_to_be_a_thing():
    target = panoptic([[(ROAD, 0, 2), (CAR, 1, 8)]])
    prediction = panoptic([[(1, 0, 2), (0, 0, 8)]])
    metric = PanopticQuality(4, 2, SPACE)
    metric.update(prediction[None], target[None])
    assert metric.compute().assignment[0] in (ROAD, SKY)
    free = PanopticQuality(4, 2, SPACE, split_things=False)
    free.update(prediction[None], target[None])
    assert free.compute().assignment[0] == CAR


def test_masked_classes_leave_the_means_only():
    target = panoptic([[(ROAD, 0, 4), (CAR, 1, 4)]])
    prediction = panoptic([[(ROAD, 0, 4), (PERSON, 1, 4)]])
    scores = score(prediction, target, classes_mask=[True, True, False, False])
    assert scores.pq == 1 and scores.class_names == ("road", "sky") and len(scores.pq_per_class) == 2
    assert scores.accuracy == 0.5


maps = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))


def random_pair(shape_and_seed, blocks=2):
    height, width, seed = shape_and_seed
    generator = torch.Generator().manual_seed(seed)

    def draw():
        small = torch.randint(0, 5, (height, width, 2), generator=generator)
        small[..., 0] = torch.where(small[..., 0] == 4, VOID, small[..., 0])
        return small.repeat_interleave(blocks, 0).repeat_interleave(blocks, 1)

    target = draw()
    keep = torch.rand(target.shape[:2], generator=generator) < 0.7
    return torch.where(keep[..., None], target, draw()), target


@given(maps, st.sampled_from(["torchmetrics", "panopticapi"]))
@settings(max_examples=60, deadline=None)
def test_same_as_a_loop_over_segments(shape_and_seed, rule):
    prediction, target = random_pair(shape_and_seed)
    scores = score(prediction, target, void_rule=rule)
    sums = loop_counts(prediction, target, SPACE, strict=rule == "panopticapi")
    ours = [scores.iou_sum, scores.true_positives, scores.false_positives, scores.false_negatives]
    np.testing.assert_allclose(np.stack(ours), sums)


@given(maps)
@settings(max_examples=30, deadline=None)
def test_instance_numbers_do_not_matter(shape_and_seed):
    prediction, target = random_pair(shape_and_seed)
    # Ids spread wide take the sorting path, which must agree with the direct table.
    renamed = prediction.clone()
    renamed[..., 1] = torch.where(prediction[..., 1] > 0, (7 - prediction[..., 1]) * 9_999_991, 0)
    assert score(renamed, target).values() == pytest.approx(score(prediction, target).values(), nan_ok=True)
    table, wide = segment_table(prediction, target), segment_table(renamed, target)
    assert sorted(table[:, 4].tolist()) == sorted(wide[:, 4].tolist())
    assert table[:, 4].sum() == target[..., 0].numel()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_types(dtype):
    target = panoptic([[(ROAD, 0, 4), (CAR, 1, 4)]]).to(dtype)
    assert score(target, target).pq == 1


def test_images_are_kept_apart():
    # The same instance id in two images is two objects.
    target = panoptic([[(CAR, 1, 4)]])
    metric = PanopticQuality(None, None, SPACE, matching=False)
    metric.update(torch.stack([target, target]), torch.stack([target, target]))
    metric.update(target, target)
    assert metric.compute().true_positives[CAR] == 3


def test_nothing_seen():
    metric = PanopticQuality(4, 2, SPACE)
    with pytest.warns(UserWarning, match="before the ``update``"):
        scores = metric.compute()
    assert scores.pq == 0 and np.isnan(scores.miou)


def test_survives_copies_and_reset():
    target = panoptic([[(CAR, 1, 4)]])
    metric = PanopticQuality(None, None, SPACE, matching=False)
    metric.update(target, target)
    for twin in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert twin.compute().pq == 1
    metric.reset()
    assert metric.rows == [] and metric.rows_per_image == []


def test_refusals():
    with pytest.raises(ConfigError, match="stuff_clusters"):
        PanopticQuality(4, None, SPACE)
    with pytest.raises(ConfigError, match="3 entries for 4"):
        PanopticQuality(4, 2, SPACE, classes_mask=[True] * 3)
    metric = PanopticQuality(4, 2, SPACE)
    with pytest.raises(DataError, match="equal"):
        metric.update(torch.zeros(1, 4, 4, 2, dtype=torch.int64), torch.zeros(1, 4, 5, 2, dtype=torch.int64))
    with pytest.raises(DataError, match="integers"):
        metric.update(torch.zeros(1, 4, 4, 2), torch.zeros(1, 4, 4, 2))
    with pytest.raises(ConfigError, match="void rule"):
        target = panoptic([[(CAR, 1, 4)]])
        score(target, target, void_rule="lenient")


def _score_half(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    metric = PanopticQuality(5, 3, SPACE)
    for seed in range(rank, 5, 2):
        metric.update(*random_pair((5, 7, seed)))
    torch.save(metric.compute()._asdict(), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_score_like_one(tmp_path, unused_port):
    torch.multiprocessing.spawn(_score_half, args=(unused_port, str(tmp_path)), nprocs=2)
    metric = PanopticQuality(5, 3, SPACE)
    for seed in range(5):
        metric.update(*random_pair((5, 7, seed)))
    whole = metric.compute()._asdict()
    for rank in range(2):
        part = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        for name, value in whole.items():
            if name != "class_names":
                np.testing.assert_allclose(part[name], value, err_msg=name)


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
