"""Which crops look alike: nearest neighbours by the cosine of mean features (spec cups_pseudo 11.1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["nearest_crops"]


def nearest_crops(means: Tensor, count: int, *, chunk: int = 4096) -> Tensor:
    """Find the crops with the most similar mean feature.

    Memory is bounded by ``chunk`` times the number of crops.

    Args:
        means: (N, E).
        count: neighbours of each crop, itself included.
        chunk: rows compared with all others at a time.

    Returns:
        (N, min(count, N)) int64, the crop itself first, then in falling order of similarity.
    """
    unit = F.normalize(means.float(), dim=1)
    count = min(count, len(unit))
    rows = []
    for first in range(0, len(unit), chunk):
        cosines = unit[first : first + chunk] @ unit.T
        own = torch.arange(len(cosines), device=unit.device)
        cosines[own, own + first] = 2.0  # a duplicate may not take the crop's own place
        rows.append(cosines.topk(count, dim=1).indices)
    return torch.cat(rows)
