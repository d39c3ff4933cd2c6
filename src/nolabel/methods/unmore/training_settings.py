"""Settings of the trainings of objectness and existence network; the defaults are the published ones (README commands).

Source: unMORE specification, 5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from nolabel.config import Config
from nolabel.engine.fit import FitConfig
from nolabel.methods.unmore.distances import Metric
from nolabel.methods.unmore.object_source import ObjectsConfig
from nolabel.methods.unmore.objectness_losses import ObjectnessLossConfig
from nolabel.models.objectness import InputStatistics

__all__ = [
    "ExistenceNetworkConfig",
    "ExistenceTrainingConfig",
    "LookConfig",
    "ObjectnessNetworkConfig",
    "ObjectnessTrainingConfig",
    "RateConfig",
    "TargetConfig",
]


class ObjectnessNetworkConfig(Config):
    """The network that draws boundary and centre field."""

    architecture: str = "dpt_large"
    """``dpt_large`` (published), ``dpt_base``, ``dpt_small``, ``tiny``, or a convolutional backbone of timm."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the architecture: fields of DptConfig (``boundary: sine``), or ``width`` and ``finest`` of small ones."""
    initial: Path | None = None
    """File, run folder or registered name to start from: an objectness network, or for a DPT a vision transformer of its
    width and depth (DINO, DINOv2, timm). Random weights by default; the original starts from a transformer trained with
    ImageNet's labels."""
    inputs: InputStatistics = "imagenet"
    """What images that transformer was trained on: normalised by ImageNet's statistics, or none (in [0, 1])."""


class ExistenceNetworkConfig(Config):
    """The network that tells whether there is an object."""

    architecture: str = "resnet50"
    """``resnet50`` (published), ``tiny``, or any classifier of timm."""
    initial: Path | None = None
    """File, run folder or registered name to start from: an existence network, or for ``resnet50`` a ResNet-50 in
    torchvision's or detectron2's layout. Random weights, as published, by default."""


class RateConfig(Config):
    """Optimizer, and its rate over the steps."""

    optimizer: Literal["adam", "sgd"] = "adam"
    """``adam``, or ``sgd`` with momentum 0.9 and weight decay 5e-5."""
    learning_rate: float = Field(1e-4, gt=0)
    """Rate at the first step."""
    milestones: tuple[int, ...] = (10000, 20000)
    """Steps from which on the rate is multiplied."""
    gamma: float = Field(0.1, gt=0, le=1)
    """By what."""
    reference_compat: bool = False
    """As executed: a run that goes on counts the milestones from the step at which it goes on, with the rate it had. Such
    a run does not give the weights of one that was not stopped."""


class TargetConfig(Config):
    """How samples and their fields are made."""

    size: int = Field(128, ge=64, multiple_of=32)
    """Side of the crops, pixels."""
    canvas: int = Field(400, gt=0)
    """Side to which images are brought before they are cropped, pixels; their aspect is not kept."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest part of the area that a crop takes."""
    background: bool = True
    """Whether the boundary field goes on outside the object, down to -1."""
    metric: Metric = "chamfer"
    """How distances are measured."""


class LookConfig(Config):
    """What trainings are looked at by (fit.validate_every, and at the end)."""

    held_out: float = Field(0.02, ge=0, le=0.5)
    """Part of the images that is not learned from; 0 looks at those that are, as the original does."""
    samples: int = Field(128, gt=0)
    """How many are scored."""
    pictures: int = Field(10, ge=0)
    """How many are drawn."""


PUBLISHED_FIT = FitConfig(
    steps=50000, batch_size=20, seed=0, workers=4, log_every=50, checkpoint_every=5000, validate_every=5000
)


class ObjectnessTrainingConfig(Config):
    """Training of the objectness network."""

    fit: FitConfig = PUBLISHED_FIT
    """Steps, batch, seed, precision, devices."""
    network: ObjectnessNetworkConfig = ObjectnessNetworkConfig()
    """What is trained."""
    objects: ObjectsConfig = ObjectsConfig()
    """Which objects."""
    targets: TargetConfig = TargetConfig()
    """How samples are made."""
    loss: ObjectnessLossConfig = ObjectnessLossConfig()
    """What is minimised."""
    rate: RateConfig = RateConfig()
    """How fast."""
    look: LookConfig = LookConfig()
    """What is scored and drawn."""


class ExistenceTrainingConfig(Config):
    """Training of the existence network."""

    fit: FitConfig = PUBLISHED_FIT.model_copy(update={"steps": 100000})
    """Steps, batch, seed, precision, devices."""
    network: ExistenceNetworkConfig = ExistenceNetworkConfig()
    """What is trained."""
    objects: ObjectsConfig = ObjectsConfig()
    """Which objects."""
    size: int = Field(128, ge=32)
    """Side of the crops, pixels."""
    background: float = Field(0.5, ge=0, le=1)
    """Part of the samples that are background."""
    rate: RateConfig = RateConfig()
    """How fast."""
    look: LookConfig = LookConfig(samples=512)
    """What is scored."""
