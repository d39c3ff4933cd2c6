"""Five crops of each frame with their frozen features, computed once (spec cups_pseudo 11.1).

The original runs its frozen backbone anew in every step; nothing in a crop changes between steps, so here features
are computed once and read from disk in half precision. Where they would take too much room, crops are read as images
and the backbone runs in the step, as in the original.

::

    CACHE/features/00000012.npy    (5, E, g, g) float16, the five crops of frame 12
    CACHE/crops/00000012.npz       their mean features, depths, labels
    CACHE/neighbours.npy           (5 N, 30) int64, nearest crops, the crop itself first
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from nolabel.engine.progress import Progress
from nolabel.errors import ConfigError, DataError
from nolabel.labels import VOID
from nolabel.methods.cups.depthg.config import CropConfig
from nolabel.methods.cups.depthg.frames import Frames
from nolabel.methods.cups.depthg.neighbours import nearest_crops
from nolabel.models.features import FeatureExtractor
from nolabel.structures.files import atomic_path

__all__ = ["CROPS", "CropDataset", "CropSample", "central_square", "five_crops", "prepare_crops"]

CROPS = 5
NEIGHBOURS = 30
BYTES = 2  # of a half-precision number

LabelOf = Callable[[str], "Tensor | None"]


class Box(NamedTuple):
    """A rectangle of a frame, pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, maps: Tensor, frame: tuple[int, int]) -> Tensor:
        """Cut maps (..., h, w) whose cells tile the frame of the given size."""
        rows, columns = maps.shape[-2] / frame[0], maps.shape[-1] / frame[1]
        top, left = round(self.top * rows), round(self.left * columns)
        height, width = max(1, round(self.height * rows)), max(1, round(self.width * columns))
        return maps[..., top : top + height, left : left + width]


class CropSample(TypedDict, total=False):
    """A crop and one of its nearest neighbours: ``view`` and ``positive`` are features, or images to compute them from.

    view, positive: (E, g, g) float16, or (3, side, side) float32.
    depth, positive_depth: (1, g, g), 0 = unknown.
    label: (g, g) int64, 255 = void; only where labels are given.
    """

    view: Tensor
    positive: Tensor
    depth: Tensor
    positive_depth: Tensor
    label: Tensor


def five_crops(height: int, width: int, size: float) -> list[Box]:
    """The four corners and the centre, each ``size`` times as high and wide as the frame."""
    h, w = max(1, int(height * size)), max(1, int(width * size))
    bottom, right = height - h, width - w
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    return [Box(top, left, h, w) for top, left in corners]


