"""Which posed views the stages read."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field
from torch.utils.data import Dataset

from nolabel.config import Config
from nolabel.data.posed_views import PosedSample

__all__ = ["PosedDataConfig", "scenes_identity"]

PosedLayout = Literal["kitti360", "rig", "realestate"]


class PosedDataConfig(Config):
    """How posed views are read; their size is the network's."""

    layout: PosedLayout | None = None
    """``kitti360``, ``rig``, ``realestate``; found by looking by default."""
    split: str = "train"
    """What is learned from."""
    validation_split: str = "val"
    """What is scored. The original takes ``test`` (and names clusters by its labels)."""
    options: dict[PosedLayout, dict[str, Any]] = Field(default_factory=dict)
    """Of a layout's reader: ``{kitti360: {side_offset: [10, 40], poses: FOLDER (ORB-SLAM's), lists: FOLDER}}``, ..."""
    validation_options: dict[PosedLayout, dict[str, Any]] = Field({"kitti360": {"side_offset": 10}})
    """Likewise, for what is scored, laid over ``options``."""


def scenes_identity(scenes: Dataset[PosedSample]) -> str:
    """A hash of which scenes these are, wherever they lie; two runs may only continue each other with the same ones."""
    places = getattr(scenes, "moments", None) or getattr(scenes, "places", None)
    count = len(scenes)  # type: ignore[arg-type]
    text = json.dumps([type(scenes).__name__, count, [repr(place) for place in places or []]])
    return hashlib.sha256(text.encode()).hexdigest()
