"""Patches of rare classes: which frames show a class, cutting windows out of them, and reading ahead.

Source: UDASS specification, image 2.6.1, video 5.6 step 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nolabel.data.domains import JoinedLabelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.resizing import resize_image, resize_labels
from nolabel.data.sampling import ClassStatistics
from nolabel.engine.seeding import generator_of
from nolabel.errors import DataError
from nolabel.methods.quadmix.draws import PatchDraw, Plan, draw_windows
from nolabel.methods.quadmix.mixing_config import RareClassesConfig, WindowConfig
from nolabel.models.segmentation.normalise import DEVIATION, MEAN

__all__ = [
    "FrameSource",
    "LabelledFrames",
    "PatchBank",
    "PatchReader",
    "Patches",
    "as_executed_colours",
    "frames_with_class",
    "visible_statistics",
]

TRIES = 100  # draws of one patch; then the best of them is taken


class FrameSource(Protocol):
    """Labelled source frames, all of one size: that of the training, out of which windows are cut."""

    def __len__(self) -> int: ...

    def labels(self, index: int) -> Tensor:
        """Return the training ids (H, W) uint8 of a frame."""

    def image(self, index: int) -> Tensor:
        """Return the picture (3, H, W) uint8 of a frame."""


class LabelledFrames:
    """The images of a labelled data set, resized.

    Args:
        dataset: where from.
        size: height and width to resize to.
    """

    def __init__(self, dataset: LabelledDataset | JoinedLabelled, size: tuple[int, int]) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset)

    def labels(self, index: int) -> Tensor:
        """Return the training ids (H, W) uint8."""
        return resize_labels(self.dataset.read_labels(index), self.size)

    def image(self, index: int) -> Tensor:
        """Return the picture (3, H, W) uint8."""
        return resize_image(self.dataset.read_image(index), self.size)


class PatchSet(NamedTuple):
    """The patches of one composite: frames (B, n, 3, H, W) in [0, 1] and masks (B, n, H, W) bool."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Patches:
    """The patches of an iteration.

    Attributes:
        classes: n training ids, in the order of pasting.
        frames: (K, B, n, 3, H, W) uint8; K = 2 composites, or 1 where both get the same.
        masks: (K, B, n, H, W) bool: the pixels of the class.
    """

    classes: tuple[int, ...]
    frames: Tensor
    masks: Tensor

    def to(self, device: torch.device | str) -> Patches:
        """Return the patches on a device."""
        frames, masks = (part.to(device, non_blocking=True) for part in (self.frames, self.masks))
        return Patches(self.classes, frames, masks)

    def of(self, composite: int, *, reference_compat: bool = False) -> PatchSet:
        """Return the patches of one composite, in the colours of :func:`as_executed_colours` on request."""
        frames = self.frames[composite].float() / 255
        return PatchSet(as_executed_colours(frames) if reference_compat else frames, self.masks[composite])


def as_executed_colours(frames: Tensor) -> Tensor:
    """Return the colours that give the network what UDASS gave it for rare patches of images.

    It took (v - mean) / 255 with channels blue, green, red and means of red, green, blue, and left out the division by
    the standard deviation.

    Args:
        frames: (..., 3, H, W) RGB in [0, 1].

    Returns:
        The same shape; after the network's own normalisation, the values described.
    """
    mean, deviation = (
        torch.tensor(values, device=frames.device)[:, None, None] / 255 for values in (MEAN, DEVIATION)
    )
    return (frames.flip(-3) - mean) * deviation + mean


def frames_with_class(statistics: ClassStatistics, rare: RareClassesConfig) -> dict[int, Tensor]:
    """Return, for each rare class, the positions of the frames that have enough pixels of it, ascending.

    Args:
        statistics: pixels of every class in every frame, where windows reach (:func:`visible_statistics`).
        rare: classes and limits. Classes without a frame are left out.
    """
    index = {
        c: (statistics.pixels[:, c] > rare.least(c)).nonzero()[:, 0]
        for c in sorted(set(rare.classes))
        if c < statistics.pixels.shape[1]
    }
    return {c: frames for c, frames in index.items() if len(frames)}


def visible_statistics(
    source: FrameSource, names: list[str], num_classes: int, window: WindowConfig | None = None
) -> ClassStatistics:
    """Count the classes of all frames, only where a window can lie.

    Args:
        source: the frames.
        names: of them.
        num_classes: training ids from here on are not counted.
        window: where windows lie; None: anywhere.
    """

    def visible(labels: Tensor) -> Tensor:
        if window is None:
            return labels
        for axis, limits in enumerate((window.rows, window.columns)):
            if limits is not None:
                stop = min(limits[1] + window.size[axis], labels.shape[axis])
                labels = labels.narrow(axis, limits[0], stop - limits[0])
        return labels

    maps = ((name, visible(source.labels(index))) for index, name in enumerate(names))
    return ClassStatistics.of(maps, num_classes)


