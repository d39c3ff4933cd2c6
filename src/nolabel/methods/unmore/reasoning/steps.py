"""What happened to the boxes of a scene, step by step, for pictures of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.methods.unmore.reasoning.crops import Boxes

__all__ = ["Recorder", "Step", "Watcher"]

Watcher = Callable[[str, Boxes, Tensor | None], None]
"""Takes a step's name, its boxes and their labels (-1 dropped, 0 open, 1 found; None: all open)."""


@dataclass(frozen=True)
class Step:
    """One step of one scene: name, boxes (N, 4) float32 and labels (N,) int64 as of :data:`Watcher`."""

    name: str
    boxes: Tensor
    labels: Tensor


class Recorder:
    """Keeps the steps of every scene, on the CPU."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, Boxes, Tensor]] = []

    def __call__(self, name: str, boxes: Boxes, labels: Tensor | None = None) -> None:
        """Keep a step."""
        labels = torch.zeros_like(boxes.scene) if labels is None else labels
        self._steps.append((name, Boxes(boxes.corners.float().cpu(), boxes.scene.cpu()), labels.cpu()))

    def steps(self, scene: int = 0) -> list[Step]:
        """The steps of one scene."""
        return [
            Step(name, boxes.corners[boxes.scene == scene], labels[boxes.scene == scene])
            for name, boxes, labels in self._steps
        ]
