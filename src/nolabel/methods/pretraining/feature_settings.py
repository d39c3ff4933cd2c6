"""Settings of the self-distillation of features; the defaults are DINO's ViT-S/16 (Caron et al., ICCV 2021, section 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from nolabel.config import Config
from nolabel.engine.fit import FitConfig

__all__ = [
    "BackboneConfig",
    "ColourConfig",
    "CropConfig",
    "DistillationConfig",
    "FeatureLookConfig",
    "FeaturePretrainingConfig",
    "HeadConfig",
    "ImagesConfig",
    "ObjectiveConfig",
    "RatesConfig",
]


class BackboneConfig(Config):
    """The network whose features are learnt."""

    architecture: str = "vit_small_patch16_224"
    """``compact`` (:class:`nolabel.models.features.CompactFeatures`), or the name of any timm ViT or ResNet."""
    options: dict[str, Any] = Field(default_factory=dict)
    """``compact``: widths, depths, channels, stride. timm: max_stride, and output_stride (ResNets: a stride of the deepest
    map below 32, by dilation)."""
    drop_path: float = Field(0.1, ge=0, lt=1)
    """timm ViTs: share of the residual branches that the student leaves out."""
    initial: Path | None = None
    """Run folder or file of an earlier pretraining of the same network to start from; random weights by default."""
    described: float = Field(0.0, ge=0)
    """How much the finished features count where descriptors are set beside them in later use
    (:class:`nolabel.models.features.DescribedFeatures`): colours, the row, and height and distance where there is stereo. 0:
    used alone. Training does not know of it."""
    compile: bool = False
    """Run student and teacher through ``torch.compile``: minutes of waiting at the start, faster steps on a GPU."""


class ImagesConfig(Config):
    """What is read of folders and videos."""

    dataset: str | None = None
    """Layout of the folders (``nolabel datasets``); found by looking by default."""
    split: str = "train"
    """Of data sets that have splits."""
    video_frames: int = Field(1000, ge=1)
    """At most so many frames of each video are kept, evenly spread over it; they are held in memory as JPEG."""
    shorter_side: int | None = Field(None, ge=32)
    """Larger pictures are made so small first, pixels: crops are then cut at about the scale of later use."""


class ColourConfig(Config):
    """How the colours of a view are changed; strengths as in torchvision's ColorJitter."""

    jitter: float = Field(0.8, ge=0, le=1)
    """Share of the views whose colours are changed."""
    brightness: float = Field(0.4, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, lt=1)
    hue: float = Field(0.1, ge=0, le=0.5)
    """Turns of the colour wheel."""
    grey: float = Field(0.2, ge=0, le=1)
    """Share of the views without colours."""
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    """Share of the blurred ones of the first global, the second global and the local views."""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Pixels."""
    solarize: float = Field(0.2, ge=0, le=1)
    """Share of the second global views whose bright values are inverted."""


class CropConfig(Config):
    """Which parts of a picture are compared (multi-crop)."""

    size: int = Field(224, ge=16)
    """Side of the two global views, pixels."""
    scale: tuple[float, float] = (0.25, 1.0)
    """Area of a global view, as shares of the picture's."""
    aspect: tuple[float, float] = (0.75, 4 / 3)
    """Width over height of the part that is cut out."""
    local: int = Field(8, ge=0)
    """Local views of each picture, which only the student sees."""
    local_size: int = Field(96, ge=16)
    """Side of a local view, pixels."""
    local_scale: tuple[float, float] = (0.05, 0.25)
    """Area of a local view."""
    overlap: float = Field(0.0, ge=0, lt=1)
    """The two global views share at least so much of the smaller one: what the dense objective compares."""
    points: int = Field(0, ge=0)
    """Places in the common part of the two global views that the dense objective compares."""
    flip: float = Field(0.5, ge=0, le=1)
    """Share of the mirrored views."""
    hide: float = Field(0.0, ge=0, lt=1)
    """Share of the blocks of a global view that only the teacher sees (the student sees the mean colour)."""
    hide_block: int = Field(16, ge=1)
    """Side of such a block, pixels."""
    teacher_sees: Literal["same", "plain"] = "same"
    """``plain``: the teacher sees the global views before their colours were changed."""
    colour: ColourConfig = ColourConfig()
    """Changes of colours."""


