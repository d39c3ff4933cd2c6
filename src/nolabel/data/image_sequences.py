"""Images, folders and videos opened together, as the sequences they consist of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from torch.utils.data import Dataset

from nolabel.data.folder import FolderImages
from nolabel.data.opening import find_layout, open_images
from nolabel.data.semantic_layouts import read_list
from nolabel.data.video import VideoFrames
from nolabel.errors import ConfigError
from nolabel.structures import ImageSample

__all__ = ["ImageSequence", "open_sequences"]


@dataclass(frozen=True)
class ImageSequence:
    """Images that belong together: a video, or one folder.

    Attributes:
        name: of the sequence.
        names: of its images; unique over all sequences that were opened together.
        files: the pictures' own names, with folders.
        images: what holds them ...
        indices: ... and their positions in it.
        is_video: whether it is one.
        fps: frames per second, of videos.
    """

    name: str
    names: list[str]
    files: list[str]
    images: Dataset[ImageSample]
    indices: range
    is_video: bool
    fps: float | None


def open_sequences(sources: Sequence[str | Path]) -> list[ImageSequence]:
    """Open every source before any work is done, and give every image a name of its own.

    Args:
        sources: images, folders of images, videos, text files with one image path a line.

    Raises:
        ConfigError: there are none.
        DataError: one does not exist, or holds no images.
    """
    if not sources:
        raise ConfigError("nothing to predict was given", hint="name images, folders or videos")
    sequences: list[ImageSequence] = []
    for is_image, group in groupby(sources, lambda source: _is_image(Path(source))):
        paths = [Path(source) for source in group]
        if is_image:  # files that a shell listed are one folder's images
            root = Path(os.path.commonpath([path.resolve().parent for path in paths]))
            sequences += _folders(root, FolderImages([path.resolve() for path in paths]))
            continue
        for path in paths:
            if _is_list(path):
                listed = FolderImages([image.resolve() for image in read_list(path)])
                root = Path(os.path.commonpath([image.parent for image in listed.paths]))
                sequences += _folders(root, listed)
                continue
            images = open_images(path)
            if isinstance(images, VideoFrames):
                names = images.names
                files = [f"{name}.png" for name in names]
                whole = range(len(names))
                sequences.append(ImageSequence(path.stem, names, files, images, whole, True, images.fps))
            else:
                sequences += _folders(path, images)
    return _distinct(sequences)


def _is_image(path: Path) -> bool:
    return not _is_list(path) and path.is_file() and find_layout(path) == "images"


def _is_list(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and path.is_file()


def _folders(root: Path, images: FolderImages) -> list[ImageSequence]:
    """Split the images below a folder where the folder changes: each folder is a sequence."""
    parents = [path.parent for path in images.paths]
    starts = [i for i, parent in enumerate(parents) if i == 0 or parent != parents[i - 1]]
    sequences = []
    for start, end in zip(starts, [*starts[1:], len(parents)], strict=True):
        name = "_".join((root.resolve().name, *parents[start].relative_to(root).parts))
        files = [path.relative_to(root).as_posix() for path in images.paths[start:end]]
        sequences.append(
            ImageSequence(name, images.names[start:end], files, images, range(start, end), False, None)
        )
    return sequences


def _distinct(sequences: list[ImageSequence]) -> list[ImageSequence]:
    """Where sources share names, put the sequence's name, and if need be its position, in front."""

    def shared(candidates: list[ImageSequence]) -> bool:
        names = [name for sequence in candidates for name in sequence.names]
        return len(set(names)) < len(names) or len({s.name for s in candidates}) < len(candidates)

    def prefixed(label: str) -> list[ImageSequence]:
        prefixes = [label.format(name=s.name, position=i) for i, s in enumerate(sequences)]
        return [
            replace(
                sequence,
                name=prefix,
                names=[f"{prefix}_{name}" for name in sequence.names],
                files=[f"{prefix}/{file}" for file in sequence.files],
            )
            for prefix, sequence in zip(prefixes, sequences, strict=True)
        ]

    if not shared(sequences):
        return sequences
    named = prefixed("{name}")
    return prefixed("{position}_{name}") if shared(named) else named
