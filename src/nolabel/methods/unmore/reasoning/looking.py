"""Showing crops to the networks: in full batches, identical crops once, only the heads that are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nolabel.methods.unmore.reasoning.crops import Scenes
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessMaps, ObjectnessNetwork

__all__ = ["Counts", "Eyes", "Memory", "same_once"]


@dataclass
class Counts:
    """What looking has cost.

    Attributes:
        calls: calls of a network by what was asked: ``existence``, ``centre``, ``boundary``, ``scores``.
        crops: crops shown in them.
        boxes: boxes asked about; those whose crop was seen before cost nothing.
    """

    calls: dict[str, int] = field(default_factory=dict)
    crops: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, int] = field(default_factory=dict)

    def add(self, question: str, *, calls: int = 0, crops: int = 0, boxes: int = 0) -> None:
        """Book a look."""
        for book, value in ((self.calls, calls), (self.crops, crops), (self.boxes, boxes)):
            book[question] = book.get(question, 0) + value


def same_once(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The first position of each different key, in order, and for each key its place in that list."""
    different, inverse = torch.unique(keys, return_inverse=True)
    places = torch.arange(len(keys), device=keys.device)
    first = torch.full_like(different, len(keys)).scatter_reduce(0, inverse, places, "amin")
    order = torch.argsort(first)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=keys.device)
    return first[order], rank[inverse]


class Eyes:
    """The networks, looking at scenes.

    Args:
        scenes: the images.
        objectness, existence: the networks, on the scenes' device, in evaluation mode.
        settings: batch size and precision.
        counts: where to book; anew by default.
    """

    def __init__(
        self,
        scenes: Scenes,
        objectness: ObjectnessNetwork,
        existence: ExistenceNetwork,
        settings: ReasoningSettings,
        counts: Counts | None = None,
    ) -> None:
        self.scenes, self.counts = scenes, Counts() if counts is None else counts
        self._objectness, self._existence, self._settings = objectness, existence, settings

    def probabilities(self, rectangles: Tensor, question: str = "existence") -> Tensor:
        """The probability that there is an object in each rectangle, (N,) float32."""
        first, inverse = same_once(self.scenes.keys(rectangles))
        self.counts.add(question, boxes=len(rectangles))
        found = [torch.zeros(0, device=self.scenes.device)]
        for crops in self._crops(rectangles[first], question):
            with self._arithmetic():
                found.append(self._existence(crops).reshape(-1).float())
        return torch.cat(found)[inverse]

    def maps(
        self, rectangles: Tensor, question: str, *, boundary: bool = True, centre: bool = True
    ) -> Iterator[ObjectnessMaps]:
        """The objectness network's maps of rectangles (all different), batch by batch, float32."""
        for crops in self._crops(rectangles, question):
            with self._arithmetic():
                seen = self._objectness(crops, boundary=boundary, centre=centre)
            yield ObjectnessMaps(
                None if seen.boundary is None else seen.boundary.float(),
                None if seen.centre is None else seen.centre.float(),
            )

    def _crops(self, rectangles: Tensor, question: str) -> Iterator[Tensor]:
        for batch in rectangles.split(self._settings.batch_size) if len(rectangles) else ():
            self.counts.add(question, calls=1, crops=len(batch))
            yield self.scenes.crops(batch)

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self._settings.precision == "float32":
            return nullcontext()
        kind = getattr(torch, self._settings.precision)
        return torch.autocast(self.scenes.device.type, dtype=kind)


class Memory:
    """What was found in rectangles, (N, C) for each, remembered so that no rectangle is looked at twice.

    Args:
        scenes: whose rectangles.
        look: finds the values of rectangles that are all different, (N, 5) -> (N, C).
    """

    def __init__(self, scenes: Scenes, look: Callable[[Tensor], Tensor]) -> None:
        self._scenes, self._look = scenes, look
        self._keys = torch.zeros(0, dtype=torch.long, device=scenes.device)
        self._values: Tensor | None = None

    def __call__(self, rectangles: Tensor) -> Tensor:
        """The values of rectangles (N, 5), at least one."""
        keys = self._scenes.keys(rectangles)
        new = ~torch.isin(keys, self._keys)
        if bool(new.any()):
            first, _ = same_once(keys[new])
            found = self._look(rectangles[new][first])
            values = found if self._values is None else torch.cat([self._values, found])
            self._keys, order = torch.cat([self._keys, keys[new][first]]).sort()
            self._values = values[order]
        assert self._values is not None
        return self._values[torch.searchsorted(self._keys, keys)]
