"""The confidence that a pixel of each class must exceed: exact quantiles of billions of pixels in little memory.

The original sorts the confidences of every class over all images together. The same element is found without
keeping them: the bit patterns of positive floats are ordered like the floats, so a histogram of the upper half of
the patterns tells which of its bins holds the wanted element, and a second pass over the pixels, with a histogram of
the lower half inside that bin, tells which element it is. Both histograms have a fixed size.

Source: Co-Training specification, 2.7 (maximum pseudo-label thresholds, "MPT").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nolabel.engine.segmentation_inference import Prediction
from nolabel.errors import ConfigError, DataError

__all__ = [
    "HIGHEST_CO_TRAINING",
    "HIGHEST_SELF_TRAINING",
    "LOWEST",
    "ThresholdSearch",
    "class_thresholds",
    "next_portion",
]

LOWEST, HIGHEST_SELF_TRAINING, HIGHEST_CO_TRAINING = 0.5, 0.9, 0.95

HIGH_BITS = 14  # the upper 16 bits of a float in [0, 2) are below 2**14
LOW_BITS = 16
LOW_MASK = (1 << LOW_BITS) - 1


class ThresholdSearch:
    """Two passes over predictions: :meth:`count` for all of them, :meth:`locate`, :meth:`refine` for all of them.

    Args:
        num_labels: classes, plus one for void.
        device: of the predictions.
    """

    def __init__(self, num_labels: int, device: torch.device | str = "cpu") -> None:
        self.num_labels = num_labels
        self.coarse = torch.zeros(num_labels << HIGH_BITS, dtype=torch.int64, device=device)
        self.fine = torch.zeros(num_labels << LOW_BITS, dtype=torch.int64, device=device)
        self.bins = torch.empty(0, dtype=torch.int32, device=device)
        self.ranks = torch.empty(0, dtype=torch.int64, device=device)

    def count(self, labels: Tensor, confidence: Tensor) -> None:
        """First pass: labels (...) uint8 below ``num_labels`` and confidences (...) float32 in [0, 1].

        Raises:
            DataError: a label or a confidence outside its range.
        """
        ids, bits = self._bits(labels, confidence)
        key = (ids << HIGH_BITS) + (bits >> LOW_BITS)
        self.coarse += torch.bincount(key, minlength=len(self.coarse))

    def locate(self, portion: float | Sequence[float] | Tensor) -> None:
        """Between the passes: find the bin and the rank in it of each class's element.

        Args:
            portion: part of the pixels to keep, in [0, 1]: one number, or one for each of ``num_labels``.
        """
        counts = self.coarse.view(self.num_labels, -1)
        total = counts.sum(1)
        kept = torch.as_tensor(portion, dtype=torch.float64, device=counts.device).expand(self.num_labels)
        if bool(((kept < 0) | (kept > 1)).any()):
            raise ConfigError(f"portions must lie in [0, 1], not {kept.tolist()}")
        # torch.round rounds halves to even; the original fails where nothing is to be kept, we take the largest.
        rank = (total * (1 - kept)).round().long().clamp(max=(total - 1).clamp(min=0))
        below = counts.cumsum(1)
        self.bins = (below <= rank[:, None]).sum(1).clamp(max=(1 << HIGH_BITS) - 1).int()
        first = (self.bins - 1).clamp(min=0).long()[:, None]
        self.ranks = rank - torch.where(self.bins > 0, below.gather(1, first)[:, 0], 0)

    def refine(self, labels: Tensor, confidence: Tensor) -> None:
        """Second pass, with the same predictions as the first in any order."""
        ids, bits = self._bits(labels, confidence)
        inside = (bits >> LOW_BITS) == self.bins.index_select(0, ids)
        key = (ids[inside] << LOW_BITS) + (bits[inside] & LOW_MASK)
        self.fine += torch.bincount(key, minlength=len(self.fine))

    def thresholds(self, lowest: float, highest: float) -> Tensor:
        """Return (num_labels,) float64 in [lowest, highest]; classes without pixels get ``lowest``."""
        counts = self.fine.view(self.num_labels, -1)
        low = (counts.cumsum(1) <= self.ranks[:, None]).sum(1).clamp(max=LOW_MASK).int()
        values = ((self.bins << LOW_BITS) + low).view(torch.float32).double()
        present = self.coarse.view(self.num_labels, -1).sum(1) > 0
        return torch.where(present, values, 0.0).clamp(lowest, highest)

    def _bits(self, labels: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """Return labels and bit patterns as flat int32."""
        confidence = confidence.flatten().contiguous()
        if confidence.dtype != torch.float32:
            raise DataError(f"confidences must be float32, not {confidence.dtype}")
        ids, bits = labels.flatten().int(), confidence.view(torch.int32)
        if len(ids):
            (low, high), largest = torch.aminmax(bits), int(ids.max())
            # The patterns of negative numbers are negative, those of infinity and NaN larger than any number's.
            if int(low) < 0 or int(high) >= 1 << (HIGH_BITS + LOW_BITS):
                raise DataError(
                    "confidences must lie in [0, 1]", hint="take the softmax, and look for NaN in the scores"
                )
            if largest >= self.num_labels:
                raise DataError(f"label {largest} is outside 0..{self.num_labels - 1}")
        return ids, bits


def class_thresholds(
    predictions: Iterable[Prediction],
    num_labels: int,
    portion: float | Sequence[float] | Tensor,
    *,
    lowest: float = LOWEST,
    highest: float = HIGHEST_SELF_TRAINING,
) -> Tensor:
    """Return the confidence above which the wanted portion of each class's pixels lies.

    Args:
        predictions: labels (..., H, W) and confidences of the images, iterated over twice: a list, or files read one
            by one (:class:`~nolabel.methods.cotraining.prediction_files.PredictionFiles`). An ego-vehicle mask plays
            no part here.
        num_labels: classes, plus one for void.
        portion: part of the pixels to keep, one number or one for each label.
        lowest, highest: limits of the thresholds; the highest is 0.9 in self-training and 0.95 in co-training.

    Returns:
        (num_labels,) float64 on the CPU. Absent classes get ``lowest``.
    """
    search: ThresholdSearch | None = None
    for labels, confidence in predictions:
        search = search or ThresholdSearch(num_labels, labels.device)
        search.count(labels, confidence)
    if search is None:
        raise DataError("thresholds need at least one image")
    search.locate(portion)
    for labels, confidence in predictions:
        search.refine(labels, confidence)
    return search.thresholds(lowest, highest).cpu()


def next_portion(
    portion: float | Sequence[float],
    initial: float | Sequence[float],
    step: float,
    largest: float | Sequence[float],
) -> float | list[float]:
    """Return the portion of the cycle after the one with ``portion``.

    Source: Co-Training specification, 2.7. One number grows up to ``largest``. A list grows, entry by entry, until it
    has reached ``initial + largest`` (at most 1).
    """
    if isinstance(portion, (int, float)) and isinstance(largest, (int, float)):
        return min(portion + step, largest)
    now, start = torch.as_tensor(portion, dtype=torch.float64), torch.as_tensor(initial, dtype=torch.float64)
    limit = (start + torch.as_tensor(largest, dtype=torch.float64)).clamp(max=1)
    grown: list[float] = torch.where(now >= limit, limit, now + step).tolist()
    return grown