def central_square(maps: Tensor, side: int, mode: str = "bilinear") -> Tensor:
    """Resize maps (B, C, H, W) until the shorter side is ``side`` and take the central square.

    Args:
        maps: what to resize.
        side: pixels.
        mode: ``bilinear`` (smoothed where it shrinks) or ``nearest``.
    """
    height, width = maps.shape[-2:]
    size = [side * length // min(height, width) for length in (height, width)]
    if size != [height, width]:
        smooth = {"antialias": True, "align_corners": False} if mode == "bilinear" else {}
        maps = F.interpolate(maps, size=size, mode=mode, **smooth)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    return maps[..., top : top + side, left : left + side]


class CropDataset(Dataset[CropSample]):
    """Crops with positives, drawn from the global generator of torch.

    Args:
        frames: where images come from, if features are not cached.
        places: indices of the frames that are used.
        config: how crops are made.
        cache: the folder of this module.
        positives: the positive is one of this many nearest crops.
        cached: whether features are on disk.
        nearest: resize images without smoothing.
    """

    def __init__(
        self,
        frames: Frames,
        places: list[int],
        config: CropConfig,
        cache: Path,
        positives: int,
        *,
        cached: bool,
        nearest: bool,
    ) -> None:
        self.frames, self.places, self.config, self.cache = frames, places, config, cache
        self.cached, self.mode = cached, "nearest" if nearest else "bilinear"
        # Depths and labels are small: one read of each file now instead of two in every step.
        self._small = [_read_small(cache, place) for place in places]
        neighbours = np.load(cache / "neighbours.npy")
        self.positives = torch.from_numpy(neighbours[:, 1 : 1 + positives])

    def __len__(self) -> int:
        return CROPS * len(self.places)

    def __getitem__(self, index: int) -> CropSample:
        other = int(self.positives[index, int(torch.randint(self.positives.shape[1], ()))])
        small, other_small = self.small(index), self.small(other)
        sample: CropSample = {
            "view": self.view(index),
            "positive": self.view(other),
            "depth": small["depth"].float(),
            "positive_depth": other_small["depth"].float(),
        }
        if "label" in small:
            sample["label"] = small["label"].long()
        return sample

    def small(self, index: int) -> dict[str, Tensor]:
        """Depth (1, g, g) float16 and, where given, label (g, g) uint8 of a crop."""
        frame, crop = divmod(index, CROPS)
        return {name: torch.from_numpy(values[crop]) for name, values in self._small[frame].items()}

    def view(self, index: int) -> Tensor:
        """Features of a crop, or its image where features are not cached."""
        frame, crop = divmod(index, CROPS)
        if self.cached:
            stored = np.load(_feature_file(self.cache, self.places[frame]), mmap_mode="r")
            return torch.from_numpy(np.array(stored[crop]))
        image = self.frames.image(self.places[frame])
        size = (image.shape[-2], image.shape[-1])
        box = five_crops(size[0], size[1], self.config.size)[crop]
        return central_square(box.cut(image, size)[None], self.config.side, self.mode)[0]


def evenly(count: int, most: int | None) -> list[int]:
    """At most ``most`` of ``count`` places, evenly spread."""
    if most is None or most >= count:
        return list(range(count))
    return [int((place + 0.5) * count / most) for place in range(most)]


def prepare_crops(
    frames: Frames,
    extractor: FeatureExtractor,
    config: CropConfig,
    cache: Path,
    positives: int,
    *,
    device: torch.device | str,
    label_of: LabelOf | None = None,
    reference_compat: bool = False,
    progress: bool = True,
) -> CropDataset:
    """Compute what is not in the cache yet; killed at any point, the same call goes on.

    Args:
        frames: the data.
        extractor: frozen features.
        config: how crops are made.
        cache: folder for exactly these frames, features and settings.
        positives: see :class:`CropDataset`.
        device: where features are computed.
        label_of: label map (H, W) int64 of a frame by its name, None where there is none.
        reference_compat: crops are resized without smoothing.
        progress: show progress on standard error.

    Raises:
        DataError: there are too few crops for positives.
        ConfigError: the cache is switched off for features that are made of whole frames.
    """
    places = evenly(len(frames.names), config.most_frames)
    if len(places) * CROPS <= positives:
        raise DataError(
            f"{len(places)} frames give {len(places) * CROPS} crops, too few for {positives} positives of each",
            hint="use more footage, or lower the setting positives",
        )
    cached = _decide(extractor, config, len(places), progress)
    maker = _CropMaker(frames, extractor, config, cache, device, label_of, cached, reference_compat)
    todo = [place for place in places if not maker.finished(place)]
    done = len(places) - len(todo)
    with Progress("features", len(places), unit="frames", start=done, enabled=progress) as bar:
        for place in todo:
            maker.make(place)
            bar.advance()
    _find_neighbours(places, cache, device)
    return CropDataset(frames, places, config, cache, positives, cached=cached, nearest=reference_compat)


def _decide(extractor: FeatureExtractor, config: CropConfig, frames: int, say: bool) -> bool:
    """Whether features are kept on disk."""
    cells = (config.side // extractor.stride) ** 2
    size = frames * CROPS * cells * extractor.channels * BYTES / 1e9
    if not extractor.uses_windows:
        if config.cache == "recompute":
            raise ConfigError(
                "crops.cache=recompute: these features are made of whole frames and must be cached",
                hint=f"leave the setting out; they take {size:.1f} GB",
            )
        return True
    cached = config.cache == "disk" or (config.cache == "auto" and size <= config.cache_limit)
    if say:
        how = "kept on disk" if cached else "computed anew in every step"
        print(f"features of {frames * CROPS} crops ({size:.2g} GB) are {how}", file=sys.stderr)
    return cached


class _CropMaker:
    """Computes the files of one frame."""

    def __init__(
        self,
        frames: Frames,
        extractor: FeatureExtractor,
        config: CropConfig,
        cache: Path,
        device: torch.device | str,
        label_of: LabelOf | None,
        cached: bool,
        nearest: bool,
    ) -> None:
        self.frames, self.extractor, self.config, self.cache = frames, extractor, config, cache
        self.device, self.label_of, self.cached = device, label_of, cached
        self.mode = "nearest" if nearest else "bilinear"
        self.grid = config.side // extractor.stride

    def finished(self, place: int) -> bool:
        small = _small_file(self.cache, place).is_file()
        return small and (not self.cached or _feature_file(self.cache, place).is_file())

    @torch.inference_mode()
    def make(self, place: int) -> None:
        frame = self.frames.read(place)
        image = frame.image.to(self.device)
        size = (image.shape[-2], image.shape[-1])
        boxes = five_crops(*size, self.config.size)
        if self.extractor.uses_windows:
            views = [central_square(box.cut(image, size)[None], self.config.side, self.mode) for box in boxes]
            features = self.extractor(torch.cat(views))
        else:
            whole = self.extractor(image[None], frame.geometry)
            features = torch.cat([central_square(box.cut(whole, size), self.grid) for box in boxes])
        depth = torch.cat([_depth_cells(box.cut(frame.depth, size), self.grid) for box in boxes])
        small = {
            "mean": features.mean(dim=(2, 3)).float().cpu().numpy(),
            "depth": depth.cpu().numpy().astype(np.float16),
        }
        if self.label_of is not None:
            label = self.label_of(self.frames.names[place])
            small["label"] = _label_cells(label, boxes, size, self.grid)
        if self.cached:
            with atomic_path(_feature_file(self.cache, place)) as path, path.open("wb") as file:
                np.save(file, features.half().cpu().numpy())
        with atomic_path(_small_file(self.cache, place)) as path, path.open("wb") as file:
            np.savez(file, **small)


def _depth_cells(depth: Tensor, grid: int) -> Tensor:
    """Mean of the known depths (1, h, w) in each cell of the central square: (1, 1, grid, grid), 0 = none known."""
    square = min(depth.shape[-2:])
    top, left = (depth.shape[-2] - square) // 2, (depth.shape[-1] - square) // 2
    middle = depth[None, :, top : top + square, left : left + square]
    known = F.adaptive_avg_pool2d((middle > 0).float(), grid)
    return torch.where(known > 0, F.adaptive_avg_pool2d(middle, grid) / known.clamp(min=1e-6), 0.0)


def _label_cells(label: Tensor | None, boxes: list[Box], size: tuple[int, int], grid: int) -> np.ndarray:
    if label is None:
        return np.full((CROPS, grid, grid), VOID, dtype=np.uint8)
    cells = [central_square(box.cut(label[None, None].float(), size), grid, "nearest") for box in boxes]
    return torch.cat(cells)[:, 0].to(torch.uint8).cpu().numpy()


def _find_neighbours(places: list[int], cache: Path, device: torch.device | str) -> None:
    path = cache / "neighbours.npy"
    if path.is_file():
        return
    means = np.concatenate([np.load(_small_file(cache, place))["mean"] for place in places])
    found = nearest_crops(torch.from_numpy(means).to(device), NEIGHBOURS)
    with atomic_path(path) as written, written.open("wb") as file:
        np.save(file, found.cpu().numpy())


def _read_small(cache: Path, place: int) -> dict[str, np.ndarray]:
    with np.load(_small_file(cache, place)) as file:
        return {name: file[name] for name in file.files if name != "mean"}


def _feature_file(cache: Path, place: int) -> Path:
    return cache / "features" / f"{place:08d}.npy"


def _small_file(cache: Path, place: int) -> Path:
    return cache / "crops" / f"{place:08d}.npz"
