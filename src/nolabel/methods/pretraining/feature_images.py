"""Pictures to learn features from: folders, lists, data sets, and videos, whose frames are kept in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset
from torchvision import tv_tensors

from nolabel.data.folder import FolderImages
from nolabel.data.unlabelled import open_unlabelled
from nolabel.data.video import VideoFrames
from nolabel.errors import ConfigError
from nolabel.methods.pretraining.feature_settings import ImagesConfig
from nolabel.structures import ImageSample

__all__ = ["KeptFrames", "SmallImages", "images_identity", "open_pictures", "what_to_expect"]

JPEG_QUALITY = 95
FEW_IMAGES = 1000
"""Below, a training sees every picture so often that what is told apart is soon the pictures, not what they show."""


class SmallImages(Dataset[ImageSample]):
    """Pictures whose shorter side is at most so many pixels.

    Args:
        images: pictures of any size.
        shorter_side: pixels; None leaves them as they are.
    """

    def __init__(self, images: Dataset[ImageSample], shorter_side: int | None) -> None:
        self.images, self.shorter_side = images, shorter_side

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> ImageSample:
        sample = self.images[index]
        return {"name": sample["name"], "image": _made_small(sample["image"], self.shorter_side)}


class KeptFrames(Dataset[ImageSample]):
    """Frames of a video, evenly spread over it, decoded once in order and kept in memory as JPEG.

    A video can only be read in order, a training reads at random.

    Args:
        video: the video.
        count: frames kept at most.
        shorter_side: of the kept frames, pixels.
    """

    def __init__(self, video: VideoFrames, count: int, shorter_side: int | None) -> None:
        total = len(video)
        self.names, self.frames = [], []
        for place in range(min(count, total)):
            index = place * total // min(count, total)
            pixels = _made_small(video.read(index), shorter_side).mul(255).round().byte()
            frame = cv2.cvtColor(pixels.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2BGR)
            _, coded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            self.names.append(f"{video.path.stem}_{index:06d}")
            self.frames.append(coded)
        video.close()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> ImageSample:
        frame = cv2.cvtColor(cv2.imdecode(self.frames[index], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        image = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1).float().div(255)
        return {"name": self.names[index], "image": tv_tensors.Image(image)}


def open_pictures(sources: Sequence[str | Path], config: ImagesConfig) -> Dataset[ImageSample]:
    """Open what a training learns from, one source after the other.

    Args:
        sources: folders (own pictures, data sets), lists, pictures, videos.
        config: how they are read.

    Raises:
        ConfigError: no source.
        DataError: a source holds nothing that can be read.
    """
    if not sources:
        raise ConfigError("there is nothing to learn from", hint="give --data, once for each folder or video")
    parts: list[Dataset[ImageSample]] = []
    for source in sources:
        found = open_unlabelled(source, config.dataset, split=config.split)
        if isinstance(found, VideoFrames):
            parts.append(KeptFrames(found, config.video_frames, config.shorter_side))
        else:
            parts.append(SmallImages(found, config.shorter_side))
    return parts[0] if len(parts) == 1 else ConcatDataset(parts)


def images_identity(images: Dataset[ImageSample]) -> str:
    """Return a hash of the pictures' names in order: a run goes on only with the same ones."""
    text = "\n".join(_names(images))
    return hashlib.sha256(text.encode()).hexdigest()


def what_to_expect(images: int, steps: int, batch: int) -> str:
    """Say how often each picture is seen, and what that means where they are few."""
    epochs = steps * batch / images
    line = f"{images} pictures, each seen {epochs:.1f} times"
    if images >= FEW_IMAGES:
        return line
    return (
        f"{line}. So few pictures teach colours, textures and places in the picture, hardly things of many shapes: expect "
        "features somewhat better than hand-made descriptors on pictures like these, not ones for other places. More "
        "different pictures help more than more steps; frames of one video are much alike"
    )


def _made_small(image: Tensor, shorter_side: int | None) -> tv_tensors.Image:
    plain, side = image.as_subclass(Tensor), min(image.shape[-2:])
    if shorter_side is not None and side > shorter_side:
        size = tuple(round(length * shorter_side / side) for length in plain.shape[-2:])
        plain = F.interpolate(plain[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]
    return tv_tensors.Image(plain.clamp(0, 1))


def _names(images: Dataset[ImageSample]) -> list[str]:
    if isinstance(images, ConcatDataset):
        return [name for part in images.datasets for name in _names(part)]
    inner = images.images if isinstance(images, SmallImages) else images
    if isinstance(inner, FolderImages | KeptFrames):
        return list(inner.names)
    return [str(index) for index in range(len(inner))]  # type: ignore[arg-type]
