"""Segment tables: an image pair reduced to how many pixels each pair of segments shares.

A segment is the set of pixels with one (category, instance). Everything panoptic quality needs is the
number of pixels of each (predicted segment, true segment) pair. The table of an image has one row for
each pair that occurs, so it is kept instead of the image and the meaning of predicted clusters can be
decided when all images have been seen (spec cups_model, pitfall 7).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from nolabel.errors import ConfigError, DataError

# Largest table of ids that is addressed directly. Ids spread wider (raw COCO ids) are sorted instead.
_DIRECT_CODES = 1 << 22

VoidRule = Literal["torchmetrics", "panopticapi"]


def _compress(segments: Tensor) -> tuple[Tensor, Tensor]:
    """Number the segments of one image 0..S-1.

    Args:
        segments: ``(N, 2)`` integers, (category, instance) of each pixel.

    Returns:
        number of each pixel's segment ``(N,)`` and (category, instance) of each segment ``(S, 2)``.
    """
    category, instance = segments[:, 0].to(torch.int64), segments[:, 1].to(torch.int64)
    limits = torch.stack([*category.aminmax(), *instance.aminmax()]).tolist()
    first_category, last_category, first_instance, last_instance = limits
    instances = last_instance - first_instance + 1
    codes = (category - first_category).mul_(instances).add_(instance).sub_(first_instance)
    span = (last_category - first_category + 1) * instances
    if span <= _DIRECT_CODES:
        present = torch.bincount(codes, minlength=span) > 0
        found = present.nonzero().squeeze(1)
        index = (present.cumsum(0) - 1).index_select(0, codes)
    else:
        found, index = torch.unique(codes, return_inverse=True)
    table = torch.stack([found // instances + first_category, found % instances + first_instance], dim=1)
    return index, table


def segment_table(prediction: Tensor, target: Tensor) -> Tensor:
    """Reduce one image to its table of shared pixel counts.

    Args:
        prediction: ``(H, W, 2)`` integers, (cluster or class, instance) of each pixel.
        target: ``(H, W, 2)`` integers, (class, instance) of each pixel.

    Returns:
        ``(R, 5)`` int64 rows (cluster, predicted instance, class, true instance, pixels).

    Raises:
        DataError: shapes are not equal ``(H, W, 2)`` or values are not integers.
    """
    if prediction.shape != target.shape or prediction.ndim != 3 or prediction.shape[-1] != 2:
        raise DataError(
            f"panoptic maps must be equal (H, W, 2): {tuple(prediction.shape)} and {tuple(target.shape)}",
            hint="stack semantic and instance channels last and resize the prediction to the label",
        )
    if prediction.is_floating_point() or target.is_floating_point():
        raise DataError("panoptic maps must hold integers", hint="convert ids to int64")
    if not prediction.numel():
        return prediction.new_zeros(0, 5, dtype=torch.int64)
    predicted, predicted_table = _compress(prediction.reshape(-1, 2))
    true, true_table = _compress(target.reshape(-1, 2))
    joint = predicted.mul_(len(true_table)).add_(true)
    if len(predicted_table) * len(true_table) <= _DIRECT_CODES:
        counts = torch.bincount(joint, minlength=len(predicted_table) * len(true_table))
        pairs = counts.nonzero().squeeze(1)
        counts = counts[pairs]
    else:
        pairs, counts = torch.unique(joint, return_counts=True)
    left, right = predicted_table[pairs // len(true_table)], true_table[pairs % len(true_table)]
    return torch.cat([left, right, counts[:, None]], dim=1)


class PanopticCounts(NamedTuple):
    """Sums over a data set for each class: ``(C,)`` each, iou_sum float64, the others int64."""

    iou_sum: Tensor
    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor


def _number_segments(image: Tensor, category: Tensor, instance: Tensor) -> tuple[Tensor, Tensor]:
    """Segment number of each row, and the category of each segment."""
    categories, instances = int(category.max()) + 1, int(instance.max()) + 1
    codes, index = torch.unique((image * categories + category) * instances + instance, return_inverse=True)
    return index, codes // instances % categories


def _sum_at(index: Tensor, values: Tensor, size: int) -> Tensor:
    return torch.zeros(size, dtype=values.dtype, device=values.device).scatter_add_(0, index, values)


def _map_segments(
    category: Tensor, instance: Tensor, classes: Tensor, is_thing: Tensor
) -> tuple[Tensor, Tensor]:
    """Rename categories by the table ``classes`` (unknown ids are void) and drop instances of stuff."""
    void = len(is_thing) - 1
    known = (category >= 0) & (category < len(classes))
    category = torch.where(known, classes[category.clamp(0, len(classes) - 1)], void)
    return category, torch.where(is_thing[category], instance.clamp(min=0), 0)


def panoptic_counts(
    rows: Tensor, image: Tensor, assignment: Tensor, is_thing: Tensor, void_rule: VoidRule = "torchmetrics"
) -> PanopticCounts:
    """Match segments and count hits and misses of each class.

    Args:
        rows: ``(R, 5)`` int64, the segment tables of all images one after the other.
        image: ``(R,)`` int64, which image each row belongs to.
        assignment: ``(K,)`` int64, class of each predicted cluster; ids outside ``0..C-1`` are void.
        is_thing: ``(C,)`` bool, True for classes whose instances count one by one.
        void_rule: "torchmetrics" takes void of either side out of the other side's area, forgives an
            unmatched segment of which more than half is void on the other side, and treats thing pixels
            without an instance as one ordinary object. "panopticapi" takes out void of the target only,
            never forgives a missed object, and treats true thing pixels without an instance as a crowd
            region: never matched or missed, and a prediction lying more than half on void or on a crowd
            of its own class is forgiven.

    Returns:
        Sums for each class. A pair matches where its IoU is above one half (Kirillov et al.,
        "Panoptic Segmentation", 2019; void rules of spec cups_model 6.3).
    """
    if void_rule not in ("torchmetrics", "panopticapi"):
        raise ConfigError(f"unknown void rule {void_rule!r}", hint="one of torchmetrics, panopticapi")
    void = len(is_thing)
    if not len(rows):
        zeros = torch.zeros(void, dtype=torch.int64, device=rows.device)
        return PanopticCounts(zeros.double(), zeros, zeros.clone(), zeros.clone())
    strict = void_rule == "panopticapi"
    has_instances = torch.cat([is_thing, is_thing.new_zeros(1)])
    known = (assignment >= 0) & (assignment < void)
    identity = torch.arange(void, device=rows.device)
    pixels = rows[:, 4]
    predicted_class, predicted_instance = _map_segments(
        rows[:, 0], rows[:, 1], torch.where(known, assignment, void), has_instances
    )
    true_class, true_instance = _map_segments(rows[:, 2], rows[:, 3], identity, has_instances)

    predicted, class_of_predicted = _number_segments(image, predicted_class, predicted_instance)
    true, class_of_true = _number_segments(image, true_class, true_instance)
    num_predicted, num_true = len(class_of_predicted), len(class_of_true)
    is_crowd = strict & has_instances[true_class] & (true_instance == 0)
    crowds = torch.zeros(num_true, dtype=torch.bool, device=rows.device)
    crowds[true[is_crowd]] = True

    area_predicted = _sum_at(predicted, pixels, num_predicted)
    area_true = _sum_at(true, pixels, num_true)
    on_void = _sum_at(predicted, pixels * (true_class == void), num_predicted)
    under_void = _sum_at(true, pixels * ((predicted_class == void) & (not strict)), num_true)
    on_crowd = _sum_at(predicted, pixels * (is_crowd & (predicted_class == true_class)), num_predicted)

    pairs, pair = torch.unique(predicted * num_true + true, return_inverse=True)
    shared = _sum_at(pair, pixels, len(pairs))
    left, right = pairs // num_true, pairs % num_true
    union = area_predicted[left] - on_void[left] + area_true[right] - under_void[right] - shared
    same = (class_of_predicted[left] == class_of_true[right]) & (class_of_true[right] < void) & ~crowds[right]
    hit = same & (2 * shared > union)

    missed = (class_of_true < void) & ~crowds & (2 * under_void <= area_true)
    missed[right[hit]] = False
    wrong = (class_of_predicted < void) & (2 * (on_void + on_crowd) <= area_predicted)
    wrong[left[hit]] = False
    iou = shared[hit].double() / union[hit].double()
    hit_class = class_of_true[right[hit]]
    return PanopticCounts(
        _sum_at(hit_class, iou, void),
        torch.bincount(hit_class, minlength=void),
        torch.bincount(class_of_predicted[wrong], minlength=void),
        torch.bincount(class_of_true[missed], minlength=void),
    )
