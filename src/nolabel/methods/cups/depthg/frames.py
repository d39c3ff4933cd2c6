"""The frames that semantics are learnt from: left images of stereo video, or any images, with depth where there is any.

Depth is in any unit that grows linearly with distance, 0 = unknown: the losses compare ratios only.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from nolabel.data import FolderImages, StereoVideoDataset, VideoFrames, open_images, open_stereo_video
from nolabel.data.files import examples, read_map
from nolabel.data.opening import find_layout
from nolabel.errors import ConfigError, DataError
from nolabel.geometry import depth_from_disparity
from nolabel.methods.cups.motion_source import MotionSource, motion_hash, open_motion
from nolabel.methods.cups.pseudo_label_config import MotionConfig
from nolabel.methods.cups.semantic_model import stereo_geometry_of
from nolabel.models.features import SceneGeometry
from nolabel.models.features.stereo_geometry import consistent_disparity
from nolabel.structures.files import write_png

__all__ = ["Frame", "Frames", "ImageFrames", "StereoFrames", "open_frames"]

STEREO_LAYOUTS = frozenset({"cityscapes", "kitti_raw", "stereo"})
PER_METRE = 100  # 16-bit depth files hold centimetres


class Frame(NamedTuple):
    """One frame.

    Attributes:
        image: (3, H, W) RGB in [0, 1].
        depth: (1, H, W), 0 = unknown.
        geometry: for features that use it.
    """

    image: Tensor
    depth: Tensor
    geometry: SceneGeometry | None


class Frames(Protocol):
    """A list of frames; ``fingerprint`` is a hash of what they are read from."""

    names: list[str]
    fingerprint: str
    has_depth: bool

    def image(self, index: int) -> Tensor:
        """Return only the image (3, H, W)."""
        ...

    def read(self, index: int) -> Frame:
        """Return image, depth and geometry."""
        ...


class StereoFrames:
    """Left images of a stereo video; depth is estimated once for each and kept as a 16-bit PNG (centimetres).

    Args:
        video: the data set.
        motion: what estimates disparity.
        folder: where depth files go, in a folder for exactly this video and estimator.
        device: where the estimator runs.
        wants_geometry: whether the features use stereo geometry.
    """

    has_depth = True

    def __init__(
        self,
        video: StereoVideoDataset,
        motion: MotionConfig,
        folder: Path,
        device: torch.device | str,
        *,
        wants_geometry: bool,
    ) -> None:
        self.video, self.device = video, device
        self.names, self.wants_geometry = video.names, wants_geometry
        self.motion = motion
        settings = motion.model_copy(update={"weights": None, "folder": None, "cache": None})
        self.fingerprint = _digest(video.fingerprint, settings.model_dump_json(), motion_hash(motion))
        self.folder = folder / self.fingerprint[:16]
        self._source: MotionSource | None = None

    def image(self, index: int) -> Tensor:
        """Return the left image."""
        return self.video.image(index)["image"].as_subclass(Tensor)

    def read(self, index: int) -> Frame:
        """Return image and depth; disparity is estimated unless its file is there."""
        path = self.folder / f"{self.names[index]}.png"
        if path.is_file() and not self.wants_geometry:
            depth = torch.from_numpy(read_map(path)).float()[None] / PER_METRE
            return Frame(self.image(index), depth, None)
        if self._source is None:
            self._source = open_motion(self.video, self.motion, self.device)
        sample = self.video[index]
        left, calibration = sample["left_0"].as_subclass(Tensor).to(self.device), sample["calibration"]
        seen, mirrored = self._source.disparities(index, sample)
        depth = depth_from_disparity(seen, calibration.fx, calibration.baseline)
        depth = torch.where(consistent_disparity(seen, mirrored), depth, 0.0)
        if not path.is_file():
            centimetres = (depth[0] * PER_METRE).round().clamp(0, 65535).cpu().numpy()
            write_png(path, centimetres.astype(np.uint16))
        geometry = stereo_geometry_of(seen, mirrored, calibration) if self.wants_geometry else None
        return Frame(left, depth, geometry)


class ImageFrames:
    """Any images; depth maps of the same names where there are any.

    Args:
        images: the data set.
        depth: folder of 8- or 16-bit PNG files, brighter = farther, 0 = unknown; named like the images.
    """

    def __init__(self, images: FolderImages | VideoFrames, depth: Path | None) -> None:
        self.images, self.names = images, list(images.names)
        self.has_depth = depth is not None
        self._depth: dict[str, Path] = {}
        if depth is not None:
            maps = FolderImages(depth)
            self._depth = dict(zip(maps.names, maps.paths, strict=True))
            missing = [name for name in self.names if name not in self._depth]
            if missing:
                raise DataError(
                    f"{len(missing)} of {len(self.names)} images have no depth map in {depth}: {examples(missing)}",
                    hint="name depth maps like the images: street_01.jpg and street_01.png",
                )
        places = [str(images.path)] if isinstance(images, VideoFrames) else [str(p) for p in images.paths]
        self.fingerprint = _digest(*places, *map(str, self._depth.values()))

    def image(self, index: int) -> Tensor:
        """Return the image."""
        return self.images[index]["image"].as_subclass(Tensor)

    def read(self, index: int) -> Frame:
        """Return image and depth."""
        image = self.image(index)
        path = self._depth.get(self.names[index])
        if path is None:
            return Frame(image, torch.zeros(1, *image.shape[-2:]), None)
        depth = torch.from_numpy(read_map(path)).float()
        if depth.shape != image.shape[-2:]:
            raise DataError(
                f"{path} has the shape {tuple(depth.shape)}, its image is {tuple(image.shape[-2:])}",
                hint="a depth map has one channel and the size of its image",
            )
        return Frame(image, depth[None] / depth.max().clamp(min=1), None)


def open_frames(
    data: str | Path,
    motion: MotionConfig,
    folder: Path,
    device: torch.device | str,
    *,
    depth: Path | None = None,
    split: str = "train",
    wants_geometry: bool = False,
    **options: Any,
) -> Frames:
    """Open stereo video, a folder of images or a video as frames.

    Args:
        data: the folder or file.
        motion: what estimates disparity of stereo video.
        folder: where estimated depth goes.
        device: where the estimator runs.
        depth: folder of depth maps, for images.
        split: for Cityscapes.
        wants_geometry: whether the features use stereo geometry.
        options: how stereo video is read, see :class:`~nolabel.data.stereo.StereoVideoOptions`.

    Raises:
        DataError: nothing that can be read is there, or depth maps are missing.
        ConfigError: depth maps for stereo video, which brings its own, or stereo options for images.
    """
    if find_layout(data) in STEREO_LAYOUTS:
        if depth is not None:
            raise ConfigError(f"{data} is stereo video: its depth is estimated", hint="leave --depth out")
        video = open_stereo_video(data, split=split, **options)
        return StereoFrames(video, motion, folder, device, wants_geometry=wants_geometry)
    if options:
        raise ConfigError(
            f"{data} is no stereo video: {', '.join(options)} cannot be set", hint="give stereo video"
        )
    return ImageFrames(open_images(data), depth)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