class HeadConfig(Config):
    """The projection heads (DINO, section 3.2: a multi-layer perceptron, unit vectors, a weight-normalised last layer)."""

    hidden: int = Field(2048, ge=1)
    """Width of the perceptron."""
    layers: int = Field(3, ge=1)
    """Its depth, the bottleneck included."""
    bottleneck: int = Field(256, ge=1)
    """Length of the unit vectors."""
    prototypes: int = Field(65536, ge=2)
    """Outputs of the image objective."""
    dense_prototypes: int = Field(8192, ge=2)
    """Outputs of the dense objective."""
    frozen_steps: int = Field(1250, ge=0)
    """Steps at the start in which the last layers are not changed."""


class DistillationConfig(Config):
    """Teacher and targets."""

    student_temperature: float = Field(0.1, gt=0)
    teacher_temperature: float = Field(0.04, gt=0)
    """At the end of the warm-up."""
    teacher_temperature_start: float = Field(0.04, gt=0)
    """At the first step."""
    temperature_warmup: float = Field(0.3, ge=0, le=1)
    """Share of the steps over which the temperature goes from one to the other."""
    balancing: Literal["centre", "sinkhorn"] = "centre"
    """What keeps the teacher from giving everything the same output: a running mean that is taken off, or assignments that
    use all prototypes alike (Sinkhorn-Knopp; SwAV, DINOv2)."""
    centre_momentum: float = Field(0.9, ge=0, lt=1)
    sinkhorn_iterations: int = Field(3, ge=1)
    momentum: tuple[float, float] = (0.996, 1.0)
    """How much of the teacher stays at a step, at the first and at the last one (a cosine between)."""


class ObjectiveConfig(Config):
    """Weights of the two objectives."""

    image: float = Field(1.0, ge=0)
    """Views of one picture have one output (DINO)."""
    dense: float = Field(0.0, ge=0)
    """Cells at the same place of the picture have one output, needs ``crops.points``."""

    @pydantic.model_validator(mode="after")
    def _something(self) -> Self:
        if self.image == self.dense == 0:
            raise ValueError("objective.image and objective.dense are both 0: there is nothing to learn")
        return self


class RatesConfig(Config):
    """Rates of AdamW over the steps."""

    learning_rate: float = Field(5e-4, gt=0)
    """Of a batch of 256 pictures; it grows with the batch."""
    reference_batch: int = Field(256, ge=1)
    """The batch that ``learning_rate`` means."""
    final_rate: float = Field(1e-6, ge=0)
    """Learning rate at the last step."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0."""
    weight_decay: tuple[float, float] = (0.04, 0.4)
    """At the first and at the last step (a cosine between); biases and norms have none."""


class FeatureLookConfig(Config):
    """What is looked at during training."""

    references: int = Field(30, ge=1)
    """Labelled pictures that the probes learn from, evenly spread over the split."""
    queries: int = Field(30, ge=1)
    """Labelled pictures that they are scored on."""
    cells: int = Field(200, ge=1)
    """Labelled cells of each reference picture."""
    neighbours: int = Field(20, ge=1)
    """k of k-NN."""
    pictures: int = Field(4, ge=0)
    """Pictures whose features are drawn as colours (principal axes)."""


class FeaturePretrainingConfig(Config):
    """All settings of ``nolabel pretrain features``."""

    fit: FitConfig = FitConfig(steps=125_000, batch_size=64, clip_norm=3.0)
    network: BackboneConfig = BackboneConfig()
    images: ImagesConfig = ImagesConfig()
    crops: CropConfig = CropConfig()
    heads: HeadConfig = HeadConfig()
    distillation: DistillationConfig = DistillationConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    rates: RatesConfig = RatesConfig()
    look: FeatureLookConfig = FeatureLookConfig()
    store: Literal["float32", "float16"] = "float32"
    """How ``model.safetensors`` keeps matrices; it is computed in float32 all the same."""

    @pydantic.model_validator(mode="after")
    def _points(self) -> Self:
        if (self.objective.dense > 0) != (self.crops.points > 0):
            raise ValueError(
                "the dense objective compares crops.points places: objective.dense and crops.points are both 0 or both not"
            )
        return self
