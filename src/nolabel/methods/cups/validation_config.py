"""Settings of a validation: which images, which classes, how clusters get their names, what counts.

The packaged recipes ``cups/validate/*`` hold the published protocols, one for each column of the tables.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from nolabel.config import Config, load_config
from nolabel.methods.cups.pseudo_label_config import CrfConfig
from nolabel.recipes import recipe_names

__all__ = ["MatchingConfig", "SemanticProtocolConfig", "ValidationConfig", "ViewsConfig"]

ScoreName = Literal[
    "pq",
    "sq",
    "rq",
    "pq_things",
    "sq_things",
    "rq_things",
    "pq_stuff",
    "sq_stuff",
    "rq_stuff",
    "miou",
    "accuracy",
]
# Settings that change how fast the same numbers are found.
_SPEED = frozenset({"batch_size", "readers"})


class MatchingConfig(Config):
    """How clusters become classes (spec cups_model 6.2)."""

    mode: Literal["find", "stored", "none"] = "find"
    """``find``: the best matching on these very images, as published; ``stored``: the one that the model carries, so that
    the labels serve the score alone; ``none``: predicted ids are class ids."""
    split_things: bool = True
    """Match thing clusters with things and stuff clusters with stuff only."""
    one_to_one: bool = False
    """Clusters left over stand for no class, instead of the class they meet most."""


class ViewsConfig(Config):
    """Predicting from scaled and mirrored views (test-time augmentation; spec cups_model 5.3)."""

    enabled: bool = False
    """Without it the image is looked at once, as it is."""
    scales: tuple[float, ...] = Field(default=(0.5, 0.75, 1.0), min_length=1)
    """Size factors of the views."""
    short_sides: tuple[int, ...] | None = Field(default=None, min_length=1)
    """Pixels of the shorter side of each view, in place of ``scales``."""
    mirror: bool = True
    """Look at every view mirrored too."""
    longest_side: int = Field(default=4000, ge=1)
    """Pixels: limit of the longer side of a view."""
    score_threshold: float | None = Field(default=None, ge=0, le=1)
    """Score from which merged instances are kept; the confidence threshold by default."""


class SemanticProtocolConfig(Config):
    """The protocol of unsupervised semantic segmentation ("STEGO style"; spec cups_model 6.5)."""

    center_crop: int | None = Field(default=None, ge=1)
    """Pixels: score the central square of maps whose short side is brought to this; classes only, no instances."""
    crf: CrfConfig | None = None
    """Refine the classes of that square with a dense CRF; null leaves it out."""

    @model_validator(mode="after")
    def _crf_needs_the_crop(self) -> Self:
        if self.crf is not None and self.center_crop is None:
            raise ValueError("the CRF belongs to the semantic protocol: set semantic.center_crop too")
        return self


class ValidationConfig(Config):
    """What is scored, and how."""

    protocol: str = "own"
    """Name under which the numbers are stored: a packaged recipe carries its own name."""
    dataset: str | None = None
    """Name of the layout (``cityscapes``, ``kitti_panoptic``, ...); found by looking at the folder by default."""
    space: str | None = None
    """Classes to score; the data set's own by default."""
    split: str | None = None
    """Part of the data set; ``val`` by default where there are parts."""
    raw_ids_of: str | None = None
    """Own folders: data set whose raw ids the label maps hold; by default they hold the labels of ``space``."""
    scale: float = Field(default=1.0, gt=0)
    """Size factor of images and labels."""
    crop: Literal["published"] | tuple[int, int] | None = None
    """Height and width to cut or pad to; ``published`` is the data set's."""
    batch_size: int = Field(default=1, ge=1)
    """Images predicted together; only images of one size are, so it does not change the numbers."""
    readers: int = Field(default=2, ge=1)
    """Threads that read images ahead."""
    confidence_threshold: float | None = Field(default=None, ge=0, le=1)
    """Score from which instances are kept; the model's own by default."""
    tta: ViewsConfig = ViewsConfig()
    """Test-time augmentation."""
    matching: MatchingConfig = MatchingConfig()
    """Clusters to classes."""
    semantic: SemanticProtocolConfig = SemanticProtocolConfig()
    """The protocol of semantic segmentation."""
    ignored_classes: tuple[str, ...] = ()
    """Names of classes that do not count in PQ (they take part in matching, mIoU and accuracy)."""
    void_rule: Literal["torchmetrics", "panopticapi"] = "torchmetrics"
    """``torchmetrics`` gives published numbers, ``panopticapi`` the stricter ones of COCO's and Cityscapes' boards."""
    thing_threshold: float | None = Field(default=None, ge=0, lt=1)
    """Folders of pseudo-labels: share of moving pixels above which a pseudo-class is a thing; the folder's own by
    default."""
    published: dict[ScoreName, float] = Field(default_factory=dict)
    """Published values in percent by the names of our scores, shown beside ours."""

    def changes(self) -> list[str]:
        """Return the settings that differ from those of the packaged recipe of this name, as ``key=value``."""
        if self.protocol not in recipe_names():
            return []
        recipe = _flat(load_config(ValidationConfig, self.protocol))
        return [
            f"{key}={value}"
            for key, value in _flat(self).items()
            if recipe.get(key) != value and key not in _SPEED
        ]


def _flat(config: Config, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Config) else {prefix + name: value}
    return flat
