"""The plain images that self-training learns from (CUPS, section 3.4; spec cups_model 5.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pydantic
import torch
from torch.utils.data import Dataset
from torchvision.transforms import v2

from nolabel.config import Config
from nolabel.data import FolderImages, VideoFrames, open_unlabelled
from nolabel.data.transforms import CentreCrop, CutOrPad, Rescale
from nolabel.engine.progress import Progress
from nolabel.errors import DataError
from nolabel.methods.cups.label_source import SOURCE_FILE
from nolabel.structures import ImageSample
from nolabel.structures.files import write_png

__all__ = ["ImagesConfig", "images_of_run", "open_training_images"]

PositiveSize = tuple[pydantic.PositiveInt, pydantic.PositiveInt]


class ImagesConfig(Config):
    """How the images are read."""

    scale: float = pydantic.Field(1.0, gt=0, le=4)
    """Resize factor."""
    crop: PositiveSize | None = None
    """(height, width) in pixels after scaling; null: whole images, which may differ in size."""
    crop_place: Literal["centre", "top_left"] = "centre"
    """``centre``, or ``top_left``: cut or pad at the right and bottom (the published KITTI setting)."""
    frame_stride: int = pydantic.Field(5, ge=1)
    """Of a video file every so many frames one is used: neighbours look alike."""

    def transform(self) -> v2.Transform:
        """Return the transform that reads an image so."""
        steps: list[v2.Transform] = [Rescale(self.scale)]
        if self.crop is not None:
            steps.append(CutOrPad(self.crop) if self.crop_place == "top_left" else CentreCrop(self.crop))
        return v2.Compose(steps)


def images_of_run(run: Path) -> Path:
    """Return the root of the images that a stage-2 run was trained on.

    Raises:
        DataError: the run does not say, or they are gone.
    """
    try:
        root = Path(json.loads((run / SOURCE_FILE).read_text())["root"])
    except (OSError, ValueError, KeyError):
        raise DataError(f"{run} does not say which images it was trained on.", hint="give --data") from None
    if not root.exists():
        raise DataError(f"the images that {run} was trained on are gone: {root}", hint="give --data")
    return root


def open_training_images(
    source: Path, config: ImagesConfig, *, frames: Path, progress: bool = True
) -> Dataset[ImageSample]:
    """Open images for training.

    Args:
        source: a folder of images, an image, a video file, Cityscapes or KITTI raw.
        config: how they are read.
        frames: folder for the frames of a video. Training reads images in random order, which a video file cannot
            give in reasonable time, so its frames are written as PNG files first, once.
        progress: show progress on standard error.

    Raises:
        DataError: nothing that can be read is there.
    """
    images = open_unlabelled(source, transform=config.transform())
    if not isinstance(images, VideoFrames):
        return images
    paths = _write_frames(images, frames, config.frame_stride, progress)
    return FolderImages(paths, config.transform())


def _write_frames(video: VideoFrames, folder: Path, stride: int, progress: bool) -> list[Path]:
    """Write every ``stride``-th frame that is not there yet."""
    names = video.names
    wanted = {folder / f"{names[index]}.png": index for index in range(0, len(names), stride)}
    with Progress(f"frames of {video.path.name}", len(wanted), unit="frames", enabled=progress) as bar:
        for path, index in wanted.items():
            if not path.exists():
                pixels = (video.read(index) * 255).round().to(torch.uint8)
                write_png(path, pixels.permute(1, 2, 0).numpy())
            bar.advance()
    return list(wanted)
