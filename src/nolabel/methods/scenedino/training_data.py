"""Which posed views the stages read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field
from torch.utils.data import Dataset

from nolabel.config import Config
from nolabel.data.posed_opening import PosedLayout, find_posed_layout, open_posed_views
from nolabel.data.posed_views import PosedSample

__all__ = ["PosedDataConfig", "open_scenes", "scenes_identity"]

# What a layout's reader calls it.
_LABELS: dict[str, dict[str, Any]] = {"kitti360": {"labels": "present"}, "rig": {"labels": True}}
_SCORED: dict[str, dict[str, Any]] = {"kitti360": {"labels": "required"}, "rig": {"labels": True}}
_DEPTH: dict[str, dict[str, Any]] = {"kitti360": {"depth": True}}


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


def open_scenes(
    root: str | Path,
    config: PosedDataConfig,
    size: tuple[int, int],
    *,
    scored: bool = False,
    labels: bool = False,
    depth: bool = False,
) -> Dataset[PosedSample]:
    """Open scenes to learn from, or to score.

    Args:
        root: the data.
        config: how.
        size: (height, width), pixels.
        scored: the validation split.
        labels: whether labels of view 0 are read: where they are there; what is scored needs them.
        depth: likewise.

    Raises:
        DataError: the folder is in no such layout, or files are missing.
        ConfigError: an option the layout does not have.
    """
    layout = config.layout or find_posed_layout(Path(root))
    options = {
        **((_SCORED if scored else _LABELS).get(layout, {}) if labels else {}),
        **(_DEPTH.get(layout, {}) if depth else {}),
        **config.options.get(layout, {}),
        **(config.validation_options.get(layout, {}) if scored else {}),
    }
    split = config.validation_split if scored else config.split
    return open_posed_views(root, split, layout=layout, size=size, **options)


def scenes_identity(scenes: Dataset[PosedSample]) -> str:
    """A hash of which scenes these are, wherever they lie; two runs may only continue each other with the same ones."""
    places = getattr(scenes, "moments", None) or getattr(scenes, "places", None)
    count = len(scenes)  # type: ignore[arg-type]
    text = json.dumps([type(scenes).__name__, count, [repr(place) for place in places or []]])
    return hashlib.sha256(text.encode()).hexdigest()
