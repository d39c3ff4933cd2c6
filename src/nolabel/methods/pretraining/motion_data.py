"""Footage to learn motion from: stereo video in any layout, other video, folders of frames; pairs of their images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data import StereoVideoDataset, find_layout, open_stereo_video
from nolabel.data.clips import clips_of, pairs_in, runs
from nolabel.data.image_sequences import ImageSequence, open_sequences
from nolabel.errors import DataError
from nolabel.structures import StereoCalibration

__all__ = ["Footage", "MotionBatch", "MotionSample", "collate_motion", "open_footage", "open_views"]

STEREO_LAYOUTS = ("cityscapes", "kitti_raw", "stereo")
LONGEST_VIDEO = 3000  # frames of a video file that are kept decoded; of longer ones the first
_NO_CALIBRATION = StereoCalibration(fx=1.0, fy=1.0, cx=0.0, cy=0.0, baseline=1.0, fps=1.0)


@dataclass(frozen=True)
class MotionSample:
    """Images that show one scene.

    Attributes:
        images: (4, 3, H, W) left and right at t0, then at t1; or (2, 3, H, W) one view at t0 and t1. RGB in [0, 1].
    """

    images: Tensor


@dataclass(frozen=True)
class MotionBatch:
    """The images of several samples, and the directed pairs that are to be matched.

    Attributes:
        images: (N, 3, H, W) RGB in [0, 1].
        sample: (N,) the sample that each image belongs to, counted from 0.
        first: (P,) positions of the images on whose grid flow lies.
        second: (P,) of the images it leads to.
        reverse: (P,) position of the pair that leads back.
        sideways: (P,) -1 where a left view is matched with its right one (things move to the left), 1 for the
            other way, 0 for motion over time.
    """

    images: Tensor
    sample: Tensor
    first: Tensor
    second: Tensor
    reverse: Tensor
    sideways: Tensor


# (first, second, reverse, sideways) of a sample of stereo video, and of one of a single camera
_STEREO = (
    (0, 2, 1, 0),
    (2, 0, 0, 0),
    (1, 3, 3, 0),
    (3, 1, 2, 0),
    (0, 1, 5, -1),
    (1, 0, 4, 1),
    (2, 3, 7, -1),
    (3, 2, 6, 1),
)
_SINGLE = ((0, 1, 1, 0), (1, 0, 0, 0))


def collate_motion(samples: Sequence[MotionSample]) -> MotionBatch:
    """Join samples of any kinds, whose images have one size."""
    rows: list[list[int]] = []
    owner: list[int] = []
    for number, sample in enumerate(samples):
        before, pairs = len(owner), len(rows)
        table = _STEREO if len(sample.images) == 4 else _SINGLE
        rows += [[before + a, before + b, pairs + back, way] for a, b, back, way in table]
        owner += [number] * len(sample.images)
    pairs_table = torch.tensor(rows)
    first, second, reverse, sideways = (pairs_table[:, column].clone() for column in range(4))
    images = torch.cat([sample.images for sample in samples])
    return MotionBatch(images, torch.tensor(owner), first, second, reverse, sideways)


class _Views(Protocol):
    """What footage is made of."""

    def __len__(self) -> int: ...

    def views(self, index: int) -> Tensor:
        """Return (4 or 2, 3, H, W)."""
        ...


class _StereoViews:
    """Pairs of stereo frames."""

    def __init__(self, dataset: StereoVideoDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def views(self, index: int) -> Tensor:
        sample = self.dataset[index]
        images = (sample["left_0"], sample["right_0"], sample["left_1"], sample["right_1"])
        return torch.stack([image.as_subclass(Tensor) for image in images])


class _SingleViews:
    """Pairs of frames of one camera."""

    def __init__(self, sequence: ImageSequence, gap: int, region: tuple[int, int] | None) -> None:
        self.sequence = sequence
        self.kept: list[Tensor] = []
        if sequence.is_video:
            count = min(len(sequence.names), LONGEST_VIDEO)
            self.pairs = pairs_in(range(count), gap)
            # A video file is only quick to read in order.
            if self.pairs:
                self.kept = [_as_bytes(covering(self._image(i)[None], region)[0]) for i in range(count)]
            return
        stems = [Path(file).stem for file in sequence.files]
        self.pairs = [
            pair
            for _, places, numbers in clips_of(stems)
            for piece in runs(places, numbers)
            for pair in pairs_in(piece, gap)
        ]

    def __len__(self) -> int:
        return len(self.pairs)

    def views(self, index: int) -> Tensor:
        images = [self.kept[i].float() / 255 if self.kept else self._image(i) for i in self.pairs[index]]
        if images[0].shape != images[1].shape:
            names = [self.sequence.files[i] for i in self.pairs[index]]
            raise DataError(
                f"{names[0]} and {names[1]} differ in size", hint="frames of a clip have one size"
            )
        return torch.stack(images)

    def _image(self, place: int) -> Tensor:
        return self.sequence.images[self.sequence.indices[place]]["image"].as_subclass(Tensor)


class Footage(Dataset[MotionSample]):
    """Pairs of frames of any number of sources, cut to one size.

    Args:
        parts: sources.
        region: (height, width) that images are scaled to cover and cut to, at a place drawn from torch's generator;
            None leaves them as they are.
        identity: hash of what they are.
    """

    def __init__(self, parts: Sequence[_Views], region: tuple[int, int] | None, identity: str) -> None:
        self.parts, self.region, self.identity = list(parts), region, identity
        self.places = [(part, index) for part in self.parts for index in range(len(part))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> MotionSample:
        part, place = self.places[index]
        images = covering(part.views(place), self.region)
        if self.region is None:
            return MotionSample(images)
        (height, width), (rows, columns) = self.region, images.shape[-2:]
        top = int(torch.randint(rows - height + 1, ()))
        left = int(torch.randint(columns - width + 1, ()))
        return MotionSample(images[..., top : top + height, left : left + width].contiguous())

    @property
    def stereo(self) -> int:
        """How many samples have two views."""
        return sum(len(part) for part in self.parts if isinstance(part, _StereoViews))


def covering(images: Tensor, region: tuple[int, int] | None) -> Tensor:
    """Scale images (B, 3, H, W), keeping their proportions, so that they just cover a region (height, width)."""
    if region is None:
        return images
    sides = images.shape[-2:]
    factor = max(want / side for want, side in zip(region, sides, strict=True))
    size = [max(want, round(side * factor)) for want, side in zip(region, sides, strict=True)]
    if size == list(sides):
        return images
    scaled = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=factor < 1)
    return scaled.clamp(0, 1)


def open_footage(
    sources: Sequence[str | Path],
    *,
    region: tuple[int, int] | None = None,
    gap: int = 1,
    split: str = "train",
) -> Footage:
    """Open footage of any kinds together.

    Args:
        sources: stereo video (Cityscapes, KITTI raw, ``left/`` and ``right/``; a calibration is not needed), folders of
            consecutive frames, video files.
        region: see :class:`Footage`.
        gap: frames between the two of a pair.
        split: of data sets that have splits.

    Raises:
        DataError: a source does not exist, or there are no two consecutive frames.
    """
    parts: list[_Views] = []
    digest = hashlib.sha256(f"{gap}".encode())
    for source in sources:
        if find_layout(source) in STEREO_LAYOUTS:
            dataset = open_views(source, split=split, stride=gap)
            parts.append(_StereoViews(dataset))
            digest.update(dataset.fingerprint.encode())
            continue
        for sequence in open_sequences([source]):
            parts.append(_SingleViews(sequence, gap, region))
            digest.update(repr((sequence.name, sequence.files)).encode())
    footage = Footage([part for part in parts if len(part)], region, digest.hexdigest())
    if not len(footage):
        raise DataError(
            f"no two consecutive frames in {', '.join(map(str, sources))}",
            hint="motion is learnt from video: name stereo video, a video file, or a folder of numbered frames",
        )
    return footage


def open_views(source: str | Path, *, split: str, stride: int = 1, scale: float = 1.0) -> StereoVideoDataset:
    """Open stereo video, whole images; own folders need no calibration, since motion is measured in pixels.

    Args:
        source: the folder.
        split: of data sets that have splits.
        stride: frames between the two of a pair.
        scale: factor by which images are resized.
    """
    missing = find_layout(source) == "stereo" and not (Path(source) / "calibration.yaml").is_file()
    calibration = _NO_CALIBRATION if missing else None
    return open_stereo_video(
        source, split=split, calibration=calibration, stride=stride, scale=scale, crop=None
    )


def _as_bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)
