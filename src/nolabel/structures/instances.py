"""Objects with masks, boxes, scores and classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.labels import BINARY_2, LabelSpace
from nolabel.structures._checks import as_tensor, integer_map, need_shape
from nolabel.structures._result import Result, destination
from nolabel.structures.files import write_json, write_png
from nolabel.structures.pictures import Picture, blend, boundaries, instance_colours
from nolabel.structures.rle import RLE, areas, boxes_xyxy, decode, encode_ids, encode_masks

__all__ = ["Instances"]

Selection = int | slice | Sequence[int] | Sequence[bool] | Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class Instances(Result):
    """N objects of one image; masks are run-length encoded, so hundreds of them on a large image stay small.

    ``instances[3]``, ``instances[1:4]``, ``instances[instances.scores > 0.5]`` and
    ``instances[instances.classes == 2]`` give the chosen ones, in the order asked for.

    Args:
        masks: N compressed RLEs (``{"size": [H, W], "counts": bytes}``), or an id map (H, W) with ids 1..N
            (0 = none), or dense (N, H, W) booleans, which are encoded.
        boxes: (N, 4) XYXY pixels, maxima exclusive; by default the tight boxes of the masks.
        scores: (N,); 1 by default.
        classes: (N,) labels of ``space``; by default all ``object`` of ``BINARY_2``.
        size: (height, width); by default that of the masks, needed where there are none.
        space: what the classes mean.

    Raises:
        DataError: shapes, counts or classes that do not fit.
    """

    masks: Any
    boxes: Any = None
    scores: Any = None
    classes: Any = None
    size: tuple[int, int] | None = None
    space: LabelSpace = BINARY_2

    def __post_init__(self) -> None:
        masks, size = _encoded(self.masks, self.size)
        count = len(masks)
        boxes = boxes_xyxy(masks) if self.boxes is None else as_tensor(self.boxes, "boxes").float()
        scores = torch.ones(count) if self.scores is None else as_tensor(self.scores, "scores").float()
        if self.classes is None:
            # Without classes there is one kind of object: the only or last thing of the space.
            classes = torch.full((count,), (self.space.things or (0,))[-1])
        else:
            classes = as_tensor(self.classes, "classes")
        if count == 0:  # an empty list carries no shape
            boxes, scores, classes = boxes.reshape(-1, 4), scores.reshape(-1), classes.reshape(-1).long()
        need_shape(boxes, "boxes", (count, 4))
        need_shape(scores, "scores", (count,))
        classes = integer_map(classes, "classes", (count,))
        if bool(((classes < 0) | (classes >= self.space.num_classes)).any()):
            raise DataError(
                f"classes: expected 0..{self.space.num_classes - 1} of {self.space.name!r}, "
                f"found {sorted(set(classes.tolist()))}"
            )
        values = {"masks": masks, "size": size, "boxes": boxes, "scores": scores, "classes": classes}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.masks)

    def __iter__(self) -> Iterator[Instances]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, selection: Selection) -> Instances:
        indices = _indices(selection, len(self))
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return Instances(
            [self.masks[i] for i in indices],
            self.boxes[chosen],
            self.scores[chosen],
            self.classes[chosen],
            self.size,
            self.space,
        )

    def of_class(self, label: int | str) -> Instances:
        """The objects of one class, given by label or name."""
        label = self.space.index(label) if isinstance(label, str) else label
        return self[self.classes == label]

    @property
    def areas(self) -> Tensor:
        """(N,) int64: the pixels of each mask."""
        return areas(self.masks)

    def mask(self, index: int) -> Tensor:
        """One mask, (H, W) bool."""
        return decode(self.masks[index])

    def dense(self) -> Tensor:
        """All masks, (N, H, W) bool. Memory grows with N H W: prefer :meth:`id_map` on large images."""
        assert self.size is not None
        return (
            torch.stack([decode(mask) for mask in self.masks])
            if len(self)
            else torch.zeros(0, *self.size) > 0
        )

    def id_map(self) -> Tensor:
        """(H, W) int64: 0 where no object is, else 1 + the index of the object with the highest score there."""
        assert self.size is not None
        canvas = torch.zeros(self.size, dtype=torch.long)
        for index in torch.argsort(self.scores, stable=True, descending=True).flip(0).tolist():
            canvas[decode(self.masks[index])] = index + 1
        return canvas

    def colours(self) -> Picture:
        """Every object in its own colour, (H, W, 3) uint8; no object is black."""
        return instance_colours(self.id_map())

    def overlay(self, image: Any, alpha: float = 0.6) -> Picture:
        """The objects over an image with dark outlines, (H, W, 3) uint8."""
        ids = self.id_map()
        picture = blend(image, instance_colours(ids), alpha, (ids > 0).numpy())
        picture[boundaries(ids)] = 0
        return picture

    def save(self, path: str | Path, stem: str | None = None) -> list[Path]:
        """Write ``<stem>_instance.png`` (16-bit id map) and ``<stem>_detection.json`` (COCO)."""
        from nolabel.structures.coco import coco_detection_json

        folder, stem = destination(path, stem)
        return [
            write_png(folder / f"{stem}_instance.png", self.id_map().numpy().astype(np.uint16)),
            write_json(folder / f"{stem}_detection.json", coco_detection_json([(stem, self)], self.space)),
        ]


def _encoded(masks: Any, size: tuple[int, int] | None) -> tuple[list[RLE], tuple[int, int]]:
    """Bring any of the accepted forms of masks to RLEs and find their size."""
    if isinstance(masks, list | tuple) and all(isinstance(mask, dict) for mask in masks):
        encoded = list(masks)
        sizes = {(int(mask["size"][0]), int(mask["size"][1])) for mask in encoded}
    else:
        tensor = as_tensor(masks, "masks")
        if tensor.ndim == 2:
            tensor = integer_map(tensor, "masks")
            if tensor.numel() and int(tensor.min()) < 0:
                raise DataError(f"masks: an id map holds 0 and 1..N, found {int(tensor.min())}")
            count = int(tensor.max()) if tensor.numel() else 0
            encoded = encode_ids(tensor, range(1, count + 1))
        else:
            encoded = encode_masks(need_shape(tensor, "masks", ("N", "H", "W")) != 0)
        sizes = {(int(tensor.shape[-2]), int(tensor.shape[-1]))}
    if size is not None:
        sizes.add((int(size[0]), int(size[1])))
    if len(sizes) != 1:
        raise DataError(
            f"masks: expected one size, got {sorted(sizes)}" if sizes else "no masks and no size were given",
            hint="pass size=(height, width)",
        )
    return encoded, sizes.pop()


def _indices(selection: Selection, count: int) -> list[int]:
    """The chosen positions 0..count-1; IndexError outside, as for a list."""
    if isinstance(selection, int | np.integer):
        return [range(count)[int(selection)]]
    if isinstance(selection, slice):
        return list(range(count)[selection])
    chosen = torch.as_tensor(selection)
    if chosen.dtype == torch.bool:
        need_shape(chosen, "selection", (count,))
        return chosen.nonzero()[:, 0].tolist()
    return [range(count)[i] for i in chosen.reshape(-1).tolist()]
