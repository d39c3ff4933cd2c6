"""Settings of learning semantics for new footage; the defaults are those published for Cityscapes with ViT-B/8."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from nolabel.config import Config
from nolabel.engine.fit import FitConfig
from nolabel.methods.cups.pseudo_label_config import MotionConfig

__all__ = ["BackboneConfig", "CropConfig", "DepthGConfig", "TermConfig"]


class BackboneConfig(Config):
    """The frozen features that are distilled."""

    name: str = "descriptors"
    """``descriptors`` (no weights), ``embedded`` (the network that the package carries), ``learnt`` (what ``nolabel pretrain
    features`` left), ``dino`` (an official DINO ViT), or any timm model (``vit_small_patch14_dinov2``)."""
    weights: Path | None = None
    """Checkpoint file, run folder of ``learnt``, or a name in the registry."""
    scale: float = Field(1.0, gt=0, le=4)
    """timm models: images are resized by this first."""
    half_precision: bool = False
    """Compute features in bfloat16; not for ``descriptors``."""


class CropConfig(Config):
    """What the network sees of each frame."""

    most_frames: int | None = Field(None, ge=1)
    """Frames used, evenly spread over the data; all by default. Neighbouring video frames teach little."""
    size: float = Field(0.5, gt=0, le=1)
    """Size of the five crops (four corners and the centre) relative to the frame."""
    side: int = Field(224, ge=32)
    """Pixels: each crop's shorter side is resized to this, then its central square is taken."""
    cache: Literal["auto", "disk", "recompute"] = "auto"
    """Features on disk in half precision, computed once; or anew in every step; auto: disk below the limit."""
    cache_limit: float = Field(50.0, gt=0)
    """Gigabytes up to which ``auto`` caches."""


class TermConfig(Config):
    """One term of the correlation loss."""

    weight: float = Field(ge=0)
    """Of the term in the sum."""
    shift: float | None
    """Correlation that neither attracts nor repels; null: measured on the data, so that a fixed share of the pairs
    attracts (depth: 0)."""


class DepthGConfig(Config):
    """Learning a segmentation head and clusters from frozen features and depth."""

    fit: FitConfig = FitConfig(steps=7000, batch_size=32, seed=0, validate_every=100)
    """Steps, batch size, seed, precision, devices."""
    backbone: BackboneConfig = BackboneConfig()
    """The frozen features."""
    motion: MotionConfig = MotionConfig()
    """What estimates disparity where the data is stereo."""
    crops: CropConfig = CropConfig()
    """The five crops of each frame."""
    dim: int = Field(100, ge=1)
    """Code length."""
    clusters: int = Field(27, ge=2, le=255)
    """Pseudo classes."""
    intra: TermConfig = TermConfig(weight=0.95, shift=0.39)
    """Pairs of places of one crop."""
    inter: TermConfig = TermConfig(weight=1.02, shift=0.25)
    """Pairs of a crop and one of its nearest neighbours."""
    negative: TermConfig = TermConfig(weight=0.57, shift=0.26)
    """Pairs of a crop and other crops of the batch."""
    depth: TermConfig = TermConfig(weight=0.09, shift=0.03)
    """Pairs of places of one crop, taught by depth."""
    depth_decay: float = Field(0.8, gt=0, le=1)
    """Weight and shift of the depth term are multiplied by this ..."""
    depth_decay_every: int = Field(400, ge=1)
    """... every so many steps."""
    places: Literal["uniform", "farthest"] = "uniform"
    """Where the losses look: random places, or places spread over the scene by depth."""
    samples: int = Field(11, ge=2)
    """Places along each side of the sample grid."""
    samples_decay: float = Field(1.0, gt=0, le=1)
    """``samples`` is multiplied by this ..."""
    samples_decay_every: int = Field(1000, ge=1)
    """... every so many steps, first at step 0."""
    positives: int = Field(7, ge=1, le=29)
    """The positive of a crop is one of this many nearest crops."""
    negatives: int = Field(5, ge=1)
    """Negatives of each crop."""
    pointwise: bool = False
    """Centre feature correlations at each place."""
    centre_features: bool = False
    """Subtract the mean feature of the data before correlating: for features that share a large common part."""
    lift: float = Field(0.0, ge=0)
    """Constant appended to features before correlating, in units of their usual length: above 0, correlations follow
    distances rather than directions, as hand-made descriptors need it."""
    learning_rate: float = Field(5e-4, gt=0)
    """Of Adam for the head."""
    probe_learning_rate: float = Field(5e-3, gt=0)
    """Of Adam for cluster and linear probe."""
    final_clusters: Literal["online", "kmeans"] = "online"
    """The clusters learnt along with the codes, or k-means of the finished codes (no dead clusters)."""
    balance: float = Field(0.4, gt=0, le=1)
    """k-means: power of the number of samples in what they count; below 1, rare surfaces get clusters too."""
    choose: Literal["last", "cluster_loss", "miou"] = "last"
    """Which weights are kept: the last, those with the lowest smoothed cluster loss at a validation, or those with
    the best validation score, as published, which needs labels."""
    crf: bool = False
    """Refine predictions with the dense CRF before scoring them."""
    reference_compat: bool = False
    """Repeat the original's quirks: depth as a mask, its farthest-point sampling, crops resized without smoothing."""

    def samples_at(self, step: int) -> int:
        """Places along each side at a step: at least 2."""
        if self.samples_decay == 1:
            return self.samples
        return max(2, int(self.samples * self.samples_decay ** (1 + step // self.samples_decay_every)))

    def depth_factor(self, step: int) -> float:
        """What weight and shift of the depth term are multiplied by at a step."""
        return self.depth_decay ** (step // self.depth_decay_every)
