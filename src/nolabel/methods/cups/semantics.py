"""Semantic log-probabilities of an image: windows near the horizon, the whole image up close.

CUPS section 3.2, spec cups_pseudo 7.2: far things are small, so they are read from enlarged windows; near ones are
larger than a window, so they are read from the whole image. The distance decides the mixture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry

SINGLE_HEIGHT = 320  # pixels


class Classifier(Protocol):
    """Turns features into codes and codes into class log-probabilities (clusters, or DepthG's probe)."""

    def project(self, features: Tensor) -> Tensor:
        """(B, C, h, w) features -> (B, D, h, w) codes; codes may be enlarged bilinearly."""
        ...

    def log_probabilities(self, code: Tensor) -> Tensor:
        """(B, D, h, w) codes -> (B, K, h, w) log-probabilities."""
        ...


@torch.inference_mode()
def semantic_log_probabilities(
    image: Tensor,
    extractor: FeatureExtractor,
    classifier: Classifier,
    *,
    depth: Tensor,
    geometry: SceneGeometry | None = None,
    window_batch: int = 8,
    depth_guided: bool = True,
    reference_compat: bool = False,
) -> Tensor:
    """Return the class log-probabilities (K, H, W) of one image.

    Extractors with ``uses_windows`` are run on windows and on the whole image at half size and mixed by depth;
    others, and all without ``depth_guided``, run once on the whole image.

    Args:
        image: (3, H, W) RGB in [0, 1].
        extractor: gives features.
        classifier: gives log-probabilities of the features.
        depth: (1, H, W) metres, 0 = unknown.
        geometry: for extractors that use it.
        window_batch: windows in one forward pass.
        depth_guided: off for one prediction at one scale, whatever the distance ("vanilla", the ablation of CUPS).
        reference_compat: unknown depth counts as zero metres, so the whole image decides there, and halving the
            image does not smooth it. Otherwise unknown depth counts as far.
    """
    if not extractor.uses_windows:
        code = classifier.project(extractor(image[None], geometry))
        return _log_probabilities_at(code, classifier, image.shape[-2:])[0]
    if not depth_guided:
        return single_log_probabilities(image, extractor, classifier, smooth=not reference_compat)
    near = whole_image_log_probabilities(image, extractor, classifier, smooth=not reference_compat)
    far = window_log_probabilities(image, extractor, classifier, window_batch)
    weight = nearness(depth, reference_compat=reference_compat)
    return weight * near + (1 - weight) * far


def nearness(depth: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Weight 1 / (depth + 1) of the whole image; unknown depth gives 0, under ``reference_compat`` 1."""
    weight = 1 / (depth + 1)
    return weight if reference_compat else torch.where(depth > 0, weight, 0.0)


def window_log_probabilities(
    image: Tensor, extractor: FeatureExtractor, classifier: Classifier, window_batch: int = 8
) -> Tensor:
    """Mean log-probabilities (K, H, W) over windows of half the image height, half overlapping."""
    height, width = image.shape[-2:]
    side = min(height // 2, width)
    corners = [(y, x) for y in _starts(height, side) for x in _starts(width, side)]
    total, covered = None, image.new_zeros(1, height, width)
    for first in range(0, len(corners), window_batch):
        batch = corners[first : first + window_batch]
        windows = torch.stack([image[:, y : y + side, x : x + side] for y, x in batch])
        scores = _log_probabilities_at(classifier.project(extractor(windows)), classifier, (side, side))
        if total is None:
            total = image.new_zeros(scores.shape[1], height, width)
        for (y, x), score in zip(batch, scores, strict=True):
            total[:, y : y + side, x : x + side] += score
            covered[:, y : y + side, x : x + side] += 1
    assert total is not None
    return total / covered


def whole_image_log_probabilities(
    image: Tensor, extractor: FeatureExtractor, classifier: Classifier, *, smooth: bool = True
) -> Tensor:
    """Log-probabilities (K, H, W) from the image at half size, codes averaged with those of its mirror image."""
    height, width = image.shape[-2:]
    half = F.interpolate(
        image[None], size=(height // 2, width // 2), mode="bilinear", align_corners=False, antialias=smooth
    )
    straight, mirrored = classifier.project(extractor(torch.cat([half, half.flip(-1)]))).chunk(2)
    code = (straight + mirrored.flip(-1)) / 2
    return _log_probabilities_at(code, classifier, (height, width))[0]


def single_log_probabilities(
    image: Tensor, extractor: FeatureExtractor, classifier: Classifier, *, smooth: bool = True
) -> Tensor:
    """Log-probabilities (K, H, W) from one pass over the image at a height of 320 pixels (spec 7.2, unused variant)."""
    code = classifier.project(extractor(_single_view(image, smooth)))
    return _log_probabilities_at(code, classifier, image.shape[-2:])[0]


def _single_view(image: Tensor, smooth: bool) -> Tensor:
    height, width = image.shape[-2:]
    size = (SINGLE_HEIGHT, round(width * SINGLE_HEIGHT / height))
    return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=smooth)


def _log_probabilities_at(code: Tensor, classifier: Classifier, size: Sequence[int]) -> Tensor:
    enlarged = F.interpolate(code, size=list(size), mode="bilinear", align_corners=False)
    return classifier.log_probabilities(enlarged)


def _starts(length: int, side: int) -> list[int]:
    """First pixels of windows that cover ``length`` evenly with at least half overlap."""
    count = math.ceil((length - side) / max(1, side // 2)) + 1
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


@torch.inference_mode()
def sample_features(
    image: Tensor,
    extractor: FeatureExtractor,
    geometry: SceneGeometry | None,
    count: int,
    generator: torch.Generator,
    windows: int = 4,
    single: bool = False,
) -> Tensor:
    """Draw feature vectors (count, C) of one image from the views that labelling will use.

    Args:
        image: (3, H, W) RGB in [0, 1].
        extractor: gives features.
        geometry: for extractors that use it.
        count: vectors, drawn with replacement.
        generator: CPU generator of the draw.
        windows: for extractors with windows, how many of them are read beside the half-size image.
        single: read the one view of :func:`single_log_probabilities` instead.
    """
    if not extractor.uses_windows:
        maps = [extractor(image[None], geometry)]
    elif single:
        maps = [extractor(_single_view(image, smooth=True))]
    else:
        height, width = image.shape[-2:]
        side = min(height // 2, width)
        half = F.interpolate(
            image[None], size=(height // 2, width // 2), mode="bilinear", align_corners=False, antialias=True
        )
        corners = [(y, x) for y in _starts(height, side) for x in _starts(width, side)]
        chosen = torch.randperm(len(corners), generator=generator)[:windows].tolist()
        cut = [image[:, y : y + side, x : x + side] for y, x in (corners[i] for i in chosen)]
        maps = [extractor(half), extractor(torch.stack(cut))]
    vectors = torch.cat([features.movedim(1, -1).flatten(0, -2) for features in maps])
    return vectors[torch.randint(len(vectors), (count,), generator=generator).to(vectors.device)]
