"""A class for every pixel and an id for every object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import VOID, LabelSpace, cityscapes_label_ids, raw_table
from nolabel.structures._checks import distinct, integer_map, need_labels_of
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_json, write_png
from nolabel.structures.instances import Instances
from nolabel.structures.pictures import Picture, blend, boundaries
from nolabel.structures.rle import encode_ids
from nolabel.structures.semantic import SemanticMap

__all__ = ["PanopticMap", "Segment"]


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map.

    Args:
        id: its value in the segment map, 1..S.
        label: its class.
        instance: its instance id, 0 for stuff and for groups of things that were not told apart.
        area: pixels.
        box: XYXY pixels, maxima exclusive.
        is_thing: whether its class is countable.
        score: confidence of the object, where known.
    """

    id: int
    label: int
    instance: int
    area: int
    box: tuple[int, int, int, int]
    is_thing: bool
    score: float | None = None

    @property
    def is_crowd(self) -> bool:
        """Whether it is a group of things without instance ids."""
        return self.is_thing and self.instance == 0


@dataclass(frozen=True, eq=False)
class PanopticMap(Result):
    """A panoptic segmentation.

    Args:
        semantic: (H, W) labels of ``space``, 255 void; stored as int64.
        instance: (H, W) instance ids, 0 = none, unique over the image; stored as int64.
        space: what the labels mean.
        scores: instance id -> confidence.

    Raises:
        DataError: shapes that differ, labels outside the space, negative ids, scores of unknown ids.
    """

    semantic: Tensor
    instance: Tensor
    space: LabelSpace
    scores: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        semantic = integer_map(self.semantic, "semantic")
        need_labels_of(semantic, "semantic", self.space.num_classes, self.space.name)
        instance = integer_map(self.instance, "instance", tuple(semantic.shape))
        if instance.numel() and int(instance.min()) < 0:
            raise DataError(f"instance: expected ids >= 0, found {int(instance.min())}")
        object.__setattr__(self, "semantic", semantic)
        object.__setattr__(self, "instance", instance)
        if self.scores is not None:
            scores = {int(key): float(value) for key, value in self.scores.items()}
            unknown = sorted(set(scores) - set(distinct(instance)[0].tolist()))
            if unknown:
                raise DataError(f"scores: the instance map has no ids {unknown[:5]}")
            object.__setattr__(self, "scores", scores)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.semantic.shape[0], self.semantic.shape[1]

    def segments(self) -> tuple[Tensor, list[Segment]]:
        """Number the segments: every pair of class and instance id is one, void is none.

        Returns:
            (H, W) int64 segment ids, 0 = void, and the segments with ids 1..S, ordered by class, then instance.
        """
        stride = int(self.instance.max()) + 1 if self.instance.numel() else 1
        key = torch.where(self.semantic == VOID, -1, self.semantic * stride + self.instance)
        values, inverse = distinct(key)
        has_void = bool(len(values)) and int(values[0]) < 0
        ids = inverse if has_void else inverse + 1
        count = len(values) - has_void
        area = torch.bincount(ids.reshape(-1), minlength=count + 1)[1:].tolist()
        boxes = _tight_boxes(ids, count)
        things = set(self.space.things)
        scores = self.scores or {}
        segments = []
        for i, value in enumerate(values[int(has_void) :].tolist()):
            label, instance = divmod(value, stride)
            segments.append(
                Segment(i + 1, label, instance, area[i], boxes[i], label in things, scores.get(instance))
            )
        return ids, segments

    @classmethod
    def from_segments(cls, ids: Any, segments: Sequence[Segment], space: LabelSpace) -> PanopticMap:
        """The inverse of :meth:`segments`: ids that no segment has become void.

        Things that share an instance id (or have none but are no group) are told apart by their segment.

        Raises:
            DataError: negative ids, or a label outside the space.
        """
        id_map = integer_map(ids, "ids")
        if id_map.numel() and int(id_map.min()) < 0:
            raise DataError(f"ids: expected segment ids >= 0, found {int(id_map.min())}")
        known = torch.tensor([0, *(segment.id for segment in segments)])
        order = torch.argsort(known)
        known = known[order]
        labels = torch.tensor([VOID, *(segment.label for segment in segments)])[order]
        instances = torch.tensor([0, *(segment.instance for segment in segments)])[order]
        # Ids may be as large as 2^24 (COCO's colours), so positions are searched, not indexed.
        position = torch.searchsorted(known, id_map).clamp(max=len(known) - 1)
        found = known[position] == id_map
        scores = {s.instance: s.score for s in segments if s.score is not None and s.instance > 0}
        instance = torch.where(found, instances[position], 0)
        present = set(distinct(instance)[0].tolist())
        return cls(
            torch.where(found, labels[position], VOID),
            instance,
            space,
            {key: value for key, value in scores.items() if key in present} or None,
        )

    @classmethod
    def from_cityscapes(cls, instance_ids: Any, space: LabelSpace) -> PanopticMap:
        """Read the values of a Cityscapes ``instanceIds`` map.

        v < 1000: stuff or a group (label id v); v >= 1000: label id v // 1000, one object. Instance ids are
        renumbered 1..N in ascending order of the values >= 24000 (spec 3.1; the rule of CUPS).
        """
        values = integer_map(instance_ids, "instance ids")
        table = torch.from_numpy(raw_table("cityscapes", space).astype(np.int64))
        label_ids = torch.where(values >= 1000, values // 1000, values).clamp(-1, 255)
        _, inverse = torch.unique(torch.where(values >= 24000, values, -1), return_inverse=True)
        instance = inverse if bool((values < 24000).any()) else inverse + 1
        return cls(table[label_ids], instance, space)

    def cityscapes_ids(self) -> Tensor:
        """The values of a Cityscapes ``instanceIds`` map, (H, W) int64.

        Objects of a class are numbered from 0 in ascending order of their ids: label id * 1000 + number.

        Raises:
            ConfigError: the space is not of the Cityscapes family.
            DataError: more than 1000 objects of one class.
        """
        label_ids = cityscapes_label_ids(self.space).astype(np.int64)
        ids, segments = self.segments()
        values = torch.zeros(len(segments) + 1, dtype=torch.long)
        counts: dict[int, int] = {}
        for segment in segments:
            value = int(label_ids[segment.label])
            if segment.is_thing and segment.instance > 0:
                number = counts.setdefault(segment.label, 0)
                if number >= 1000:
                    raise DataError(f"more than 1000 objects of class {self.space.names[segment.label]!r}")
                counts[segment.label] = number + 1
                value = value * 1000 + number
            values[segment.id] = value
        return values[ids]

    def semantic_map(self) -> SemanticMap:
        """The classes alone."""
        return SemanticMap(self.semantic, self.space)

    def instances(self) -> Instances:
        """The objects alone (things with an instance id), in ascending order of class, then id."""
        ids, segments = self.segments()
        objects = [segment for segment in segments if segment.is_thing and segment.instance > 0]
        return Instances(
            encode_ids(ids, [segment.id for segment in objects]),
            torch.tensor([segment.box for segment in objects]).reshape(-1, 4),
            torch.tensor([1.0 if segment.score is None else segment.score for segment in objects]),
            torch.tensor([segment.label for segment in objects], dtype=torch.long),
            self.size,
            self.space,
        )

    def colours(self) -> Picture:
        """(H, W, 3) uint8: classes in their colours, each object in its own shade of it; void is black.

        The shade depends on the instance id alone, so an object keeps it over a video with stable ids.
        """
        base = self.space.palette[self.semantic.numpy()].astype(np.int16)
        shade = _SHADES[self.instance.numpy() % len(_SHADES)]
        coloured = ((self.instance > 0) & (self.semantic != VOID)).numpy()[..., None]
        return np.clip(np.where(coloured, base + shade, base), 0, 255).astype(np.uint8)

    def overlay(self, image: Any, alpha: float = 0.6) -> Picture:
        """The colours over an image with white outlines of objects, (H, W, 3) uint8; void shows the image."""
        picture = blend(image, self.colours(), alpha, (self.semantic != VOID).numpy())
        picture[boundaries(self.instance)] = 255
        return picture

    def instance_png(self) -> np.ndarray:
        """The instance ids as a PNG holds them, (H, W) uint16.

        Raises:
            DataError: an id above 65535.
        """
        if self.instance.numel() and int(self.instance.max()) > 65535:
            raise DataError(f"instance: ids up to 65535 fit into 16 bits, found {int(self.instance.max())}")
        return self.instance.numpy().astype(np.uint16)

    def save(self, path: str | Path, stem: str | None = None) -> list[Path]:
        """Write the files annotation tools and trainers read.

        ``<stem>_semantic.png`` (8 bits, value = label, palette), ``<stem>_instance.png`` (16 bits, value =
        instance id), ``<stem>_panoptic.png`` and ``<stem>_panoptic.json`` (COCO panoptic of this image).
        """
        from nolabel.structures.coco import coco_panoptic_json, segment_png

        folder, stem = destination(path, stem)
        instances = self.instance_png()  # refuses before anything is written
        name = f"{stem}_panoptic.png"
        return [
            *self.semantic_map().save(folder, stem),
            write_png(folder / f"{stem}_instance.png", instances),
            write_png(folder / name, segment_png(self)),
            write_json(
                folder / f"{stem}_panoptic.json", coco_panoptic_json([(stem, self)], self.space, name)
            ),
        ]


def _tight_boxes(ids: Tensor, count: int) -> list[tuple[int, int, int, int]]:
    """XYXY boxes (maxima exclusive) of the ids 1..count of a map."""
    if ids.numel() == 0:
        return []
    sides = []
    for axis in (
        1,
        0,
    ):  # columns, then rows: where each id occurs, counted instead of compared pixel by pixel
        length = ids.shape[axis]
        place = torch.arange(length) if axis == 1 else torch.arange(length)[:, None]
        there = torch.bincount((ids * length + place).reshape(-1), minlength=(count + 1) * length)
        there = there.reshape(count + 1, length)[1:] > 0
        first, last = there.int().argmax(1), length - there.flip(1).int().argmax(1)
        sides.append((first.tolist(), last.tolist()))
    (left, right), (top, bottom) = sides
    return list(zip(left, top, right, bottom, strict=True))


def _shades() -> np.ndarray:
    """(256, 3) offsets, a fixed low-discrepancy sequence in a cube; neighbouring ids lie far apart."""
    steps = np.arange(256)[:, None] * np.array([0.8191725134, 0.6710436067, 0.5497004779])  # R3 sequence
    return ((steps % 1.0 - 0.5) * 110).astype(np.int16)


_SHADES = _shades()
