"""Settings of the first stage: masks from self-supervised features. The defaults need no weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from nolabel.config import Config
from nolabel.engine.feature_extractors import PACKAGED
from nolabel.errors import ConfigError

__all__ = [
    "CrfSettings",
    "CutSettings",
    "FeatureSettings",
    "MaskCutSettings",
    "PseudoMaskConfig",
    "VoteSettings",
    "named_features",
]


class FeatureSettings(Config):
    """One network whose features are cut."""

    name: str = "embedded"
    """``embedded`` (the network that the package carries), ``descriptors`` (no network at all), ``learnt`` (what ``nolabel
    pretrain features`` left), one of VoteCut's networks (``dino_s16``, ``dino_b16``, ``dino_s8``, ``dino_b8``,
    ``dinov2_s14``, ``dinov2_b14``), or any timm model, for instance ``vit_small_patch14_dinov2``."""
    weights: Path | None = None
    """Checkpoint file, run folder of ``learnt``, or a name in the registry."""
    side: int | None = Field(default=None, ge=28)
    """Side of the square for this network, pixels; the common one by default. One network at several sides votes as
    several networks do, where there is only one."""


def named_features(names: Sequence[str], weights: Sequence[Path]) -> list[dict[str, Any]]:
    """Pair names with weights, in order; ``embedded`` and ``descriptors`` take none.

    Raises:
        ConfigError: there are more of one than of the other.
    """
    needing = [name for name in names if name not in PACKAGED]
    if len(needing) != len(weights):
        raise ConfigError(
            f"{len(needing)} networks need weights and {len(weights)} files are given",
            hint="repeat --features NAME --feature-weights FILE for each network",
        )
    files = iter(weights)
    return [{"name": name, "weights": None if name in PACKAGED else str(next(files))} for name in names]


class CutSettings(Config):
    """The graph of a normalised cut."""

    tau: float = Field(default=0.15, gt=-1, lt=1)
    """Cells are neighbours if the cosine of their features is above it."""
    epsilon: float = Field(default=1e-5, gt=0, lt=1)
    """Affinity of cells that are not; neighbours have 1."""


class CrfSettings(Config):
    """The dense CRF that snaps masks to the image (spec unmore 2.3)."""

    iterations: int = Field(default=10, ge=0)
    """Mean-field updates; 0 leaves the CRF out."""
    gaussian_sxy: float = Field(default=3.0, gt=0)
    """Pixels: reach of the term that wants near pixels to agree."""
    gaussian_strength: float = Field(default=7.0, ge=0)
    """Weight of that term."""
    bilateral_sxy: float = Field(default=50.0, gt=0)
    """Pixels: reach of the term that wants near pixels of one colour to agree."""
    bilateral_srgb: float = Field(default=5.0, gt=0)
    """8-bit values: what counts as one colour."""
    bilateral_strength: float = Field(default=10.0, ge=0)
    """Weight of that term."""


class VoteSettings(Config):
    """How proposals of all networks become masks (VoteCut)."""

    clusters: tuple[int, ...] = (2, 3)
    """Every eigenvector is clustered into each of these numbers."""
    grid: int = Field(default=60, ge=5)
    """Cells of a side of the common grid."""
    alike: float = Field(default=0.6, gt=0, lt=1)
    """IoU above which proposals show the same object."""
    share: float = Field(default=0.2, ge=0, lt=1)
    """A cell belongs to a mask if more than this share of its proposals hold it (tau_m)."""
    most_masks: int = Field(default=10, ge=1)
    """Masks of an image at most."""
    reference_compat: bool = False
    """Order equally popular proposals as the original's unstable sort happens to."""


class MaskCutSettings(Config):
    """Repeated cuts of one network's features (MaskCut)."""

    masks: int = Field(default=3, ge=1)
    """Cuts, of which some may find nothing."""
    most_overlap: float = Field(default=0.5, ge=0, le=1)
    """A cut whose IoU with the one before is above it finds nothing."""
    least_area: float = Field(default=0.01, ge=0, lt=1)
    """A later cut must cover more than this share of the image."""
    least_agreement: float = Field(default=0.5, ge=0, le=1)
    """Masks whose IoU before and after the CRF is below it are dropped."""


class PseudoMaskConfig(Config):
    """From photographs to masks of their objects."""

    method: Literal["votecut", "maskcut"] = "votecut"
    """``votecut``: proposals of several networks vote; ``maskcut``: repeated cuts of one network's features."""
    features: tuple[FeatureSettings, ...] = Field(default=(FeatureSettings(),), min_length=1)
    """The networks, in the order in which their proposals are listed."""
    side: int = Field(default=480, ge=28)
    """Images are scaled to a square of about this side, pixels: the next multiple of the patch at or below it."""
    cut: CutSettings = CutSettings()
    """The graphs."""
    vote: VoteSettings = VoteSettings()
    """VoteCut alone."""
    maskcut: MaskCutSettings = MaskCutSettings()
    """MaskCut alone."""
    crf: CrfSettings = CrfSettings()
    """Refinement of the masks."""

    @model_validator(mode="after")
    def _one_network(self) -> PseudoMaskConfig:
        if self.method == "maskcut" and len(self.features) != 1:
            raise ValueError(f"maskcut cuts the features of one network, {len(self.features)} are named")
        return self

    def without_paths(self) -> PseudoMaskConfig:
        """Return the settings without the places of files: weights count by their content, wherever they lie."""
        features = tuple(entry.model_copy(update={"weights": None}) for entry in self.features)
        return self.model_copy(update={"features": features})
