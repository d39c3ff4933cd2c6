"""Instance ids that stay the same over the frames of a video.

Every frame's objects are linked with those of the frames before by the overlap of their masks, as they were or moved
on at the track's last speed (the better of both): tracks and objects are paired one to one so that the sum of the IoUs
is largest. A track that finds no partner is kept for a few frames and may be taken up again. All overlaps with one
remembered frame come from a count over pairs of ids.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.structures import PanopticMap

__all__ = ["InstanceTracker"]

LARGEST_ID = 65535  # instance maps are written with 16 bits


@dataclass
class _Frame:
    """A frame that was seen: its number, (H, W) object numbers 0 = none, 1..n, and of each object (entry 0 is unused)
    its class, centre (row, column), speed in pixels per frame, track, and whether the track was last seen here."""

    time: int
    objects: Tensor
    labels: np.ndarray
    centres: np.ndarray
    speeds: np.ndarray
    tracks: np.ndarray
    latest: np.ndarray


class InstanceTracker:
    """Renumbers the instances of successive frames: an object keeps its id, and thereby its colour.

    Ids count up from 1 over the whole video and are unique over classes. After 65535 (what a 16-bit PNG holds) the
    count starts again with ids that no live track has. A frame of another size starts new tracks.

    Args:
        min_iou: overlap of an object with a track's last mask, from which they may be linked, in (0, 1]. It is low,
            because a thin object may move by most of its width before its speed is known.
        patience: missed frames after which a track ends.
        same_class: whether a track keeps its class; without it, an object whose class flickers stays one object.

    Raises:
        ConfigError: a value out of range.
    """

    def __init__(self, *, min_iou: float = 0.1, patience: int = 3, same_class: bool = True) -> None:
        if not 0 < min_iou <= 1:
            raise ConfigError(f"min_iou must be in (0, 1], not {min_iou}")
        if patience < 0:
            raise ConfigError(f"patience must be 0 or more frames, not {patience}")
        self.min_iou, self.patience, self.same_class = min_iou, patience, same_class
        self._seen: deque[_Frame] = deque(maxlen=patience + 1)
        self._last_id = 0
        self._time = 0

    def update(self, result: PanopticMap) -> PanopticMap:
        """Return the next frame with the ids of its tracks; classes, stuff and scores stay."""
        objects, labels, instances = _objects_of(result)
        if self._seen and self._seen[-1].objects.shape != objects.shape:
            self._seen.clear()
        self._time += 1
        count = len(labels)
        latest = np.arange(count) > 0
        frame = _Frame(
            self._time, objects, labels, _centres(objects, count), np.zeros((count, 2)),
            np.zeros(count, dtype=np.int64), latest,
        )  # fmt: skip
        self._link(frame)
        self._seen.append(frame)
        tracks = frame.tracks
        table = torch.from_numpy(tracks)
        scores = result.scores
        if scores is not None:
            pairs = zip(instances[1:].tolist(), tracks[1:].tolist(), strict=True)
            scores = {track: scores[instance] for instance, track in pairs if instance in scores}
        return PanopticMap(result.semantic, table[objects.long()], result.space, scores)

    def _link(self, frame: _Frame) -> None:
        """Give every object its track and speed, and take the found tracks off their older frames."""
        labels, tracks = frame.labels, frame.tracks
        candidates = [(seen, np.flatnonzero(seen.latest)) for seen in self._seen if seen.latest.any()]
        if len(tracks) > 1 and candidates:
            overlap = np.concatenate([_overlaps(frame, seen, alive) for seen, alive in candidates], axis=1)
            if self.same_class:
                classes = np.concatenate([seen.labels[alive] for seen, alive in candidates])
                overlap[labels[1:, None] != classes[None]] = 0
            overlap[overlap < self.min_iou] = 0
            owners = [(seen, index) for seen, alive in candidates for index in alive]
            for row, column in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
                if overlap[row, column] > 0:
                    seen, index = owners[column]
                    tracks[row + 1] = seen.tracks[index]
                    moved = frame.centres[row + 1] - seen.centres[index]
                    frame.speeds[row + 1] = moved / (frame.time - seen.time)
                    seen.latest[index] = False
        new = np.flatnonzero(tracks[1:] == 0) + 1
        tracks[new] = self._new_ids(len(new), set(tracks.tolist()))

    def _new_ids(self, count: int, taken: set[int]) -> list[int]:
        alive = {int(track) for frame in self._seen for track in frame.tracks[frame.latest]} | taken
        fresh: list[int] = []
        while len(fresh) < count:
            self._last_id = self._last_id % LARGEST_ID + 1
            if self._last_id not in alive:
                fresh.append(self._last_id)
        return fresh


def _objects_of(result: PanopticMap) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Number the objects of a frame.

    Returns:
        (H, W) int32 object numbers, 0 = none; class and instance id of every object (n + 1,), entry 0 unused.
    """
    ids, segments = result.segments()
    found = [segment for segment in segments if segment.is_thing and segment.instance > 0]
    number = torch.zeros(len(segments) + 1, dtype=torch.int32)
    number[torch.tensor([segment.id for segment in found], dtype=torch.long)] = torch.arange(
        1, len(found) + 1, dtype=torch.int32
    )
    labels = np.array([-1, *(segment.label for segment in found)], dtype=np.int64)
    return number[ids], labels, np.array([0, *(segment.instance for segment in found)], dtype=np.int64)


def _centres(objects: Tensor, count: int) -> np.ndarray:
    """Centre of gravity (row, column) of every object, (count, 2) pixels."""
    rows, columns = objects.nonzero().double().unbind(dim=1)
    owner = objects[objects > 0].long()
    area = torch.bincount(owner, minlength=count).clamp(min=1)
    sums = [torch.bincount(owner, weights=axis, minlength=count) for axis in (rows, columns)]
    return (torch.stack(sums, dim=1) / area[:, None]).numpy()


def _overlaps(frame: _Frame, seen: _Frame, alive: np.ndarray) -> np.ndarray:
    """IoU (n, m) of the objects of a frame with chosen objects of an older one, standing still or moving on."""
    moved = np.rint(seen.speeds[alive] * (frame.time - seen.time)).astype(np.int64)
    still = _moved_overlaps(frame, seen, alive, np.zeros_like(moved))
    return np.maximum(still, _moved_overlaps(frame, seen, alive, moved)) if moved.any() else still


def _moved_overlaps(frame: _Frame, seen: _Frame, alive: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """IoU (n, m) with objects moved by (rows, columns) (m, 2); what leaves the image does not count."""
    height, width = frame.objects.shape
    column = torch.zeros(len(seen.labels), dtype=torch.long)
    column[torch.from_numpy(alive)] = torch.arange(1, len(alive) + 1)
    owner = column[seen.objects.long()]
    place = owner.nonzero()
    owner = owner[place[:, 0], place[:, 1]]
    place = place + torch.from_numpy(moved)[owner - 1]
    inside = ((place >= 0) & (place < torch.tensor([height, width]))).all(dim=1)
    place, owner = place[inside], owner[inside]
    size = (len(frame.labels), len(alive) + 1)
    pairs = frame.objects[place[:, 0], place[:, 1]].long() * size[1] + owner
    common = torch.bincount(pairs, minlength=size[0] * size[1]).reshape(size).double().numpy()
    areas = torch.bincount(frame.objects.reshape(-1).long(), minlength=size[0]).double().numpy()
    union = areas[:, None] + common.sum(0, keepdims=True) - common
    return (common / np.maximum(union, 1))[1:, 1:]
