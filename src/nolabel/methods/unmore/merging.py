"""One training file from objects of scenes and first masks of object-centred images (unMORE specification, 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nolabel.methods.unmore.label_files import LabelledImage

__all__ = ["IMAGENET_PREFIX", "SCENE_PREFIX", "merge_labels"]

SCENE_PREFIX, IMAGENET_PREFIX = "coco_", "imagenet_"  # the original's; training tells the two apart by them


def merge_labels(
    scenes: Iterable[LabelledImage], imagenet: Iterable[LabelledImage], least_score: float = 0.5
) -> Iterator[LabelledImage]:
    """Put the images of both together, ImageNet's first.

    Args:
        scenes: with selected objects.
        imagenet: with VoteCut's masks, whose score (``weight``) must reach the least one.
        least_score: in 0..1.

    Returns:
        All images, those left without objects too, with ids that say where they are from.
    """
    for image in imagenet:
        sure = image.chosen(image.instances.scores >= least_score)
        yield replace(sure, id=f"{IMAGENET_PREFIX}{image.id}")
    for image in scenes:
        yield replace(image, id=f"{SCENE_PREFIX}{image.id}")
