"""A command's settings of a training on video: the recipe, the folders that were named, and overrides.

Source: UDASS specification (video) 10 (17).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nolabel.config import load_config
from nolabel.data.domain_images import place_parts
from nolabel.methods.quadmix.settings import as_executed
from nolabel.methods.quadmix.video_settings import VideoConfig

__all__ = ["load_video_settings"]


def load_video_settings(
    recipe: str | Path | None,
    overrides: Sequence[str] | None = None,
    *,
    source: Sequence[Path] | None = None,
    target: Sequence[Path] | None = None,
    validation: Path | None = None,
    seed: int | None = None,
    executed: bool = False,
) -> VideoConfig:
    """Put a training's settings together.

    Args:
        recipe: packaged name (``quadmix/video_viper``) or file.
        overrides: ``fit.steps=200`` and the like.
        source, target: folders, one for each part that the recipe lists.
        validation: folder of labelled target frames.
        seed: of everything.
        executed: set every ``reference_compat``.

    Raises:
        ConfigError: a setting is wrong, or folders do not fit the recipe.
    """
    values: dict[str, Any] = {} if seed is None else {"fit": {"seed": seed}}
    config = load_config(VideoConfig, recipe, list(overrides or ()), **values)
    changes: dict[str, Any] = {
        "source": place_parts(config.source, source, "source"),
        "target": place_parts(config.target, target, "target"),
    }
    if validation is not None:
        changes["validation"] = config.validation.model_copy(update={"root": validation})
    config = config.model_copy(update=changes)
    return as_executed(config) if executed else config
