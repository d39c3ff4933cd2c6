"""Settings of reasoning about the objects of a scene."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nolabel.config import Config

__all__ = ["ReasoningSettings"]


class ReasoningSettings(Config):
    """How objects are looked for in a scene; the defaults are the published ones but where it is said.

    Source: unMORE specification, section 6.
    """

    existence_threshold: float = Field(0.1, ge=0, le=1)
    """A box is looked at when the existence network's probability reaches this."""
    centre_threshold: float = Field(0.009, ge=0)
    """A box whose anti-centre map exceeds this holds several objects and is split there."""
    boundary_threshold: float = Field(0.5, ge=-1, le=1)
    """A box in which the boundary distance nowhere exceeds this holds no object."""
    largest_shrink: float = Field(16, ge=0)
    """A box has converged when no side wants to grow and none to shrink by more than this (pixels of the crop, 128)."""
    step_ratio: float = Field(0.5, ge=0, le=1)
    """Growing steps are made longer by this share, shrinking steps shorter."""
    rounds: int = Field(50, ge=1)
    """Rounds of boundary reasoning; a box that still moves in the last one is lost."""
    smallest_area: float = Field(50, ge=0)
    """Boxes of at most this many square pixels are dropped."""
    split_levels: int = Field(1, ge=0)
    """How often a box that holds several objects may be split, its parts again, and so on (published: 1)."""
    components: bool = True
    """Also look at each connected part of the area that a box's fields call object, where there are several."""
    nms_threshold: float = Field(0.5, ge=0, le=1)
    """A box that overlaps an earlier one by more than this IoU is dropped."""
    max_side: int | None = Field(1024, ge=32)
    """Larger images are scaled down to this longer side (pixels) to look for boxes; masks and scores are made in full
    size. The grid of boxes is one of pixels, so costs grow with the area. Published images have sides up to 640."""
    batch_size: int = Field(64, ge=1)
    """Crops that a network is shown at once, from all images together."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic of the networks; half precision is faster on GPUs, and boxes at a threshold may differ."""
    reference_compat: bool = False
    """As the original: boxes of connected parts stay in pixels of the crop and so lie in the scene's top left corner."""
