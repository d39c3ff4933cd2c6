"""Reasoning as plainly as it is described, one box after the other: what the fast form is compared with.

Every crop is cut out and resized on its own; all boxes are looked at in all rounds, with both heads, in the original's
batches; erosion and the anti-centre map are convolutions in float64. Written from the unMORE specification, section 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torchvision.ops import nms

from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessMaps, ObjectnessNetwork

__all__ = ["PlainReasoning"]

Box = list[float]


@dataclass
class PlainReasoning:
    """Finds boxes in one image with published settings; ``calls`` and ``crops`` count what the networks were shown."""

    image: Tensor
    objectness: ObjectnessNetwork
    existence: ExistenceNetwork
    rounds: int = 50
    reference_compat: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    crops: dict[str, int] = field(default_factory=dict)

    def find(self) -> Tensor:
        """All of reasoning: boxes (N, 4) float32."""
        boxes = [box for box, p in self._with_existence(self.proposals()) if p >= 0.1]
        passed, split = self.centre_reasoning(boxes)
        split = [box for box, p in self._with_existence(split) if p >= 0.1]
        if split:
            passed += self.centre_reasoning(split)[0]
        found = self.boundary_reasoning(passed)
        corners = torch.tensor(found, dtype=torch.float32).reshape(-1, 4)
        return corners[nms(corners, torch.ones(len(corners)), 0.5)]

    def proposals(self) -> list[Box]:
        """The grid."""
        height, width = self.image.shape[-2:]
        boxes = []
        for g in (32, 64, 128, 256, 512):
            for y in range(0, height, g):
                for x in range(0, width, g):
                    for half_width, half_height in ((g, g), (g / 2, g), (g, g / 2)):
                        boxes.append([x - half_width, y - half_height, x + half_width, y + half_height])
        return [self._clipped(box) for box in boxes] + [[0.0, 0.0, float(width), float(height)]]

    def centre_reasoning(self, boxes: list[Box]) -> tuple[list[Box], list[Box]]:
        """Boxes that passed, and parts of the others and of what has several components."""
        passed, split, parts = [], [], []
        for box, maps in zip(boxes, self._maps(boxes, "centre"), strict=True):
            assert maps.boundary is not None and maps.centre is not None
            area = (torch.sigmoid(maps.boundary) > 0.5) | (maps.centre.square().sum(0).sqrt() > 0.5)
            values = plain_anti_centre(maps.centre) * plain_erosion(area).double()
            values[:10] = values[-10:] = 0
            values[:, :10] = values[:, -10:] = 0
            place = int(np.argmax(values.numpy()))
            row, column = divmod(place, values.shape[1])
            if values[row, column] > 0.009:
                x1, y1, x2, y2 = box
                x, y = x1 + (x2 - x1) * column / 128, y1 + (y2 - y1) * row / 128
                split += [[x1, y1, x, y2], [x, y1, x2, y2], [x1, y1, x2, y], [x1, y, x2, y2]]
            else:
                passed.append(box)
                parts += self._components(box, area)
        return passed, split + parts

    def boundary_reasoning(self, boxes: list[Box]) -> list[Box]:
        """Boxes that fit after the last round."""
        labels = [0] * len(boxes)
        for _ in range(self.rounds):
            boxes = [box for box in boxes if (box[2] - box[0]) * (box[3] - box[1]) > 50]
            moved = [self._moved(box, m) for box, m in zip(boxes, self._maps(boxes, "boundary"), strict=True)]
            boxes, labels = [box for box, _ in moved], [label for _, label in moved]
        return [box for box, label in zip(boxes, labels, strict=True) if label == 1]

    def _moved(self, box: Box, maps: ObjectnessMaps) -> tuple[Box, int]:
        boundary = maps.boundary
        assert boundary is not None
        if boundary.max() <= 0.5:
            return [0.0] * 4, -1
        wanted = plain_moves(boundary)
        height, width = self.image.shape[-2:]
        left, top, right, bottom = self._pixels(box)
        at_edge = (left == 0, top == 0, right == width, bottom == height)
        tested = [0.0 if edge and d > 0 else d for edge, d in zip(at_edge, wanted, strict=True)]
        if max(tested) <= 0 and min(tested) >= -16:
            return torch.tensor(self._clipped(box)).tolist(), 1
        steps = [d + 0.5 * abs(d) for d in wanted]
        w, h = box[2] - box[0], box[3] - box[1]
        sides = zip(box, (-1, -1, 1, 1), steps, (w, h, w, h), strict=True)
        new = [value + sign * step * side / 128 for value, sign, step, side in sides]
        return torch.tensor(self._clipped(new)).tolist(), 0  # through float32

    def _components(self, box: Box, area: Tensor) -> list[Box]:
        labels, count = ndimage.label(area.numpy(), structure=np.ones((3, 3)))
        if count < 2:
            return []
        left, top, right, bottom = self._pixels(box)
        boxes = []
        for rows, columns in ndimage.find_objects(labels):
            part = [columns.start, rows.start, columns.stop, rows.stop]
            if not self.reference_compat:
                across, down = (right - left) / 128, (bottom - top) / 128
                part = [
                    left + part[0] * across,
                    top + part[1] * down,
                    left + part[2] * across,
                    top + part[3] * down,
                ]
            x, y = (part[0] + part[2]) / 2, (part[1] + part[3]) / 2
            half_w, half_h = (part[2] - part[0]) * 0.75, (part[3] - part[1]) * 0.75
            new = self._clipped([x - half_w, y - half_h, x + half_w, y + half_h])
            new = [float(int(value)) for value in new]
            if (
                new[2] > new[0] and new[3] > new[1]
            ):  # un-mapped ones may lie outside, where the original crashes
                boxes.append(new)
        return boxes

    def _with_existence(self, boxes: list[Box]) -> list[tuple[Box, float]]:
        probabilities = [p for batch in self._crops(boxes, 128, "existence") for p in self.existence(batch)]
        return list(zip(boxes, map(float, probabilities), strict=True))

    def _maps(self, boxes: list[Box], question: str) -> list[ObjectnessMaps]:
        found = []
        for batch in self._crops(boxes, 50, question):
            maps = self.objectness(batch, boundary=True, centre=True)
            assert maps.boundary is not None and maps.centre is not None
            found += [ObjectnessMaps(b, c) for b, c in zip(maps.boundary, maps.centre, strict=True)]
        return found

    def _crops(self, boxes: list[Box], size: int, question: str) -> list[Tensor]:
        crops = [self._crop(box) for box in boxes]
        batches = [torch.stack(crops[i : i + size]) for i in range(0, len(crops), size)]
        self.calls[question] = self.calls.get(question, 0) + len(batches)
        self.crops[question] = self.crops.get(question, 0) + len(crops)
        return batches

    def _crop(self, box: Box) -> Tensor:
        left, top, right, bottom = self._pixels(box)
        return functional.interpolate(
            self.image[None, :, top:bottom, left:right], (128, 128), mode="bilinear", align_corners=False
        )[0]

    def _pixels(self, box: Box) -> tuple[int, int, int, int]:
        return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])

    def _clipped(self, box: Box) -> Box:
        height, width = self.image.shape[-2:]
        limits = (width, height, width, height)
        return [float(min(max(value, 0), limit)) for value, limit in zip(box, limits, strict=True)]


def plain_anti_centre(centre: Tensor) -> Tensor:
    """The correlation with the 25 vectors, (S, S) float64."""
    kernel = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    for i in range(5):
        for j in range(5):
            length = math.hypot(2 - i, 2 - j)
            if length:
                kernel[0, :, i, j] = torch.tensor([2 - i, 2 - j], dtype=torch.float64) / length
    return functional.conv2d(centre[None].double(), kernel, padding=2)[0, 0] / 24


def plain_erosion(mask: Tensor) -> Tensor:
    """Three erosions by a 9 x 9 square, (S, S) bool."""
    square = torch.ones(1, 1, 9, 9, dtype=torch.float64)
    for _ in range(3):
        mask = functional.conv2d(mask[None, None].double(), square, padding=4)[0, 0] >= 81
    return mask


def plain_moves(boundary: Tensor) -> list[float]:
    """How far the boundary is outside the left, top, right and bottom side."""
    inner = boundary[:-1, :-1]
    slope = torch.sqrt((boundary[1:, :-1] - inner) ** 2 + (boundary[:-1, 1:] - inner) ** 2)
    inside = torch.sigmoid(inner)
    step = torch.zeros_like(inner)
    for weight in (inside, 1 - inside):
        step += weight / ((weight * slope).sum() / (weight.sum() + 1e-8) + 1e-10)
    move = step * inner
    sides = [move[:, 0], move[0], move[:, -1], move[-1]]
    return [float(side.max()) for side in sides]
