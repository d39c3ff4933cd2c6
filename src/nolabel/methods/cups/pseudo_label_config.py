"""Settings of the pseudo-label stage. The defaults need no weights; the recipes hold the published settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from nolabel.config import Config
from nolabel.methods.cups.sf2se3.config import ObjectProposalConfig


class MotionConfig(Config):
    """Which network or algorithm estimates flow and disparity."""

    name: Literal["opencv", "embedded", "learnt", "raft_smurf", "raft_large", "raft_small", "files"] = (
        "opencv"
    )
    """``opencv`` and ``embedded`` (the network that comes with the package) need no weights; ``learnt`` takes a run of
    ``nolabel pretrain motion``; the RAFT networks need theirs (``raft_smurf``: self-supervised, as published;
    ``raft_large``: supervised, the "RAFT" of the CUPS ablation). ``files`` reads what any network has written before."""
    weights: Path | None = None
    """Checkpoint file, its name in the registry, or the folder of a run."""
    folder: Path | None = None
    """``files``: where they are; see ``nolabel.data.motion_files`` for names and formats."""
    cache: Path | None = None
    """Keep flow and disparity of every pair here, so that other semantic settings do not compute them again. The
    labels are the same with and without; a pair takes 32 bytes for each pixel."""
    updates: int | None = Field(default=None, ge=1)
    """Recurrent updates of RAFT; by default what the network's card says, else 16 (published)."""
    half_precision: bool = False
    """Run RAFT in half precision (accelerators)."""


class SemanticConfig(Config):
    """Which features make the pseudo classes, and how they are clustered."""

    features: str = "embedded"
    """``embedded`` or ``descriptors`` (no weights), ``learnt`` (by ``nolabel pretrain features``), ``depthg`` (published, or
    learnt by train-semantics), ``dino``, or any timm model name, for instance ``vit_small_patch14_dinov2``."""
    weights: Path | None = None
    """Checkpoint of the features; for ``depthg`` also the folder of a train-semantics run."""
    depth_guided: bool = True
    """Let the distance decide how an image is read: near things from the whole image, far ones from enlarged windows;
    embedded features read heights and orientations off the disparity. Off: from the image alone, at one scale
    (the "vanilla" semantics of the CUPS ablation)."""
    scale: float = Field(default=1.0, gt=0, le=4)
    """timm models: images are resized by this first; above 1 gives finer cells."""
    half_precision: bool = False
    """Run the network in bfloat16: twice as fast on processors that know it; not for ``embedded``."""
    clusters: int = Field(default=27, ge=2, le=255)
    """Pseudo classes. DepthG brings its own and this is not used."""
    cluster_file: Path | None = None
    """Clusters fitted before (``clusters.safetensors`` of another run) instead of fitting new ones."""
    fit_frames: int = Field(default=64, ge=1)
    """Frames that features are sampled from."""
    fit_samples: int = Field(default=1000, ge=1)
    """Feature vectors from each frame."""
    dimensions: int = Field(default=64, ge=1)
    """Principal axes kept."""
    whitening: float = Field(default=0.0, ge=0, le=1)
    """0 keeps the variances of the axes, 1 makes them equal."""
    lift: float | None = Field(default=None, ge=0)
    """0 compares directions of features, larger values their distances; null chooses by the features."""
    balance: float = Field(default=0.4, gt=0, le=1)
    """Power of the number of samples in what they count: below 1, rare kinds of surface get clusters too."""
    sharpness: float = Field(default=8.0, gt=0)
    """Factor of the cosines in the class probabilities."""
    restarts: int = Field(default=10, ge=1)
    """Runs of k-means, of which the best is kept."""


class CrfConfig(Config):
    """The dense CRF that snaps the semantic map to the image (spec cups_pseudo 8)."""

    iterations: int = Field(default=10, ge=0)
    """Mean-field updates; 0 leaves the CRF out."""
    scale: float = Field(default=1.0, gt=0, le=1)
    """The CRF works on the image resized by this: 0.5 is four times faster and slightly coarser."""
    gaussian_sxy: float = Field(default=1.0, gt=0)
    """Pixels: reach of the term that wants near pixels to agree."""
    gaussian_strength: float = Field(default=3.0, ge=0)
    """Weight of that term."""
    bilateral_sxy: float = Field(default=67.0, gt=0)
    """Pixels: reach of the term that wants near pixels of one colour to agree."""
    bilateral_srgb: float = Field(default=3.0, gt=0)
    """8-bit values: what counts as one colour."""
    bilateral_strength: float = Field(default=4.0, ge=0)
    """Weight of that term."""


class PseudoLabelConfig(Config):
    """From stereo video to panoptic pseudo-labels."""

    motion: MotionConfig = MotionConfig()
    """Flow and disparity."""
    proposals: ObjectProposalConfig = ObjectProposalConfig()
    """Moving objects from motion."""
    semantics: SemanticConfig = SemanticConfig()
    """Pseudo classes from features."""
    crf: CrfConfig = CrfConfig()
    """Refinement of the pseudo classes."""
    align: bool = True
    """Give all pixels of an object the class that most of them have. Off: the semantic map stays as it is."""
    border: float = Field(default=0.025, ge=0, lt=0.5)
    """Share of the columns at the left and at the right from which objects are removed (published: 32 of 1280)."""
    thing_threshold: float = Field(default=0.08, ge=0, lt=1)
    """Pseudo classes with a larger share of the moving-pixel ratios are things."""
    seed: int = Field(default=1996, ge=0)
    """Every image draws from its own generator, seeded by this and its name."""
    reference_compat: bool = False
    """Repeat the original's quirks of semantics and fusion (those of the proposals have their own switch)."""

    def without_paths(self) -> PseudoLabelConfig:
        """Return the settings without the places of files: these count by their content, wherever they lie."""
        motion = self.motion.model_copy(update={"weights": None, "folder": None, "cache": None})
        semantics = self.semantics.model_copy(update={"weights": None, "cluster_file": None})
        return self.model_copy(update={"motion": motion, "semantics": semantics})
