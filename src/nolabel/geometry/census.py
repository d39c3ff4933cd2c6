"""The ternary census: images compared by the order of neighbouring grey values, whatever their brightness.

Meister et al., "UnFlow: Unsupervised Learning of Optical Flow with a Bidirectional Census Loss", AAAI 2018, section 3.2;
the constants are those of Jonschkowski et al., "What Matters in Unsupervised Optical Flow", ECCV 2020, and of SMURF
(Stone et al., CVPR 2021). Grey values lie in [0, 1] here and in [0, 255] there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry._precision import full_precision

__all__ = ["census_difference", "census_transform"]

GREY = (0.2989, 0.5870, 0.1140)
STEP = 0.9 / 255  # grey values that differ by this much are clearly different
BIT = 0.1  # squared difference of two soft bits that counts as half a difference


def census_transform(image: Tensor, window: int = 7) -> Tensor:
    """Whether neighbours are brighter or darker than their centre, softly: -1 .. 1.

    Args:
        image: (B, 3, H, W) RGB or (B, 1, H, W) grey, in [0, 1].
        window: side of the neighbourhood, odd.

    Returns:
        (B, window^2, H, W); what lies outside of the image counts as equally bright as the border pixel next to it.
    """
    image = full_precision(image)
    if image.shape[1] == 3:
        image = (image * image.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True)
    reach, (height, width) = window // 2, image.shape[-2:]
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    around = F.unfold(padded, window).unflatten(-1, (height, width))
    difference = around - image
    return difference * torch.rsqrt(difference.square() + STEP**2)


def census_difference(one: Tensor, other: Tensor, window: int = 7) -> Tensor:
    """The soft Hamming distance of two images' census: how many neighbours changed their order, 0 .. window^2 - 1.

    Args:
        one: (B, 3, H, W) or (B, 1, H, W) in [0, 1].
        other: likewise.
        window: side of the neighbourhood, odd.

    Returns:
        (B, 1, H, W). Neighbours outside of the image make the outermost ``window // 2`` pixels less reliable.
    """
    squared = (census_transform(one, window) - census_transform(other, window)).square()
    return (squared / (BIT + squared)).sum(dim=1, keepdim=True)
