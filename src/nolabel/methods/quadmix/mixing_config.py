"""Settings of QuadMix' mixing. The presets of the four published benchmarks differ in these only.

Source: UDASS common specification, section 3.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from nolabel.config import Config

__all__ = [
    "DIRECTIONS",
    "Direction",
    "FeatureMixConfig",
    "QuadMixConfig",
    "RareClassesConfig",
    "WindowConfig",
]


Direction = Literal["source_to_source", "source_to_target", "target_to_source", "target_to_target"]
"""From which template to which composite: what grows on the source is made by the first and the third."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class WindowConfig(Config):
    """Where source frames are cut to the size of the target frames."""

    size: tuple[int, int] = (512, 1024)
    """Height and width of the window, in pixels: those of the target frames."""
    rows: tuple[int, int] | None = None
    """Range of its first row, both ends included; None: anywhere in the frame."""
    columns: tuple[int, int] | None = None
    """Range of its first column, both ends included; None: anywhere in the frame."""


class RareClassesConfig(Config):
    """Patches of rare classes, cut out of labelled source frames."""

    classes: tuple[int, ...]
    """Training ids to draw from; one that is listed more often is drawn more often."""
    number: int = Field(2, ge=1)
    """How many are drawn, without replacement."""
    min_pixels: int = Field(50, ge=0)
    """A patch has more pixels of its class than this."""
    min_pixels_of: dict[int, int] = Field(default_factory=dict)
    """Other limits of single classes."""
    content: Literal["composite", "iteration"] = "composite"
    """Whether each composite has patches of its own, or one set is pasted into all frames of both (which stand still)."""
    ascending: bool = False
    """Paste the classes in the order of their ids instead of the order in which they were drawn."""

    def least(self, class_id: int) -> int:
        """Return how many pixels of a class a patch must exceed."""
        return self.min_pixels_of.get(class_id, self.min_pixels)


class FeatureMixConfig(Config):
    """Mixing of the two composites' features."""

    weight: float = Field(0.3, ge=0, le=1)
    """Share of the source composite's features where something was pasted."""
    start: int = Field(8000, ge=0)
    """Iterations without it."""


class QuadMixConfig(Config):
    """How the two composites of an iteration are made."""

    start: int = Field(6000, ge=1)
    """First iteration with QuadMix; ClassMix before (images)."""
    source_classes: int = Field(2, ge=1)
    """Classes of the source template that are pasted."""
    target_classes: int = Field(2, ge=1)
    """Classes of the target template that are pasted."""
    directions: tuple[Direction, ...] = DIRECTIONS
    """Which pastes are made; all four are QuadMix, fewer show what each is good for."""
    always_rare: bool = False
    """Paste the rare classes of the source template in any case."""
    target_drawn: Literal["use", "store"] = "use"
    """Whether the classes of the target template are drawn when it is pasted, or one iteration earlier when it is kept;
    they differ from the source classes of that iteration."""
    min_confidence: float = Field(0.9, ge=0, le=1)
    """Pixels of the target template below this confidence are not pasted."""
    rare: RareClassesConfig | None = None
    """Patches of rare classes."""
    rare_last: bool = True
    """Paste them over the target template, not under it."""
    window: WindowConfig | None = None
    """Window of the source frames; None: they have the size of the target frames."""
    feature_mix: FeatureMixConfig | None = None
    """Mixing of features; off by default, as in the released code."""
    reference_compat: bool = False
    """As executed. Images: the target classes exclude positions in the list of classes instead of ids, rare patches
    have swapped and badly scaled colours and no weight of their own. Videos: the flow is mixed with the masks of the key
    frame, overlapping patches add up in their mask, and features are mixed with the mask of the wrong template. Both:
    void can be drawn as a class of the source."""

    @model_validator(mode="after")
    def _complete(self) -> QuadMixConfig:
        if self.always_rare and self.rare is None:
            raise ValueError("always_rare needs rare.classes")
        return self
