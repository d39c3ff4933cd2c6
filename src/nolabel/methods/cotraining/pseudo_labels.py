"""From predictions to pseudo-labels: pixels that are not sure enough become void; how good is what is left.

Source: Co-Training specification, 2.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.engine.segmentation_inference import Prediction
from nolabel.errors import DataError

__all__ = ["ImageScores", "drop_unsure", "label_images", "score_images"]

STEPS = 2.0**30


@dataclass(frozen=True)
class ImageScores:
    """What is known of the pseudo-labels of N images, all (N, ...) tensors; L labels, the last is void.

    Attributes:
        pixels: (N, L) int64, pixels of every label.
        class_confidence: (N, L) float32, mean confidence of the pixels of every label, NaN where there are none.
        score: (N,) float32, one number for the image.
    """

    pixels: Tensor
    class_confidence: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.score)

    @property
    def num_classes(self) -> Tensor:
        """Number of classes (void is none) in each image, (N,) int64."""
        return (self.pixels[:, :-1] > 0).sum(1)

    @property
    def void_pixels(self) -> Tensor:
        """Void pixels of each image, (N,) int64."""
        return self.pixels[:, -1]

    def self_training_vectors(self) -> Tensor:
        """Return the rows of the original's self-training, (N, L + 1): pixels, score."""
        return torch.cat([self.pixels.float(), self.score[:, None]], dim=1)

    def co_training_vectors(self) -> Tensor:
        """Return the rows of the original's co-training, (N, 2 L + 1): class confidences, pixels, score."""
        return torch.cat([self.class_confidence, self.pixels.float(), self.score[:, None]], dim=1)

    @classmethod
    def from_co_training_vectors(cls, rows: Tensor) -> ImageScores:
        """Read rows written by :meth:`co_training_vectors`."""
        num_labels = rows.shape[1] // 2
        confidence, pixels, score = rows.split([num_labels, num_labels, 1], dim=1)
        return cls(pixels.round().long(), confidence, score[:, 0])

    @classmethod
    def allocate(cls, number: int, num_labels: int) -> ImageScores:
        """Return a table for so many images, to be filled by :meth:`put`."""
        pixels = torch.zeros(number, num_labels, dtype=torch.int64)
        return cls(pixels, torch.zeros(number, num_labels), torch.zeros(number))

    def put(self, first: int, part: ImageScores) -> None:
        """Write the rows of ``part`` to this table, from image ``first`` on."""
        rows = slice(first, first + len(part))
        self.pixels[rows] = part.pixels.to(self.pixels.device)
        self.class_confidence[rows] = part.class_confidence.to(self.score.device)
        self.score[rows] = part.score.to(self.score.device)

    @classmethod
    def join(cls, parts: Sequence[ImageScores]) -> ImageScores:
        """Put the images of several batches in a row."""
        return cls(
            torch.cat([part.pixels for part in parts]),
            torch.cat([part.class_confidence for part in parts]),
            torch.cat([part.score for part in parts]),
        )


def drop_unsure(
    labels: Tensor,
    confidence: Tensor,
    thresholds: Tensor,
    *,
    mask: Tensor | None = None,
    factor: Tensor | None = None,
) -> Tensor:
    """Make void of the pixels whose confidence does not exceed the threshold of their class.

    Args:
        labels: (..., H, W) uint8 below L.
        confidence: (..., H, W) float32.
        thresholds: (L,) float64; L - 1 is void.
        mask: (H, W) bool, True on pixels that get no label (the ego vehicle).
        factor: (..., H, W), multiplied with the confidence before the comparison, see
            :func:`nolabel.methods.cotraining.priors.prior_factor`.

    Returns:
        (..., H, W) uint8.

    Raises:
        DataError: the mask has another size.
    """
    void = len(thresholds) - 1
    limits = _largest_float_not_above(thresholds).to(labels.device)
    limit = limits.index_select(0, labels.flatten().int()).view(labels.shape)
    dropped = (confidence if factor is None else confidence * factor) <= limit
    if mask is not None:
        if mask.shape != labels.shape[-2:]:
            raise DataError(
                f"the mask has {tuple(mask.shape)} pixels, the label maps {tuple(labels.shape[-2:])}",
                hint="make the mask for images of this size",
            )
        dropped |= mask
    return labels.masked_fill(dropped, void)


