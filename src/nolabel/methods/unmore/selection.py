"""Which discovered objects are sure enough to learn from (unMORE specification, 8, post-processing)."""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field

from nolabel.config import Config
from nolabel.errors import DataError
from nolabel.methods.unmore.label_files import LabelledImage
from nolabel.methods.unmore.scoring import SCORE_COLUMNS
from nolabel.structures import Instances

__all__ = ["SelectionSettings", "select_objects"]


class SelectionSettings(Config):
    """What an object's scores must reach; the defaults are the published ones."""

    existence: float = Field(0.5, ge=0, le=1)
    """Least probability that its box holds an object."""
    centre: float = Field(0.8, ge=0)
    """Least length of the longest centre vector."""
    boundary: float = Field(0.75, ge=-1, le=1)
    """Least of the highest boundary distances."""


def select_objects(image: LabelledImage, settings: SelectionSettings | None = None) -> LabelledImage:
    """Keep an image's objects whose scores all reach their thresholds; their score becomes the area score.

    Raises:
        DataError: the objects do not carry the four scores of discovery.
    """
    settings = settings or SelectionSettings()
    if not len(image.instances):
        return image
    lacking = [name for name in SCORE_COLUMNS if name not in image.extra]
    if lacking:
        raise DataError(
            f"{image.file_name}: the objects have no {lacking[0]!r}",
            hint="give what `discover` or `score` wrote",
        )
    existence, centre, boundary, _ = (
        torch.tensor(image.extra[name], dtype=torch.float64) for name in SCORE_COLUMNS
    )
    sure = (existence >= settings.existence) & (centre >= settings.centre) & (boundary >= settings.boundary)
    kept = image.chosen(sure)
    objects = kept.instances
    rescored = Instances(
        objects.masks, objects.boxes, torch.tensor(kept.extra["area_score"]), objects.classes, objects.size
    )
    return replace(kept, instances=rescored)
