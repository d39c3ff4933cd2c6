"""One training file from objects of scenes and first masks of object-centred images (unMORE specification, 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from nolabel.methods.unmore.label_files import LabelledImage

__all__ = ["IMAGENET_PREFIX", "SCENE_PREFIX", "PictureFolders", "merge_labels"]

SCENE_PREFIX, IMAGENET_PREFIX = "coco_", "imagenet_"  # the original's; training tells the two apart by them


@dataclass(frozen=True)
class PictureFolders:
    """What is put before the names of pictures, so that two sets may call different pictures by the same name.

    Attributes:
        scenes, imagenet: folders, relative to the one that training is given as ``images``, with ``/``.
    """

    scenes: str = ""
    imagenet: str = ""


def merge_labels(
    scenes: Iterable[LabelledImage],
    imagenet: Iterable[LabelledImage],
    least_score: float = 0.5,
    folders: PictureFolders | None = None,
) -> Iterator[LabelledImage]:
    """Put the images of both together, ImageNet's first.

    Args:
        scenes: with selected objects.
        imagenet: with VoteCut's masks, whose score (``weight``) must reach the least one.
        least_score: in 0..1.
        folders: of the pictures; names stay as they are by default.

    Returns:
        All images, those left without objects too, with ids that say where they are from.
    """
    folders = folders or PictureFolders()
    for image in imagenet:
        sure = image.chosen(image.instances.scores >= least_score)
        yield _renamed(sure, folders.imagenet, IMAGENET_PREFIX)
    for image in scenes:
        yield _renamed(image, folders.scenes, SCENE_PREFIX)


def _renamed(image: LabelledImage, folder: str, prefix: str) -> LabelledImage:
    return replace(image, file_name=str(PurePosixPath(folder, image.file_name)), id=f"{prefix}{image.id}")
