"""Settings of the detector's training (unMORE, specification section 9)."""

from __future__ import annotations

from typing import ClassVar, Literal

import pydantic

from nolabel.config import Config
from nolabel.engine.fit import FitConfig

__all__ = ["CopyPasteConfig", "DetectorConfig", "DetectorDataConfig", "DetectorValidationConfig"]


class CopyPasteConfig(Config):
    """Objects of other images of the batch, pasted; the defaults are the published ones."""

    rate: float = pydantic.Field(1.0, ge=0, le=1)
    """Share of the images that get something pasted; 0 switches copy-paste off."""
    scale: tuple[float, float] = (0.3, 1.0)
    """Smallest and largest size of the pasted picture, as a share of the target's height and width."""


class DetectorDataConfig(Config):
    """Which images are trained on, at which sizes; the defaults are the published ones."""

    short_sides: tuple[int, ...] = (240, 320, 480, 640, 672, 704, 736, 768, 800, 1024)
    """Shorter side of an image in pixels; each image draws one."""
    long_side: int = pydantic.Field(1333, gt=0)
    """Longest side of an image in pixels, whatever the shorter one."""
    mirror: float = pydantic.Field(0.5, ge=0, le=1)
    """Share of images that are mirrored."""
    least_score: float = pydantic.Field(0.0, ge=0, le=1)
    """Objects with a lower score are left out."""
    only_non_empty: bool = True
    """Leave out images without objects."""
    scene_repeats: int = pydantic.Field(5, ge=1)
    """How often an epoch holds each image of a scene, where single-object images (``.JPEG``, ImageNet's) are among them."""
    group_shapes: bool = True
    """Put landscape and portrait images into batches of their own, so that little is padded."""


class DetectorValidationConfig(Config):
    """How the detector is scored during training, where labelled images are given for that."""

    images: int | None = pydantic.Field(None, ge=1)
    """Score so many images, evenly spread; all by default."""
    batch_size: int = pydantic.Field(1, ge=1)
    """Images of one size that are predicted together."""


class DetectorConfig(Config):
    """Training of the class-agnostic detector; the defaults are the published recipe."""

    not_identity: ClassVar[frozenset[str]] = frozenset({"picture_every", "validation"})

    fit: FitConfig = FitConfig(steps=30000, batch_size=16, checkpoint_every=1000)
    """Steps, batch size of a process, seed, precision, devices (published: 16 images over all devices, mixed precision)."""
    network: Literal["resnet50", "tiny"] = "resnet50"
    """Size of the network: the published one, or about two million parameters for two CPU cores."""
    initial_weights: str | None = None
    """What to start from: a ResNet in detectron2 layout (DINO's) or a whole detector; a file, a run folder or a registered
    name."""
    normalisation: Literal["sync", "batch", "frozen"] = "sync"
    """Batch statistics over all processes, over those of each process, or none: the stored ones stay. Without several
    accelerators ``sync`` and ``batch`` are the same."""
    learning_rate: float = pydantic.Field(0.01, gt=0)
    """Of stochastic gradient descent, after the warm-up."""
    momentum: float = pydantic.Field(0.9, ge=0, lt=1)
    """Of stochastic gradient descent."""
    weight_decay: float = pydantic.Field(5e-5, ge=0)
    """Of all parameters but those of normalisations."""
    warmup_steps: int = pydantic.Field(1000, ge=0)
    """Steps over which the learning rate rises linearly from ``warmup_factor`` times its value."""
    warmup_factor: float = pydantic.Field(0.001, ge=0, le=1)
    """Factor of the learning rate at the first step."""
    drop_steps: tuple[int, ...] = (79999,)
    """Steps from which the learning rate is multiplied by ``drop_factor`` (published: beyond the end)."""
    drop_factor: float = pydantic.Field(0.02, gt=0, le=1)
    """Factor at each of the ``drop_steps``."""
    tensor_clip_norm: float | None = pydantic.Field(1.0, gt=0)
    """Largest norm of the gradient of each parameter tensor for itself; null clips none."""
    precise_norm_batches: int = pydantic.Field(200, ge=0)
    """Batches over which the stored statistics of batch normalisations are measured after the last step; 0 keeps the
    running averages."""
    soft_targets: bool = True
    """Labels count as much as their score says, in all losses of the region heads."""
    drop_loss_threshold: float | None = pydantic.Field(0.01, ge=0, le=1)
    """Boxes that overlap no labelled object by more than this IoU are not punished; null switches DropLoss off."""
    trust_single_objects: bool = False
    """Images of ImageNet (ids ``imagenet_...``) show their one object alone: DropLoss drops nothing there."""
    copy_paste: CopyPasteConfig = CopyPasteConfig()
    """Objects pasted from image to image."""
    data: DetectorDataConfig = DetectorDataConfig()
    """Images and their sizes."""
    input_sides: tuple[int, int] = (800, 1333)
    """Shorter and longest side of images at prediction, pixels; kept in the network's card."""
    picture_every: int | None = pydantic.Field(None, ge=1)
    """Steps between two pictures of a training image with its labels and what the network finds; null draws none."""
    validation: DetectorValidationConfig = DetectorValidationConfig()
    """How the network is scored during training."""
    reference_compat: bool = False
    """DropLoss and copy-paste as the original executes them: see ``CascadeConfig`` and ``paste_objects``."""
