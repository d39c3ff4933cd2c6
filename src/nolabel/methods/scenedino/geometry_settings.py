"""Settings of stage 1, in which geometry and features are learnt; the defaults are the published ones.

Source: SceneDINO specification, 2.1 to 2.3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from nolabel.config import Config
from nolabel.engine.fit import FitConfig
from nolabel.methods.scenedino.reconstruction_loss import ReconstructionConfig
from nolabel.methods.scenedino.training_data import PosedDataConfig
from nolabel.methods.scenedino.views import ViewStrategy
from nolabel.models.features.vit_maps import VitVersion

__all__ = [
    "GeometryLookConfig",
    "GeometryRateConfig",
    "GeometryTrainingConfig",
    "NetworkConfig",
    "RaysConfig",
    "TargetMode",
    "ViewsConfig",
]

TargetMode = Literal["cells", "nearest", "bilinear", "bicubic", "multi_crop"]


class NetworkConfig(Config):
    """The network that a training starts from."""

    architecture: str = "vit-b"
    """Size of the transformer: ``vit-b``, ``vit-s``, ``vit-t``."""
    version: VitVersion = "v1"
    """DINO: ``v1`` (patches of 8 pixels), ``v1_16``; DINOv2: ``v2``, ``reg`` (with registers)."""
    image_size: tuple[int, int] = (192, 640)
    """(height, width) of the images, pixels; whole numbers of tokens."""
    token: int | None = Field(None, gt=0)
    """Pixels of the image per token, 8 or 16 by default. Where it is not the transformer's own patch, images are resized for
    it: 8 with DINOv2 gives small images as many tokens as its patches of 14 pixels give large ones."""
    transformer: Path | None = None
    """Official DINO or DINOv2 file (or registered name) for both transformers. Without one the trainable transformer starts
    from random numbers, and the target's would be random, too: then options should say ``target: descriptors``."""
    initial: Path | None = None
    """Whole network to start from instead: run folder, file, or official checkpoint. Nothing else is read then."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Fields of SceneDinoConfig, such as ``compact: 32`` or ``target: descriptors`` (with ``channels: 15, stride: 4``)."""


class ViewsConfig(Config):
    """Which views are compared, and which give the colours."""

    strategy: ViewStrategy = "kitti_360"
    """See :func:`nolabel.methods.scenedino.views.split_views`."""
    mirror: float = Field(0.5, ge=0, le=1)
    """Share of the steps in which the encoder sees the mirror image."""
    reference_compat: bool = False
    """Draw the first of two sides in two of three cases, as the original does."""


class RaysConfig(Config):
    """What a step renders of each scene."""

    patches: int = Field(32, gt=0)
    """Patches of one cell of the targets each (published: 2048 rays = 32 patches of 8 x 8, or 8 of 16 x 16)."""
    samples: int = Field(32, gt=1)
    """On each ray."""
    near: float = Field(3.0, gt=0)
    """Where rays begin, metres."""
    far: float = Field(80.0, gt=0)
    """Where they end, metres."""
    chunk: int = Field(65536, gt=0)
    """Points that are looked at at once: bounds the memory of evaluation."""


class GeometryRateConfig(Config):
    """Adam's learning rates over the steps."""

    learning_rate: float = Field(1e-4, gt=0)
    """Of everything but the transformer, at the first step."""
    transformer: float = Field(0.1, ge=0)
    """Factor of the trainable transformer's rate."""
    drop_every: int = Field(50000, gt=0)
    """Steps after which the rates are multiplied, again and again."""
    gamma: float = Field(0.1, gt=0, le=1)
    """By what."""


class GeometryLookConfig(Config):
    """What the training is looked at by (fit.validate_every, and at the end), where data for that is given."""

    samples: int = Field(128, gt=0)
    """Scenes that are scored, evenly spread over the data."""
    views: int | None = Field(None, gt=0)
    """Views of each that features are compared in, all by default; depth is scored in view 0."""
    pictures: int = Field(4, ge=0)
    """Scenes that are drawn (``pictures/step_*.png``)."""
    keep: Literal["best", "last"] = "best"
    """Which network the run ends with: the one whose features were most similar, or the last."""


class GeometryTrainingConfig(Config):
    """Stage 1."""

    fit: FitConfig = FitConfig(
        steps=100000,
        batch_size=4,
        seed=0,
        precision="bf16-mixed",
        workers=4,
        log_every=100,
        checkpoint_every=10000,
        validate_every=5000,
    )
    """Steps, batch, seed, precision, devices."""
    data: PosedDataConfig = PosedDataConfig()
    """Which scenes."""
    network: NetworkConfig = NetworkConfig()
    """What is trained."""
    views: ViewsConfig = ViewsConfig()
    """What is compared with what."""
    rays: RaysConfig = RaysConfig()
    """What is rendered."""
    targets: TargetMode = "cells"
    """``cells``: rendered patches are brought down to the cells of the target; else the targets are brought up to pixels."""
    loss: ReconstructionConfig = ReconstructionConfig()
    """What is minimised."""
    rate: GeometryRateConfig = GeometryRateConfig()
    """How fast."""
    look: GeometryLookConfig = GeometryLookConfig()
    """What is scored."""

    @pydantic.model_validator(mode="after")
    def _targets_fit_network(self) -> Self:
        options = self.network.options
        if self.targets != "cells" and options.get("artifacts", True):
            raise ValueError(f"targets {self.targets} have no cells: set network.options.artifacts=false")
        return self
