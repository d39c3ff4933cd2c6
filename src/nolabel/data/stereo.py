"""Stereo video as a map-style data set: one sample is two consecutive stereo frames.

A reader of some layout only lists :class:`StereoPair` records; everything else (reading, scaling, cropping, the
valid region, calibration) happens here once for all layouts (spec cups_pseudo, section 2).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import pydantic
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from nolabel.config import Config, load_config
from nolabel.data.files import examples, image_size, read_image
from nolabel.data.transforms import CentreCrop, CutOrPad, Rescale
from nolabel.errors import DataError
from nolabel.structures import ImageSample, StereoCalibration, StereoVideoSample

__all__ = ["StereoPair", "StereoVideoDataset", "StereoVideoOptions", "valid_region"]


class StereoVideoOptions(Config):
    """How stereo video is read. Every data set has its own defaults; keyword arguments replace them."""

    scale: float = pydantic.Field(1.0, gt=0, le=4)
    """Resize factor of images and intrinsics."""
    crop: tuple[pydantic.PositiveInt, pydantic.PositiveInt] | None = None
    """(height, width) in pixels after scaling; null: as large as ``size_multiple`` allows."""
    crop_place: Literal["centre", "top_left"] = "centre"
    """``centre``, or ``top_left``: cut or pad at the right and bottom (the published KITTI setting)."""
    size_multiple: pydantic.PositiveInt = 8
    """Without ``crop``, height and width are cut to multiples of this (flow networks work on eighths)."""
    stride: pydantic.PositiveInt = 1
    """Frames between the two of a pair."""
    top_band: float = pydantic.Field(0.0, ge=0, lt=1)
    """Share of the rows at the top that are not valid."""
    bottom_band: float = pydantic.Field(0.0, ge=0, lt=1)
    """Share of the rows at the bottom that are not valid (the ego vehicle's bonnet)."""
    side_band: float = pydantic.Field(0.0, ge=0, lt=0.5)
    """Share of the columns, at the left and at the right each, that are not valid (no stereo overlap)."""
    reference_compat: bool = False
    """Leave cx, cy where they were when cropping, as the original CUPS code does."""


@dataclass(frozen=True)
class StereoPair:
    """Where one sample comes from.

    Args:
        name: unique in the data set; usable as a file name.
        left_0, right_0: the two views of the first frame.
        left_1, right_1: the two views of the second frame.
        calibration: the file, or the values.
    """

    name: str
    left_0: Path
    right_0: Path
    left_1: Path
    right_1: Path
    calibration: Path | StereoCalibration


class StereoVideoDataset(Dataset[StereoVideoSample]):
    """Pairs of consecutive stereo frames.

    ``dataset[i]`` is a :class:`~nolabel.structures.StereoVideoSample`: four (3, H, W) images in [0, 1], ``valid``
    (H, W) bool, ``calibration`` of the scaled and cropped images, and ``name``.

    Args:
        root: the folder, for messages and for the fingerprint.
        pairs: the records.
        read_calibration: reads a record's calibration file.
        options: how to read.
    """

    defaults: ClassVar[dict[str, Any]] = {}
    """What a data set sets otherwise than :class:`StereoVideoOptions`."""

    def __init__(
        self,
        root: Path,
        pairs: Sequence[StereoPair],
        read_calibration: Callable[[Path], StereoCalibration],
        options: StereoVideoOptions,
    ) -> None:
        if not pairs:
            raise DataError(
                f"{root} holds no two consecutive stereo frames",
                hint="a clip needs at least two frames; `nolabel doctor` shows what is there",
            )
        twice = [name for name, count in Counter(pair.name for pair in pairs).items() if count > 1]
        if twice:
            raise DataError(
                f"{root}: {len(twice)} names stand for several frames: {examples(twice)}",
                hint="rename clips or frames",
            )
        self.root = root
        self.pairs = tuple(pairs)
        self.options = options
        self._read_calibration = read_calibration

    @classmethod
    def make_options(cls, values: dict[str, Any]) -> StereoVideoOptions:
        """Lay keyword values over the data set's defaults.

        Raises:
            ConfigError: an unknown option or an impossible value.
        """
        return load_config(StereoVideoOptions, **{**cls.defaults, **values})

    @property
    def names(self) -> list[str]:
        """The samples' names, in order."""
        return [pair.name for pair in self.pairs]

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over options, names, files and calibrations; not over pixels."""
        digest = hashlib.sha256(self.options.fingerprint().encode())
        for pair in self.pairs:
            files = (pair.left_0, pair.right_0, pair.left_1, pair.right_1)
            digest.update(repr((pair.name, *map(self._relative, files))).encode())
            calibration = pair.calibration
            if isinstance(calibration, Path):
                digest.update(self._relative(calibration).encode())
            else:
                digest.update(repr(calibration).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> StereoVideoSample:
        pair = self.pairs[index]
        left_0 = read_image(pair.left_0)
        others = [read_image(path) for path in (pair.right_0, pair.left_1, pair.right_1)]
        size = tuple(left_0.shape[-2:])
        for path, image in zip((pair.right_0, pair.left_1, pair.right_1), others, strict=True):
            if tuple(image.shape[-2:]) != size:
                raise DataError(
                    f"{path} has {image.shape[-2]}x{image.shape[-1]} pixels, {pair.left_0} has {size[0]}x{size[1]}",
                    hint="all four images of a sample must have one size",
                )
        right_0, left_1, right_1 = others
        sample: StereoVideoSample = {
            "name": pair.name,
            "left_0": left_0,
            "right_0": right_0,
            "left_1": left_1,
            "right_1": right_1,
            "valid": tv_tensors.Mask(valid_region(size[0], size[1], self.options)),
            "calibration": self.calibration(index),
        }
        transformed: StereoVideoSample = self._transform(size[0], size[1])(sample)
        return transformed

    def image(self, index: int) -> ImageSample:
        """Read only the left image of the first frame, scaled and cropped as in the whole sample."""
        pair = self.pairs[index]
        image = read_image(pair.left_0)
        height, width = image.shape[-2:]
        transformed: ImageSample = self._transform(height, width)({"name": pair.name, "image": image})
        return transformed

    def fit_motion(self, index: int, values: torch.Tensor) -> torch.Tensor:
        """Scale and crop flow or disparity as the images of a sample.

        Args:
            index: the sample.
            values: (C, H, W) pixels, of the size of the image files or already of the sample.

        Returns:
            (C, h, w) in pixels of the sample, nearest neighbours.

        Raises:
            DataError: another size.
        """
        size = (int(values.shape[-2]), int(values.shape[-1]))
        original = image_size(self.pairs[index].left_0)
        if size == self._crop_size(*original):
            return values
        if size != original:
            raise DataError(
                f"motion of {self.pairs[index].name} has {size[0]}x{size[1]} pixels, its images {original[0]}x{original[1]}",
                hint="maps must have the size of the image files, or of the scaled and cropped samples",
            )
        moved = self._transform(*size)({"values": tv_tensors.Mask(values)})["values"]
        return moved.as_subclass(torch.Tensor) * self.options.scale

    def calibration(self, index: int) -> StereoCalibration:
        """Return the calibration of a sample at full size, before scaling and cropping.

        Raises:
            DataError: the file is missing or wrong.
        """
        source = self.pairs[index].calibration
        return source if isinstance(source, StereoCalibration) else _cached(self._read_calibration, source)

    def size(self, index: int = 0) -> tuple[int, int]:
        """(height, width) of a sample after scaling and cropping, from the file's header."""
        height, width = image_size(self.pairs[index].left_0)
        return self._crop_size(height, width)

    def _crop_size(self, height: int, width: int) -> tuple[int, int]:
        if self.options.crop is not None:
            return self.options.crop
        multiple = self.options.size_multiple
        scaled = [int(side * self.options.scale) // multiple * multiple for side in (height, width)]
        if min(scaled) == 0:
            raise DataError(
                f"{self.root}: images of {height}x{width} pixels are too small at scale {self.options.scale}",
                hint=f"each side needs at least {multiple} pixels",
            )
        return scaled[0], scaled[1]

    def _transform(self, height: int, width: int) -> v2.Transform:
        size = self._crop_size(height, width)
        steps: list[v2.Transform] = [Rescale(self.options.scale)]
        if self.options.crop_place == "top_left":
            steps.append(CutOrPad(size))
        else:
            steps.append(CentreCrop(size, keep_principal_point=self.options.reference_compat))
        return v2.Compose(steps)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name


def valid_region(height: int, width: int, options: StereoVideoOptions) -> torch.Tensor:
    """Make the mask of usable pixels at full size: False in the bands of the options (spec cups_pseudo 2.1).

    Returns:
        (height, width) bool.
    """
    valid = torch.zeros(height, width, dtype=torch.bool)
    top, bottom = round(options.top_band * height), round(options.bottom_band * height)
    side = round(options.side_band * width)
    valid[top : height - bottom, side : width - side] = True
    return valid


@lru_cache(maxsize=8192)
def _cached(read: Callable[[Path], StereoCalibration], path: Path) -> StereoCalibration:
    return read(path)
