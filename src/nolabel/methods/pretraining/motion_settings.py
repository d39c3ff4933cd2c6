"""Settings of the self-supervised training of motion; the defaults follow SMURF (Stone et al., CVPR 2021, section 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from nolabel.config import Config
from nolabel.engine.fit import FitConfig

__all__ = [
    "MotionAugmentationConfig",
    "MotionDataConfig",
    "MotionLookConfig",
    "MotionLossConfig",
    "MotionNetworkConfig",
    "MotionRateConfig",
    "MotionStageConfig",
    "MotionTrainingConfig",
    "SynthesisConfig",
]


class MotionNetworkConfig(Config):
    """The network that learns."""

    architecture: Literal["raft_small", "raft_smurf", "raft_large"] = "raft_smurf"
    """Layout, see :func:`nolabel.models.motion.build_motion`."""
    initial: Path | None = None
    """Network to start from: run folder, file, or registered name. Random weights by default."""
    updates: int = Field(12, gt=0)
    """Recurrent updates when the network is looked at, and those that its card recommends."""
    half: bool = False
    """Write the finished network in float16, half the size; it computes in float32 all the same."""
    compile: bool = False
    """Let torch.compile make the network's passes; pays on GPUs after minutes of compilation."""


class MotionDataConfig(Config):
    """What of the footage is seen."""

    region: tuple[int, int] = (384, 768)
    """(height, width) that every picture is scaled to cover, and cut to at random. Multiples of 8."""
    frame_gap: int = Field(1, gt=0)
    """Frames between the two of a pair."""
    split: str = "train"
    """Of data sets that have splits."""


class MotionAugmentationConfig(Config):
    """How the network's input differs from what the photometric loss compares."""

    mirror: bool = True
    """Mirror every second sample left to right, and every fourth upside down if no stereo view is in it."""
    brightness: float = Field(0.3, ge=0)
    """Factors are drawn from 1 +- this, the same for all images of a sample."""
    contrast: float = Field(0.3, ge=0)
    """Likewise."""
    saturation: float = Field(0.3, ge=0)
    """Likewise."""
    hue: float = Field(0.1, ge=0, le=0.5)
    """Turns of the colour wheel, likewise around 0."""
    own: float = Field(0.1, ge=0)
    """Standard deviation of the logarithm of a brightness factor that each image has for itself (cameras differ)."""
    noise: float = Field(0.01, ge=0)
    """Standard deviation of noise, images in [0, 1]."""


class SynthesisConfig(Config):
    """Pictures set in motion."""

    pieces: int = Field(4, ge=0)
    """Pieces of other pictures that are laid on each."""
    sideways: float = Field(0.4, ge=0, le=1)
    """Share of the pairs that move along the rows, like the views of a stereo camera."""


class MotionLossConfig(Config):
    """What is minimised; weights of the terms are in the stages."""

    gamma: float = Field(0.8, gt=0, le=1)
    """Weight of an update relative to the next one (RAFT, equation 7)."""
    census: int = Field(7, ge=3)
    """Side of the census' window, pixels; odd."""
    power: float = Field(0.4, gt=0, le=1)
    """Of the robust penalty (difference + 0.01)^power (UFlow)."""
    smoothness_order: Literal[1, 2] = 1
    """1: changes of flow cost; 2: changes of its slope."""
    smoothness_stride: int = Field(1, gt=0)
    """Flow and image are averaged over cells of so many pixels before smoothness is measured."""
    edge_sharpness: float = Field(150.0, ge=0)
    """How much less smoothness counts at edges of the image."""
    coarse: bool = True
    """Compare all but the last update at half resolution: a third of the cost, and a wider basin."""
    occlusion: Literal["consistency", "range_map"] = "consistency"
    """How pixels without a partner are found."""
    upright: float = Field(0.1, ge=0)
    """Weight of vertical motion and of motion in the wrong direction between the views of a stereo camera, per pixel."""


