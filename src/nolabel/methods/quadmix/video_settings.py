"""Settings of the trainings on video; the defaults are the published ones of the CNN from VIPER to Cityscapes-Seq.

TPS is QuadMix without ``mixing`` and with a teacher that is the student from the start; a training on the source alone
has no ``temporal``. Source: UDASS specification, video 5 and common 3.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from nolabel.config import Config
from nolabel.data.domain_images import DataPart
from nolabel.engine.fit import FitConfig
from nolabel.engine.parameter_groups import ParameterRule
from nolabel.methods.quadmix.mixing_config import QuadMixConfig
from nolabel.methods.quadmix.optimizers import REFERENCE_VIDEO_RULES, OptimizerConfig
from nolabel.methods.quadmix.settings import NetworkConfig
from nolabel.methods.quadmix.strong_view import StrongViewConfig

__all__ = ["ClassVectorConfig", "FlowConfig", "FramesConfig", "TemporalConfig", "VideoConfig"]

NO_CHANGE = StrongViewConfig(jitter=0, grey=0, blur=0)


class FramesConfig(Config):
    """Frames of a side, as they are read; see :class:`nolabel.data.video_clips.VideoClips`."""

    size: tuple[int, int] | Literal["published"] | None = "published"
    """Height and width they are brought to, in pixels; those of the layout; or None for as stored."""
    bottom: int | None = Field(None, ge=0)
    """Last rows that are then cut off, in pixels; by default the layout's, with its published size only."""
    entries: Path | None = None
    """Text file that lists the clips."""


class FlowConfig(Config):
    """Motion from every frame to the one before it."""

    source: Path | None = None
    """Folder with flow files of the source (``*_int16_x10.npy``); None: computed."""
    target: Path | None = None
    """Folder with flow files of the target."""
    validation: Path | None = None
    """Folder with flow files of the validation frames."""
    estimator: str = "raft_large"
    """What computes flow where no folder is given: a name of :func:`nolabel.models.motion.build_motion`."""
    cache: Path | None = None
    """Folder that keeps what was computed; beside the results by default."""


class TemporalConfig(Config):
    """Learning from labels of an earlier target frame that are moved along the flow (TPS)."""

    teacher: NetworkConfig | None = NetworkConfig(name="accel_deeplab_tps")
    """A frozen network that makes the labels at first; None: the student itself, from the start."""
    frozen_steps: int | None = Field(8000, ge=0)
    """Steps in which it does; then the student itself. None: it always does."""
    start: int = Field(0, ge=0)
    """First step with losses on target frames. A network that starts from random weights learns from the source alone
    before: it has no labels to give yet."""
    interval: int = Field(1, ge=1)
    """Frames between the labelled frame and the one it is labelled from."""
    weight: float = Field(1.0, ge=0)
    """Of all losses on target frames."""
    flip: float = Field(0.5, ge=0, le=1)
    """Probability of mirroring the frames that the teacher sees."""
    strong_view: StrongViewConfig = NO_CHANGE
    """Changes to the frames that the student sees."""
    scales: tuple[float, float] | None = None
    """Range of a random scale of the frames that the student sees (TPS: 0.8 to 1.2)."""
    reference_compat: bool = False
    """As executed: mirrored flow keeps its sign, labels are mirrored back after they were moved, the key frame's
    confidence is a raw score, and frames overflow when they become pictures."""


class ClassVectorConfig(Config):
    """Bringing the mean scores of each class in source and target together."""

    weight: float = Field(0.01, ge=0)
    """Of the loss."""
    min_pixels: int = Field(5, ge=1)
    """A class with fewer pixels has no mean."""
    both_pairs: bool = True
    """The target's means are those of two pairs of frames, (t, t - 1) and (t, t - interval - 1), half and half."""


class VideoConfig(Config):
    """A training on video, from labelled source and unlabelled target frames to a two-frame network for the target."""

    # What the data sets hold is compared, not where they lie.
    not_identity: ClassVar[frozenset[str]] = frozenset({"source", "target", "validation", "flow"})

    space: str = "viper_15"
    """Label space of the network."""
    source: tuple[DataPart, ...] = (DataPart(dataset="viper"),)
    """Labelled source frames."""
    target: tuple[DataPart, ...] = (DataPart(),)
    """Unlabelled target frames."""
    validation: DataPart = DataPart(split="val")
    """Labelled target frames, for scores only."""
    flow: FlowConfig = FlowConfig()
    """Motion."""
    source_frames: FramesConfig = FramesConfig()
    """Size of source frames."""
    target_frames: FramesConfig = FramesConfig()
    """Size of target frames, those of validation included."""
    network: NetworkConfig = NetworkConfig(name="accel_deeplab")
    """The network."""
    fit: FitConfig = FitConfig(
        steps=40000, batch_size=1, seed=1234, validate_every=1000, checkpoint_every=1000, log_every=50
    )
    """Steps, clips of a batch, seed, precision, devices."""
    optimizer: OptimizerConfig = OptimizerConfig(
        name="sgd",
        learning_rate=1e-4,
        weight_decay=5e-4,
        decay_norms=True,
        power=0.9,
        decay_steps=250_000,
        warmup_steps=0,
    )
    """Optimizer and learning rate."""
    match_colours: bool = True
    """Source frames take on the histograms of the target frame."""
    source_resize: tuple[int, int] | None = None
    """Height and width at which source frames enter the network (transformers: those of the target); None: their own."""
    auxiliary_weight: float = Field(0.1, ge=0)
    """Weight of the auxiliary head in the losses of source and labelled target, where the network has one."""
    temporal: TemporalConfig | None = TemporalConfig(weight=0.2)
    """Learning on the target; None: the source alone."""
    mixing: QuadMixConfig | None = None
    """The four mixing directions."""
    composite_weights: tuple[float, float] = (1.0, 1.0)
    """Weights of the losses of the composites grown on the source and on the target; ``temporal.weight`` counts for the
    second besides."""
    class_vectors: ClassVectorConfig | None = ClassVectorConfig()
    """Discrepancy of the classes' mean scores."""
    reference_compat: bool = False
    """As executed: the convolutional network's optimizer updates weights several times in a step, its heads' rate never
    falls, and flow keeps its length where source frames are resized."""

    @property
    def parameter_rules(self) -> tuple[ParameterRule, ...]:
        """What holds for which parameters, with the quirks of the original for the convolutional network on request."""
        executed = self.reference_compat and self.optimizer.name == "sgd"
        return REFERENCE_VIDEO_RULES if executed else self.optimizer.rules
