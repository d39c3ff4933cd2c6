"""Settings of every training; the defaults are the published ones of HRDA from GTA5 to Cityscapes.

Every ingredient is a section that may be left out (``null``): QuadMix is MIC with ``mixing``, MIC is HRDA with
``adaptation.masked``, DAFormer is HRDA with another network at half the size, DACS is DAFormer without
``feature_distance`` and ``rare_classes``, and a training on the source alone has no ``adaptation``. Source: UDASS
specification, image 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from nolabel.config import Config
from nolabel.data.domain_images import DataPart
from nolabel.data.sampling import RareClassConfig
from nolabel.data.views import ViewConfig
from nolabel.engine.fit import FitConfig
from nolabel.methods.quadmix.masking import MaskConfig
from nolabel.methods.quadmix.mixing_config import QuadMixConfig
from nolabel.methods.quadmix.optimizers import OptimizerConfig
from nolabel.methods.quadmix.pseudo_label import PseudoLabelConfig
from nolabel.methods.quadmix.strong_view import StrongViewConfig

__all__ = [
    "AdaptationConfig",
    "AdversarialConfig",
    "CropSamplingConfig",
    "FeatureDistanceConfig",
    "ImageConfig",
    "MaskedConsistencyConfig",
    "NetworkConfig",
    "ResolutionShares",
    "StartConfig",
    "TargetViewConfig",
    "as_executed",
]

ConfigType = TypeVar("ConfigType", bound=Config)

THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)
"""Classes of Cityscapes that ImageNet knows something of: lights, signs and everything that moves."""


class NetworkConfig(Config):
    """Which network, and what it starts from."""

    name: str = "hrda_mit_b5"
    """Images: a name of :func:`nolabel.models.segmentation.build_segmentor`; videos: of
    :func:`nolabel.models.video_segmentation.build_video_segmentor`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Sizes of the network."""
    backbone: str | None = None
    """ImageNet weights of the backbone: a file, or a registered name."""
    weights: str | None = None
    """Weights of the whole network: a file, or a registered name."""


class StartConfig(Config):
    """Going on from a checkpoint of another training, with its teacher made anew from its student."""

    checkpoint: Path | None = None
    """File of a MIC training (``iter_4000.pth``); None: begin at step 0."""
    step: int = Field(0, ge=0)
    """Step at which that training stood, from which schedules go on; counts only with a checkpoint."""


class TargetViewConfig(ViewConfig):
    """Which part of a target image a training sees, and where it is trusted."""

    margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Rows at the top and bottom, and columns at the left and right of the stored image, whose pseudo labels weigh
    nothing."""


class CropSamplingConfig(RareClassConfig):
    """Rare class sampling: images, and parts of them, with rare classes (DAFormer)."""

    min_crop_pixels: int = Field(6000, ge=0)
    """Parts of the image are drawn again, up to ten times, until one has more pixels of the class than these."""


class ResolutionShares(Config):
    """Shares of the loss of networks with several resolutions; other networks have ``fused`` alone, with all of it."""

    fused: float = Field(0.9, ge=0)
    """The network's answer."""
    detail: float = Field(0.1, ge=0)
    """The answer for the detail window alone."""
    context: float = Field(0.0, ge=0)
    """The answer for the whole image at half its size."""


class FeatureDistanceConfig(Config):
    """Staying near the features of ImageNet where source labels show things (DAFormer)."""

    weight: float = Field(0.005, ge=0)
    """Of the loss."""
    classes: tuple[int, ...] = THINGS
    """Classes of the cells that count."""
    min_share: float = Field(0.75, ge=0, le=1)
    """Part of a cell that one class must cover."""
    detail: bool = False
    """Also for the detail window, with the labels cut to it."""


class MaskedConsistencyConfig(Config):
    """The same answer where parts of an image are hidden (MIC)."""

    images: Literal["target", "source", "both"] = "target"
    """Which images are masked: with their pseudo or true labels; ``both``: the first half of the batch of source, the
    second of target images."""
    augmented: bool = True
    """Strong view of the images before they are masked."""
    weight: float = Field(1.0, gt=0)
    """Of the loss. (For none, leave out the section.)"""
    mask: MaskConfig = MaskConfig()
    """What is hidden."""
    teacher_rate: float | None = Field(None, ge=0, le=1)
    """Rate of a teacher of its own; None: the teacher of the adaptation. 0: the student itself."""
    pseudo_labels: PseudoLabelConfig | None = None
    """Weights of that teacher's labels; None: as those of the adaptation."""


