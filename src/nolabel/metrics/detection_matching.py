"""The matching of detections with objects by COCO's rules, for many images at once.

pycocotools matches one image, one area range and one threshold after the other in Python. Here a chunk of images with
about as many objects is one array (images, area ranges, thresholds, objects), and the detections are walked through by
rank: as many steps as an image has detections, whatever the number of images. The results are those of pycocotools.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ImagePair", "MatchedDetections", "match_detections"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHUNK = 1 << 21
"""Numbers (images times area ranges times thresholds times objects) of one step."""


@dataclass(frozen=True)
class ImagePair:
    """The detections and the objects of one image (and one category).

    Attributes:
        iou: (D, G) overlaps, detections by falling score; with a crowd, the share of the detection inside it.
        scores: (D,) falling.
        detection_areas, object_areas: (D,) and (G,) square pixels.
        crowd: (G,) objects that may match any number of detections and count for nothing.
        never_found: (G,) objects a match with which counts as none (pycocotools does so with the id 0).
    """

    iou: Floats
    scores: Floats
    detection_areas: Floats
    object_areas: Floats
    crowd: Bools
    never_found: Bools


@dataclass(frozen=True)
class MatchedDetections:
    """What became of all detections, images in order, detections by rank.

    Attributes:
        scores: (N,).
        ranks: (N,) 0 = best of its image.
        found: (A, T, N) whether it matches an object, by area range and threshold.
        ignored: (A, T, N) whether it counts neither way.
        objects: (A,) objects that count.
    """

    scores: Floats
    ranks: NDArray[np.int64]
    found: Bools
    ignored: Bools
    objects: NDArray[np.int64]


def match_detections(
    pairs: Sequence[ImagePair], thresholds: Floats, area_ranges: Floats
) -> MatchedDetections:
    """Match greedily: the best detection first takes the object it overlaps most.

    Args:
        pairs: the images.
        thresholds: (T,) overlaps from which a detection may match.
        area_ranges: (A, 2) smallest and largest area of the objects that count.
    """
    counts = np.array([len(pair.scores) for pair in pairs], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(area_ranges), len(thresholds), int(starts[-1]))
    found, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    objects = np.zeros(len(area_ranges), np.int64)
    for pair in pairs:
        objects += (~_ignored_objects(pair, area_ranges)).sum(axis=1)
    for rows in _chunks(pairs, shape[0] * shape[1]):
        here = _match_chunk([pairs[row] for row in rows], thresholds, area_ranges)
        for row, hit, ignore in zip(rows, *here, strict=True):
            columns = slice(starts[row], starts[row + 1])
            found[:, :, columns] = hit[:, :, : counts[row]]
            ignored[:, :, columns] = ignore[:, :, : counts[row]]
    # A detection that matches nothing and is itself of another size does not count as false.
    areas = np.concatenate([pair.detection_areas for pair in pairs] or [np.zeros(0)])
    outside = (areas < area_ranges[:, :1]) | (areas > area_ranges[:, 1:])
    ignored |= ~found & outside[:, None]
    scores = np.concatenate([pair.scores for pair in pairs] or [np.zeros(0)])
    ranks = np.concatenate([np.arange(count) for count in counts] or [np.zeros(0, np.int64)])
    return MatchedDetections(scores, ranks, found, ignored, objects)


def _ignored_objects(pair: ImagePair, area_ranges: Floats) -> Bools:
    """(A, G): crowds and objects of other sizes."""
    areas = pair.object_areas
    return pair.crowd | (areas < area_ranges[:, :1]) | (areas > area_ranges[:, 1:])


def _chunks(pairs: Sequence[ImagePair], planes: int) -> Iterator[list[int]]:
    """Images with both detections and objects, those with as many objects together."""
    rows = [row for row, pair in enumerate(pairs) if pair.iou.size]
    rows.sort(key=lambda row: pairs[row].iou.shape[1])
    while rows:
        most = pairs[rows[0]].iou.shape[1]
        size = max(1, CHUNK // (planes * most))
        chunk = rows[:size]
        yield chunk
        rows = rows[size:]


def _match_chunk(pairs: Sequence[ImagePair], thresholds: Floats, area_ranges: Floats) -> tuple[Bools, Bools]:
    """Return found and ignored, (images, A, T, most detections) each; a match with nothing ignores nothing."""
    images, most = len(pairs), max(pair.iou.shape[1] for pair in pairs)
    deepest = max(pair.iou.shape[0] for pair in pairs)
    # Objects run backwards: of several that overlap alike the last one is taken, and argmax finds the first.
    iou = np.full((images, deepest, most), -1.0)
    ignore = np.ones((images, len(area_ranges), most), bool)
    crowd, never = np.zeros((images, most), bool), np.zeros((images, most), bool)
    for row, pair in enumerate(pairs):
        depth, count = pair.iou.shape
        iou[row, :depth, :count] = pair.iou[:, ::-1]
        ignore[row, :, :count] = _ignored_objects(pair, area_ranges)[:, ::-1]
        crowd[row, :count], never[row, :count] = pair.crowd[::-1], pair.never_found[::-1]
    shape = (images, len(area_ranges), len(thresholds))
    taken = np.zeros((*shape, most), bool)
    found, ignored = np.zeros((*shape, deepest), bool), np.zeros((*shape, deepest), bool)
    least = np.minimum(thresholds, 1 - 1e-10)
    reaches = iou.max(axis=2) >= least.min()
    # An object that counts is better than any that does not, however much that overlaps.
    counts = 2.0 * ~ignore
    for rank in range(deepest):
        rows = np.flatnonzero(reaches[:, rank])
        if rows.size == 0:
            continue
        overlap = iou[rows, rank]
        possible = (overlap[:, None, :] >= least[:, None])[:, None] & ~taken[rows]
        value = np.where(possible, (overlap[:, None] + counts[rows])[:, :, None], -1.0)
        best = value.argmax(axis=3)
        hit = np.take_along_axis(value, best[..., None], 3)[..., 0] >= 0
        image, area, level = np.nonzero(hit)
        chosen = best[image, area, level]
        image = rows[image]
        taken[image, area, level, chosen] = ~crowd[image, chosen]
        found[image, area, level, rank] = ~never[image, chosen]
        ignored[image, area, level, rank] = ignore[image, area, chosen]
    return found, ignored
