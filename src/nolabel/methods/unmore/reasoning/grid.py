"""The boxes that reasoning starts from: a grid over the image at five scales (unMORE specification, 6.0)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["grid_proposals"]

SPACINGS = (32, 64, 128, 256, 512)  # pixels between centres; also half the side of the square
HALF_SIDES = ((1.0, 1.0), (0.5, 1.0), (1.0, 0.5))  # (width, height) in spacings


def grid_proposals(height: int, width: int) -> Tensor:
    """Return boxes (N, 4) float64 XYXY in pixels, clipped to the image, the whole image last.

    Smallest spacing first; centres in raster order; at each centre a square, a tall and a wide box.
    """
    boxes = []
    for spacing in SPACINGS:
        y, x = (torch.arange(0, side, spacing, dtype=torch.float64) for side in (height, width))
        centres = torch.cartesian_prod(y, x).flip(-1)[:, None]
        half = spacing * torch.tensor(HALF_SIDES, dtype=torch.float64)
        boxes.append(torch.cat([centres - half, centres + half], dim=-1).reshape(-1, 4))
    whole = torch.tensor([[0, 0, width, height]], dtype=torch.float64)
    return torch.minimum(torch.cat([*boxes, whole]).clamp(min=0), whole[0, [2, 3, 2, 3]])
