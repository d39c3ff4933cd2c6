"""What features look like: their principal axes as colours, the same for all pictures of a sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.engine.feature_probes import evenly_spread
from nolabel.models.features import FeatureExtractor
from nolabel.structures.files import write_png
from nolabel.viz import contact_sheet, feature_colours, principal_colours, to_picture

__all__ = ["draw_features"]

CELL_WIDTH = 384


@torch.no_grad()
def draw_features(
    path: Path,
    extractor: FeatureExtractor,
    images: Dataset[Any],
    count: int,
    device: torch.device | str = "cpu",
) -> Path:
    """Write a sheet of pictures and of their features' three principal components as red, green and blue.

    Args:
        path: a PNG.
        extractor: in evaluation mode, on ``device``.
        images: samples with an ``image``; evenly spread ones are drawn.
        count: how many.
        device: where features are computed.
    """
    pictures: list[Tensor] = []
    features: list[Tensor] = []
    for index in evenly_spread(len(images), count):  # type: ignore[arg-type]
        image = images[index]["image"].as_subclass(Tensor)
        pictures.append(image)
        features.append(F.normalize(extractor(image[None].to(device))[0].float(), dim=0).cpu())
    basis = principal_colours(torch.cat([part.flatten(1) for part in features], dim=1)[..., None])
    rows = [
        [to_picture(image), feature_colours(found, basis)]
        for image, found in zip(pictures, features, strict=True)
    ]
    return write_png(path, contact_sheet(rows, column_titles=["image", "features"], cell_width=CELL_WIDTH))
