"""Fully connected CRF over the pixels of an image (Krähenbühl & Koltun, 2011) by mean-field updates.

Two Potts terms sharpen a class distribution: a Gaussian one (near pixels agree) and a bilateral one (near pixels
of the same colour agree). Defaults and normalisation are those of the CUPS pseudo-labels (spec cups_pseudo
section 8) for classes and those of VoteCut for masks; the filters are permutohedral lattices, on the device of the
inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.models.permutohedral import NormalisedFilter


def dense_crf(
    log_probabilities: Tensor,
    image: Tensor,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 1.0,
    gaussian_strength: float = 3.0,
    bilateral_sxy: float = 67.0,
    bilateral_srgb: float = 3.0,
    bilateral_strength: float = 4.0,
) -> Tensor:
    """Refine class scores with the colours of the image.

    Args:
        log_probabilities: (C, h, w) class scores (log-probabilities or logits); enlarged bilinearly to the image.
        image: (3, H, W) uint8 RGB.
        iterations: mean-field updates.
        gaussian_sxy: standard deviation of the near-pixel kernel, pixels.
        gaussian_strength: Potts weight of the near-pixel kernel.
        bilateral_sxy: standard deviation of the colour kernel in space, pixels.
        bilateral_srgb: standard deviation of the colour kernel in colour, 8-bit values.
        bilateral_strength: Potts weight of the colour kernel.

    Returns:
        (C, H, W) float32 class probabilities.
    """
    height, width = image.shape[-2:]
    if log_probabilities.shape[-2:] != (height, width):
        log_probabilities = F.interpolate(
            log_probabilities[None], size=(height, width), mode="bilinear", align_corners=False
        )[0]
    gaussian, bilateral = _filters(
        image, gaussian_sxy, gaussian_strength, bilateral_sxy, bilateral_srgb, bilateral_strength
    )
    start = log_probabilities.float().flatten(1).T.softmax(dim=1)
    scores = start.clamp(1e-5, 1.0).log().contiguous()
    beliefs = scores.softmax(dim=1)
    for _ in range(iterations):
        messages = gaussian(beliefs)
        messages += bilateral(beliefs)
        beliefs = messages.add_(scores).softmax(dim=1)
    return beliefs.T.reshape(-1, height, width)


def binary_dense_crf(
    masks: Tensor,
    image: Tensor,
    *,
    iterations: int = 10,
    gaussian_sxy: float = 3.0,
    gaussian_strength: float = 7.0,
    bilateral_sxy: float = 50.0,
    bilateral_srgb: float = 5.0,
    bilateral_strength: float = 10.0,
) -> Tensor:
    """Refine masks of one image with its colours, each against its own background.

    The same mean field as :func:`dense_crf` on the scores (1 - m, m), in half its work: of two classes one is enough,
    and all masks of an image share its lattices. Defaults are those of VoteCut and MaskCut (spec unmore 2.3).

    Args:
        masks: (N, H, W) bool, or soft in [0, 1].
        image: (3, H, W) uint8 RGB.
        iterations: mean-field updates.
        gaussian_sxy, gaussian_strength, bilateral_sxy, bilateral_srgb, bilateral_strength: as in :func:`dense_crf`.

    Returns:
        (N, H, W) float32 probability of the mask.
    """
    height, width = image.shape[-2:]
    filters = _filters(
        image, gaussian_sxy, gaussian_strength, bilateral_sxy, bilateral_srgb, bilateral_strength
    )
    scores = 2 * masks.to(image.device, torch.float32).flatten(1).T - 1  # log odds
    ones = torch.ones(height * width, 1, device=image.device)
    offset = scores - sum(one(ones) for one in filters)
    beliefs = scores.sigmoid()
    for _ in range(iterations):
        # What speaks for the mask less what speaks for the background, whose belief is 1 - that of the mask.
        beliefs = offset.add(sum(one(beliefs) for one in filters), alpha=2).sigmoid()
    return beliefs.T.reshape(-1, height, width)


def crf_image(image: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Turn a (3, H, W) float image in [0, 1] into the uint8 image the CRF compares colours in.

    Under ``reference_compat`` the image takes the original's way through the ImageNet normalisation and back and
    is truncated, which leaves about 5 % of the values 0 or 1 below the original 8-bit ones; it moves single
    probabilities by up to 0.9.
    """
    if not reference_compat:
        return (image * 255).round().clamp(0, 255).to(torch.uint8)
    mean = torch.tensor([0.485, 0.456, 0.406], device=image.device)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], device=image.device)[:, None, None]
    return (((image - mean) / std * std + mean) * 255).to(torch.uint8)


def _filters(
    image: Tensor,
    gaussian_sxy: float,
    gaussian_strength: float,
    bilateral_sxy: float,
    bilateral_srgb: float,
    bilateral_strength: float,
) -> tuple[NormalisedFilter, NormalisedFilter]:
    positions = _pixel_positions(image.shape[-2], image.shape[-1], image.device)
    # Blue first: the order of the colour axes decides which lattice is built.
    colours = image.flip(0).reshape(3, -1).T.float()
    bilateral = torch.cat([positions / bilateral_sxy, colours / bilateral_srgb], dim=1)
    return (
        NormalisedFilter(positions / gaussian_sxy, gaussian_strength),
        NormalisedFilter(bilateral, bilateral_strength),
    )


def _pixel_positions(height: int, width: int, device: torch.device) -> Tensor:
    """(H * W, 2) float positions (x, y) of the pixels, row after row."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float()