def score_images(
    labels: Tensor, confidence: Tensor, thresholds: Tensor, *, reference_compat: bool = False
) -> ImageScores:
    """Score the pseudo-labels of images.

    The score of an image is the mean confidence of the pixels that have a label, 0 where none has. Void has no
    confidence (NaN).

    Args:
        labels: (N, H, W) uint8 pseudo-labels (after :func:`drop_unsure`).
        confidence: (N, H, W) float32.
        thresholds: (L,) float64, of which the last one (void) is used, and only under ``reference_compat``.
        reference_compat: as executed, void pixels with a confidence above the threshold of void (pixels that were
            dropped at a higher one, too) count in the score, and are the confidence of void.
    """
    num_images, num_labels = len(labels), len(thresholds)
    ids = labels.flatten(1).long()
    if reference_compat:  # void pixels that do not count go to a label of their own
        hidden = confidence.flatten(1) <= _largest_float_not_above(thresholds)[-1].item()
        ids = torch.where((ids == num_labels - 1) & hidden, num_labels, ids)
    key = (ids + torch.arange(num_images, device=ids.device)[:, None] * (num_labels + 1)).flatten()
    size = num_images * (num_labels + 1)
    counts = torch.bincount(key, minlength=size).view(num_images, -1)
    # Whole numbers of steps of 2**-30 add up exactly, whatever the order in which an accelerator adds them.
    steps = confidence.flatten().double().mul_(STEPS).round_()
    sums = torch.bincount(key, weights=steps, minlength=size).view(num_images, -1) / STEPS
    pixels = counts[:, :num_labels].clone()
    pixels[:, -1] += counts[:, -1]
    counted, summed = counts[:, :num_labels].clone(), sums[:, :num_labels].clone()
    if not reference_compat:
        counted[:, -1] = summed[:, -1] = 0
    score = summed.sum(1) / counted.sum(1)
    if not reference_compat:
        score = score.nan_to_num(0.0)
    return ImageScores(pixels, (summed / counted).float(), score.float())


def label_images(
    predictions: Iterable[Prediction],
    number: int,
    thresholds: Tensor,
    keep: Callable[[int, Tensor], object],
    *,
    mask: Tensor | None = None,
    factor: Callable[[Tensor], Tensor] | None = None,
    reference_compat: bool = False,
) -> ImageScores:
    """Label and score images one by one: the stage after the thresholds.

    The scores go to one table made at the start. (Small tensors kept from every image would each pin the gap that the
    image's large ones leave behind: with 500 images of 1024x2048 the process grew by 7 GB.)

    Args:
        predictions: labels (H, W) and confidences of each image.
        number: of images.
        thresholds: (L,) float64.
        keep: called with the index and the pseudo-label (H, W) uint8 of each image: writes it, say.
        mask: see :func:`drop_unsure`.
        factor: maps labels (1, H, W) to what :func:`drop_unsure` multiplies confidences with.
        reference_compat: see :func:`score_images`.
    """
    scores = ImageScores.allocate(number, len(thresholds))
    for index, (labels, confidence) in enumerate(predictions):
        labels, confidence = labels[None], confidence[None]
        usual = None if factor is None else factor(labels)
        kept = drop_unsure(labels, confidence, thresholds, mask=mask, factor=usual)
        scores.put(index, score_images(kept, confidence, thresholds, reference_compat=reference_compat))
        keep(index, kept[0])
    return scores


def _largest_float_not_above(thresholds: Tensor) -> Tensor:
    """Round to float32 so that a float32 exceeds the result exactly if it exceeds the float64 threshold."""
    rounded = thresholds.float()
    lower = torch.nextafter(rounded, torch.full_like(rounded, -torch.inf))
    return torch.where(rounded.double() > thresholds.double(), lower, rounded)