class MotionStageConfig(Config):
    """A part of the training; parts follow each other."""

    share: float = Field(1.0, gt=0)
    """Of all steps, relative to the other stages'."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor by which the regions are scaled."""
    crop: tuple[int, int] = (296, 696)
    """(height, width) that the network sees of them. Multiples of 8, at least 128."""
    updates: int = Field(12, gt=0)
    """Recurrent updates."""
    pictures: int = Field(0, ge=0)
    """Pictures of each batch that are set in motion, with known flow."""
    largest: float = Field(0.3, gt=0, lt=1)
    """Their longest shift, relative to the width of the crop; most are much shorter."""
    synthesis: float = Field(1.0, ge=0)
    """Weight of the error of their flow, per pixel."""
    photometric: float = Field(1.0, ge=0)
    """Weight of the census of real pairs; real pairs are left out where this and ``guide`` are 0."""
    smoothness: float = Field(4.0, ge=0)
    """Weight of smoothness."""
    occlusions: bool = True
    """Leave pixels without a partner out of the photometric loss; early, flow is too wrong to know them."""
    guide: float = Field(0.0, ge=0)
    """Weight of the distance to what OpenCV's classical matching (DIS, SGBM) sees in the whole region, per pixel."""
    self_supervision: float = Field(0.0, ge=0)
    """Weight of the distance to what the same network sees in the whole region, per pixel."""

    @property
    def real(self) -> bool:
        """Whether real pairs are looked at."""
        return bool(self.photometric or self.guide)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(side % 8 or side < 128 for side in self.crop):
            raise ValueError("crop: sides must be multiples of 8, and at least 128")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale: the smallest comes first, both above 0")
        if not self.pictures and not self.real:
            raise ValueError(
                "a stage needs pictures (set in motion), or a weight photometric or guide above 0"
            )
        if self.self_supervision and not self.real:
            raise ValueError("self_supervision needs real pairs: a weight photometric or guide above 0")
        return self


class MotionRateConfig(Config):
    """AdamW with a linear rise and a linear fall."""

    learning_rate: float = Field(2e-4, gt=0)
    """Largest rate."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Part of the steps in which it rises."""
    weight_decay: float = Field(1e-5, ge=0)
    """Of AdamW."""


class MotionLookConfig(Config):
    """What a training is looked at by (fit.validate_every, and at the end)."""

    samples: int = Field(16, gt=0)
    """Samples of each of the --validate data that are scored; of the training data where there is none."""
    pictures: int = Field(4, ge=0)
    """How many are drawn."""


class MotionTrainingConfig(Config):
    """Self-supervised training of motion."""

    fit: FitConfig = FitConfig(
        steps=75000,
        batch_size=2,
        clip_norm=1.0,
        precision="bf16-mixed",
        workers=4,
        log_every=50,
        checkpoint_every=1000,
        validate_every=5000,
    )
    """Steps, batch (samples: four images of stereo video, two of other video), seed, precision, devices."""
    network: MotionNetworkConfig = MotionNetworkConfig()
    """What is trained."""
    data: MotionDataConfig = MotionDataConfig()
    """What is read."""
    augmentation: MotionAugmentationConfig = MotionAugmentationConfig()
    """How the network's input is changed."""
    synthesis: SynthesisConfig = SynthesisConfig()
    """How pictures are set in motion."""
    loss: MotionLossConfig = MotionLossConfig()
    """What is minimised."""
    rate: MotionRateConfig = MotionRateConfig()
    """How fast."""
    stages: tuple[MotionStageConfig, ...] = Field(
        (
            MotionStageConfig(share=0.1, pictures=4, photometric=0.0),
            MotionStageConfig(share=0.4),
            MotionStageConfig(share=0.5, self_supervision=0.3),
        ),
        min_length=1,
    )
    """What is learnt when."""
    look: MotionLookConfig = MotionLookConfig()
    """What is scored and drawn."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for stage in self.stages:
            smallest = [int(side * stage.scale[0]) // 8 * 8 for side in self.data.region]
            if any(side < crop for side, crop in zip(smallest, stage.crop, strict=True)):
                raise ValueError(
                    f"stages: a crop of {stage.crop} is larger than its scaled region {smallest}"
                )
        return self
