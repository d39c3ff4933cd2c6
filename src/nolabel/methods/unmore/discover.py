"""Images in, scored objects out, in memory: reasoning and scoring behind one function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nolabel.data.any_image import to_image
from nolabel.methods.unmore.reasoning.crops import Boxes, Scenes
from nolabel.methods.unmore.reasoning.find import find_boxes
from nolabel.methods.unmore.reasoning.looking import Counts, Eyes
from nolabel.methods.unmore.reasoning.settings import ReasoningSettings
from nolabel.methods.unmore.reasoning.steps import Watcher
from nolabel.methods.unmore.scoring import Discovery, score_boxes
from nolabel.models.objectness.contract import ExistenceNetwork, ObjectnessNetwork
from nolabel.structures import Instances

__all__ = ["discover", "discover_images", "score_images"]


def discover(
    image: Any,
    objectness: ObjectnessNetwork,
    existence: ExistenceNetwork,
    settings: ReasoningSettings | None = None,
    *,
    watch: Watcher | None = None,
) -> Instances:
    """Find the objects of one image.

    Args:
        image: path, PIL image, array or tensor; see :func:`nolabel.data.any_image.to_image`.
        objectness, existence: the networks, in evaluation mode.
        settings: of reasoning.
        watch: told about every step of reasoning, for pictures of it.

    Returns:
        The objects, those with the clearest boundary first; a score is the product of the probability of existence, the
        clearness of centre and boundary, and the relative size.
    """
    return discover_images([to_image(image)], objectness, existence, settings, watch=watch)[0].instances


def discover_images(
    images: Sequence[Tensor],
    objectness: ObjectnessNetwork,
    existence: ExistenceNetwork,
    settings: ReasoningSettings | None = None,
    *,
    watch: Watcher | None = None,
    counts: Counts | None = None,
) -> list[Discovery]:
    """Find the objects of several images together: the networks see crops of all of them in full batches.

    Args:
        images: each (3, H, W) RGB in [0, 1]; sizes may differ.
        objectness, existence: the networks, in evaluation mode; where the first one is decides where all is done.
        settings: of reasoning.
        watch: told about every step.
        counts: what looking cost is added here.

    Returns:
        One result for each image.
    """
    if not images:
        return []
    settings = settings or ReasoningSettings()
    device = _device_of(objectness)
    scenes = Scenes(images, device)
    with torch.inference_mode():
        sight = Eyes(scenes, objectness, existence, settings, counts)
        small, scale = _limited(images, settings.max_side)
        if (scale == 1).all():
            boxes = find_boxes(sight, settings, watch)
        else:
            factors = scale.to(device)

            def in_full_size(found: Boxes) -> Boxes:
                return scenes.clip(Boxes(found.corners * factors[found.scene], found.scene))

            def watch_in_full_size(name: str, found: Boxes, labels: Tensor | None) -> None:
                if watch is not None:
                    watch(name, in_full_size(found), labels)

            seen = Eyes(Scenes(small, device), objectness, existence, settings, sight.counts)
            boxes = in_full_size(find_boxes(seen, settings, watch_in_full_size))
        return score_boxes(boxes, sight, settings.nms_threshold)


def score_images(
    images: Sequence[Tensor],
    boxes: Sequence[Tensor],
    objectness: ObjectnessNetwork,
    existence: ExistenceNetwork,
    settings: ReasoningSettings | None = None,
) -> list[Discovery]:
    """Draw and score the objects of given boxes, each (N, 4) XYXY in pixels of its image."""
    if not images:
        return []
    settings = settings or ReasoningSettings()
    scenes = Scenes(images, _device_of(objectness))
    owner = torch.repeat_interleave(torch.arange(len(boxes)), torch.tensor([len(own) for own in boxes]))
    corners = torch.cat([torch.zeros(0, 4), *(own.reshape(-1, 4).float() for own in boxes)])
    given = scenes.clip(Boxes(corners.to(scenes.device), owner.to(scenes.device))).larger_than(0)
    with torch.inference_mode():
        return score_boxes(given, Eyes(scenes, objectness, existence, settings), settings.nms_threshold)


def _limited(images: Sequence[Tensor], max_side: int | None) -> tuple[list[Tensor], Tensor]:
    """Scale larger images down to the longer side; and (N, 4) factors back, for x, y, x, y."""
    smaller, factors = [], []
    for image in images:
        height, width = image.shape[-2:]
        longer = max(height, width)
        if max_side is not None and longer > max_side:
            size = [max(1, round(side * max_side / longer)) for side in (height, width)]
            image = functional.interpolate(image[None].float(), size, mode="bilinear", antialias=True)[0]
        factors.append([width / image.shape[-1], height / image.shape[-2]] * 2)
        smaller.append(image)
    return smaller, torch.tensor(factors, dtype=torch.float32).reshape(-1, 4)


def _device_of(network: ObjectnessNetwork) -> torch.device:
    if isinstance(network, nn.Module):
        parameter = next(network.parameters(), None)
        if parameter is not None:
            return parameter.device
    return torch.device("cpu")
