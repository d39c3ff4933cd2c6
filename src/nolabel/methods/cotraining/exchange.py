"""What two branches give each other: fused label maps, and the images on which the giver is surer.

Source: Co-Training specification, 2.12. L labels, the last is void.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.methods.cotraining.pseudo_labels import ImageScores
from nolabel.methods.cotraining.selection import Sorting, rank_images

__all__ = ["Branch", "ExchangeSorting", "fuse_labels", "images_with_class", "rank_for_partner", "share"]

ExchangeSorting = Literal[
    "by_confidence_difference_between_branches",
    "by_confidence_on_class_demand",
    "cotraining_confidence_score",
    "confidence",
    "per_class",
    "per_void_pixels",
    "none",
]

GAP = 0.20  # of the range between a class's best and worst image, from the best on, is given


@dataclass(frozen=True)
class Branch:
    """One network's view of the N images of a cycle.

    Attributes:
        scores: of its pseudo-labels before fusion.
        thresholds: (L,) float64 of this cycle.
        has_class: (N, L) bool, which images may be ranked for which class.
    """

    scores: ImageScores
    thresholds: Tensor
    has_class: Tensor

    @classmethod
    def of(
        cls,
        scores: ImageScores,
        thresholds: Tensor,
        labels: Iterable[Tensor],
        min_pixels: int = 0,
        *,
        reference_compat: bool = False,
    ) -> Branch:
        """Describe a branch by its scores before, and its N label maps (H, W) after fusion, taken one by one.

        An image may be ranked for a class of which it has more than ``min_pixels`` pixels and the branch has an opinion.

        Args:
            scores, thresholds: see above.
            labels: after fusion.
            min_pixels: least pixels of a class, exclusive.
            reference_compat: as executed, opinions are not asked for; a single image with a class that comes from the
                partner alone (its confidence is NaN) then keeps all images from being given for this class.
        """
        rows = [images_with_class(one[None], len(thresholds), min_pixels) for one in labels]
        has_class = torch.cat(rows)
        if not reference_compat:
            has_class &= ~scores.class_confidence.isnan()
        return cls(scores, thresholds, has_class)


def fuse_labels(first: Tensor, second: Tensor, void: int, *, subtract: bool = False) -> tuple[Tensor, Tensor]:
    """Fill the void of each branch with what the other sees there.

    Args:
        first, second: (..., H, W) pseudo-labels of the same images.
        void: its label.
        subtract: where both have different classes, make void of both instead of leaving each its own.
    """
    fused = torch.where(first == void, second, first), torch.where(second == void, first, second)
    if not subtract:
        return fused
    differ = fused[0] != fused[1]
    return fused[0].masked_fill(differ, void), fused[1].masked_fill(differ, void)


def images_with_class(labels: Tensor, num_labels: int, min_pixels: int = 0) -> Tensor:
    """Return (N, L) bool: in which of the maps (N, H, W) each label has more than ``min_pixels`` pixels."""
    ids = labels.flatten(1).long()
    key = ids + torch.arange(len(ids), device=ids.device)[:, None] * num_labels
    counts = torch.bincount(key.flatten(), minlength=len(ids) * num_labels)
    return counts.view(len(ids), num_labels) > min_pixels


def rank_for_partner(
    giver: Branch, receiver: Branch, sorting: ExchangeSorting, *, reference_compat: bool = False
) -> list[int]:
    """Return the giver's images in the order in which the receiver gets them.

    The two sortings by class list, class by class from the one the receiver needs most, the images on which the giver
    is surest of that class; an image comes out at most once, and not every one does.

    Args:
        giver: the branch whose pseudo-labels are given.
        receiver: the branch that will train on them.
        sorting: ``by_confidence_difference_between_branches`` (classes on which the receiver is less sure than the
            giver first), ``by_confidence_on_class_demand`` (classes on which the receiver is least sure first),
            ``cotraining_confidence_score`` (images on which the giver adds most), a sorting of self-training, or
            ``none``.
        reference_compat: as executed, see :func:`rank_by_class`.

    Raises:
        ConfigError: there is no such sorting.
    """
    if sorting == "by_confidence_difference_between_branches":
        demand = receiver.thresholds - giver.thresholds
    elif sorting == "by_confidence_on_class_demand":
        demand = receiver.thresholds
    elif sorting == "cotraining_confidence_score":
        return _rank_by_gain(giver.scores, receiver.scores)
    elif sorting in ("confidence", "per_class", "per_void_pixels", "none"):
        plain: Sorting = sorting
        return rank_images(giver.scores, plain)
    else:
        raise ConfigError(f"there is no sorting {sorting!r} of exchanged images")
    confidence = giver.scores.class_confidence
    return rank_by_class(demand, giver.has_class, confidence, reference_compat=reference_compat)


def rank_by_class(
    demand: Tensor, has_class: Tensor, confidence: Tensor, *, reference_compat: bool = False
) -> list[int]:
    """List the surest images of every class, classes in ascending order of ``demand`` (ties: lower class first).

    Of each class the images with more than (best - 0.2 (best - worst)) confidence are taken, best first; none if the
    confidence of one of its images is NaN (:meth:`Branch.of` leaves such images out).

    Args:
        demand: (L,).
        has_class: (N, L) bool.
        confidence: (N, L) mean confidence of each label in each image.
        reference_compat: the original takes the positions within the list of a class's images for numbers of images,
            and so ranks, compares and gives others than it sorted.
    """
    # Descending with NaN first; images without the class last.
    keys = confidence.double().nan_to_num(nan=torch.inf).masked_fill(~has_class, -torch.inf)
    order = keys.argsort(dim=0, descending=True, stable=True)
    listed = has_class.gather(0, order)
    if reference_compat:
        order = (has_class.cumsum(0) - 1).gather(0, order).clamp(min=0)
    values = confidence.double().gather(0, order)
    count = has_class.sum(0)
    best, worst = values[0], values.gather(0, (count - 1).clamp(min=0)[None])[0]
    taken = listed & (values > best - GAP * (best - worst))  # comparing with NaN is False
    columns = demand.to(order.device).argsort(stable=True)
    found = order.T[columns][taken.T[columns]]
    return list(dict.fromkeys(found.tolist()))


def _rank_by_gain(giver: ImageScores, receiver: ImageScores) -> list[int]:
    """Rank by how much surer the receiver is where the giver is unsure, as the original's score has it."""
    own, other = giver.class_confidence, receiver.class_confidence
    gain = ((other - own).clamp(min=0) * (1 - own)).double()
    first, second = gain.nanmean(1), giver.num_classes
    by_second = second.argsort(descending=True, stable=True)
    ranking: list[int] = by_second[first[by_second].argsort(descending=True, stable=True)].tolist()
    return ranking


def share(own: list[int], partner: list[int], number: int, collaboration: str) -> list[tuple[str, int]]:
    """Choose what a branch trains on.

    Args:
        own: its own images in its own ranking.
        partner: the partner's images, from :func:`rank_for_partner`.
        number: how many to take; fewer come out where the rankings are shorter.
        collaboration: ``cotraining`` (the partner's), ``self`` (its own), or a name with both (half and half).

    Returns:
        ("own" or "partner", image) pairs.
    """
    with_own, with_partner = "self" in collaboration, "cotraining" in collaboration
    if not (with_own or with_partner):
        raise ConfigError(
            f"there is no collaboration {collaboration!r}", hint="cotraining, self or self_cotraining"
        )
    if with_own and with_partner:
        half = number // 2
        return [("own", i) for i in own[:half]] + [("partner", i) for i in partner[: number - half]]
    return [("own", i) for i in own[:number]] if with_own else [("partner", i) for i in partner[:number]]