class PatchBank:
    """Draws and reads patches.

    Args:
        source: the labelled frames.
        index: frames of each class (:func:`frames_with_class`).
        rare: which classes, and how many.
        size: height and width of the composites.
        window: where a sample's window of the source lies, which its patches share; None: each patch is cut anywhere.
        cache: how many decoded frames are kept.

    Raises:
        DataError: no frame shows a rare class.
    """

    def __init__(
        self,
        source: FrameSource,
        index: Mapping[int, Tensor],
        rare: RareClassesConfig,
        size: tuple[int, int],
        window: WindowConfig | None = None,
        *,
        cache: int = 32,
    ) -> None:
        self.index, self.rare, self.window, self.size = dict(index), rare, window, size
        self.candidates = [c for c in rare.classes if c in self.index]
        if not self.candidates:
            raise DataError(
                f"no source frame shows one of the rare classes {sorted(set(rare.classes))}",
                hint="lower rare.min_pixels, or leave rare out",
            )
        self.labels = lru_cache(4 * cache)(source.labels)
        self.image = lru_cache(cache)(source.image)

    def draw(self, generator: torch.Generator, batch: int) -> Plan:
        """Draw windows, rare classes and patches for a batch; label maps are read, pictures are not."""
        order = torch.randperm(len(self.candidates), generator=generator)[: self.rare.number]
        classes = [self.candidates[i] for i in order.tolist()]
        if self.rare.ascending:
            classes.sort()
        windows = None
        if self.window is not None:
            size = self._frame_size(classes[0])
            windows = draw_windows(generator, batch, size, self.window)
        sets = 2 if self.rare.content == "composite" else 1
        patches = tuple(
            self._draw_patch(generator, class_id, None if windows is None else windows[sample])
            for _ in range(sets)
            for sample in range(batch)
            for class_id in classes
        )
        return Plan(windows, tuple(classes), patches)

    def read(self, plan: Plan) -> Patches:
        """Cut the patches of a plan."""
        classes = plan.rare_classes
        frames = torch.stack([self._cut(self.image(patch.frame), patch) for patch in plan.patches])
        masks = torch.stack(
            [
                self._cut(self.labels(patch.frame), patch) == classes[place % len(classes)]
                for place, patch in enumerate(plan.patches)
            ]
        )
        sets = 2 if self.rare.content == "composite" else 1
        shape = (sets, len(plan.patches) // (sets * len(classes)), len(classes))
        return Patches(classes, frames.unflatten(0, shape), masks.unflatten(0, shape))

    def _draw_patch(self, generator: torch.Generator, class_id: int, window: Tensor | None) -> PatchDraw:
        """Draw frames and windows until one shows enough of the class."""
        frames = self.index[class_id]
        best, most = PatchDraw(int(frames[0]), 0, 0), -1
        for _ in range(TRIES):
            frame = int(frames[torch.randint(len(frames), (), generator=generator)])
            labels = self.labels(frame)
            if window is None:
                anywhere = WindowConfig(size=self.size)
                corner = draw_windows(generator, 1, (labels.shape[0], labels.shape[1]), anywhere)[0]
            else:
                corner = window
            patch = PatchDraw(frame, *corner.tolist())
            pixels = int((self._cut(labels, patch) == class_id).sum())
            if pixels > most:
                best, most = patch, pixels
            if pixels > self.rare.least(class_id):
                break
        return best

    def _cut(self, maps: Tensor, patch: PatchDraw) -> Tensor:
        height, width = self.size
        return maps[..., patch.top : patch.top + height, patch.left : patch.left + width]

    def _frame_size(self, class_id: int) -> tuple[int, int]:
        height, width = self.labels(int(self.index[class_id][0])).shape
        return height, width


class PatchReader:
    """Reads the patches of the next iterations in a thread of its own while this one is trained.

    The plan of an iteration depends on the seed and on its number alone, so a training that is taken up again draws
    the same.

    Args:
        bank: where patches come from.
        batch: samples in an iteration.
        seed: of the training.
        ahead: how many iterations are read ahead.
    """

    def __init__(self, bank: PatchBank, batch: int, seed: int, *, ahead: int = 2) -> None:
        self.bank, self.batch, self.seed, self.ahead = bank, batch, seed, ahead
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="patches")
        self._waiting: dict[int, Future[tuple[Plan, Patches]]] = {}

    def __call__(self, step: int) -> tuple[Plan, Patches]:
        """Return plan and patches (on the CPU) of an iteration."""
        for later in range(step, step + self.ahead + 1):
            if later not in self._waiting:
                self._waiting[later] = self._pool.submit(self._prepare, later)
        for earlier in [number for number in self._waiting if number < step]:
            self._waiting.pop(earlier).cancel()
        return self._waiting.pop(step).result()

    def close(self) -> None:
        """End the thread; what was not read is not read any more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, step: int) -> tuple[Plan, Patches]:
        plan = self.bank.draw(generator_of(self.seed, "rare patches", step), self.batch)
        return plan, self.bank.read(plan)