class AdversarialConfig(Config):
    """A network that tells the domains apart by the classes' probabilities, and is to be deceived."""

    weight: float = Field(0.001, ge=0)
    """Of the loss on the target."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of the discriminator: Adam with betas 0.9 and 0.99."""
    power: float = Field(0.9, ge=0)
    """Of the polynomial decay of its rate."""


class AdaptationConfig(Config):
    """Learning from a teacher's labels of the target."""

    teacher_rate: float = Field(0.999, ge=0, le=1)
    """How much of the teacher stays in a step, at most."""
    pseudo_labels: PseudoLabelConfig = PseudoLabelConfig()
    """How much its labels count."""
    strong_view: StrongViewConfig = StrongViewConfig()
    """Changes to mixed images, and to masked ones."""
    class_mix: bool = True
    """Half of the classes of a source image are pasted onto a target image (DACS), in all steps before ``mixing``."""
    masked: MaskedConsistencyConfig | None = None
    """Masked image consistency."""
    entropy_weight: float = Field(0.0, ge=0)
    """Weight of the entropy of the target's classes (MinEnt: 0.001), without a teacher."""
    adversarial: AdversarialConfig | None = None
    """A discriminator of the domains (AdvSeg), without a teacher."""


class ImageConfig(Config):
    """A training on images, from labelled source and unlabelled target images to a network for the target."""

    # What the data sets hold is compared, not where they lie.
    not_identity: ClassVar[frozenset[str]] = frozenset({"source", "target", "validation"})

    space: str = "cityscapes_19"
    """Label space of the network."""
    source: tuple[DataPart, ...] = (DataPart(),)
    """Labelled source data; several are put together."""
    target: tuple[DataPart, ...] = (DataPart(),)
    """Unlabelled target images."""
    validation: DataPart = DataPart()
    """Labelled target images, for scores only; its part ``val`` where it has one."""
    validate_teacher: bool = False
    """Score the teacher instead of the student."""
    network: NetworkConfig = NetworkConfig()
    """The network."""
    start: StartConfig = StartConfig()
    """Going on from another training."""
    fit: FitConfig = FitConfig(
        steps=40000, batch_size=2, seed=1, validate_every=4000, checkpoint_every=4000, log_every=50
    )
    """Steps, source (and as many target) images of a batch, seed, precision, devices."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and learning rate."""
    resolutions: ResolutionShares = ResolutionShares()
    """Shares of the resolutions in every loss."""
    source_view: ViewConfig = ViewConfig(resize=(1440, 2560), largest_share=0.75)
    """Part of a source image."""
    target_view: TargetViewConfig = TargetViewConfig(resize=(1024, 2048))
    """Part of a target image."""
    common_crop: tuple[int, int] | None = None
    """Height and width of a part that is then cut out of source and target at the same place; None: all of them."""
    rare_classes: CropSamplingConfig | None = CropSamplingConfig()
    """Draw source images so that rare classes are seen."""
    feature_distance: FeatureDistanceConfig | None = FeatureDistanceConfig()
    """Distance from the features of ImageNet, whose weights ``network.backbone`` names."""
    adaptation: AdaptationConfig | None = AdaptationConfig()
    """Learning on the target; None: the source alone."""
    mixing: QuadMixConfig | None = None
    """The four mixing directions (QuadMix), from their own start on."""
    patch_frames: tuple[int, int] = (1024, 2048)
    """Height and width of the source frames out of which patches of rare classes are cut."""
    composite_weights: tuple[float, float] = (0.5, 0.5)
    """Weights of the losses of the composites grown on the source and on the target."""
    reference_compat: bool = False
    """As executed: ClassMix draws from the classes of the whole batch, and the weight of the masked loss counts for the
    fused resolution only."""


def as_executed(config: ConfigType) -> ConfigType:
    """Return settings with every ``reference_compat`` in them set, as the published networks were trained."""
    changes: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if name == "reference_compat":
            changes[name] = True
        elif isinstance(value, Config):
            changes[name] = as_executed(value)
    return config.model_copy(update=changes)
