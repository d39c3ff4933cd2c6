"""Settings of every stage of Co-Training; the defaults are the published ones for GTAV to Cityscapes.

Source: Co-Training specification, sections 2, 4 and 8.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field

from nolabel.config import Config
from nolabel.data.domain_images import DataPart
from nolabel.data.sampling import RareClassConfig
from nolabel.engine.fit import FitConfig
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.methods.cotraining.augment import AugmentConfig
from nolabel.methods.cotraining.exchange import ExchangeSorting
from nolabel.methods.cotraining.selection import Accumulation, Sorting
from nolabel.methods.cotraining.thresholds import HIGHEST_CO_TRAINING, HIGHEST_SELF_TRAINING, LOWEST

__all__ = [
    "CoTrainingConfig",
    "FinalLabelConfig",
    "MixedTrainingConfig",
    "NetworkConfig",
    "PipelineConfig",
    "PseudoLabelConfig",
    "SelfTrainingConfig",
    "TrainingConfig",
    "TranslationConfig",
]

Edges = tuple[int, ...]
SEVEN_EDGES: Edges = (512, 768, 1024, 1280, 1536, 1792, 2048)
PUBLISHED_SEED = 100


class TranslationConfig(Config):
    """How source images are given the colours of the target (LAB)."""

    mode: Literal["offline", "online", "none"] = "offline"
    """offline: once, to files; online: at every look, with another target image each time."""
    seed: int = Field(PUBLISHED_SEED, ge=0)
    """Seed of the choice of target images."""


class NetworkConfig(Config):
    """Which network, and what it starts from."""

    name: str = "deeplab_v3_plus"
    """``deeplab_v3_plus``, ``deeplab_v3_plus_tiny``, ``tiny``, ``daformer_mit_b5`` and its like, or a timm model with a
    pyramid of features."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Sizes of the network, see :func:`nolabel.models.segmentation.build_segmentor`."""
    backbone: str | None = None
    """ImageNet weights of the backbone: a file, or a registered name (``deeplab_r103``)."""
    weights: str | None = None
    """Weights of the whole network: a file, or a registered name."""
    void_logit: bool = True
    """Whether the network has a logit for void, which is never taught but competes."""


class TrainingConfig(Config):
    """A training on labelled source images alone (the baseline)."""

    fit: FitConfig = FitConfig(
        steps=60000, batch_size=4, seed=PUBLISHED_SEED, checkpoint_every=2000, log_every=20
    )
    """Steps, images of a batch, seed, precision, devices."""
    learning_rate: float = Field(0.002, gt=0)
    """Base rate of SGD."""
    weight_decay: float = Field(1e-4, ge=0)
    """Of all parameters but those of normalisations."""
    warmup_steps: int = Field(1000, ge=0)
    """Steps in which the rate rises."""
    hard_fraction: float = Field(0.2, gt=0, le=1)
    """Part of a batch's pixels, the worst ones, that the loss counts."""
    source: AugmentConfig = AugmentConfig(shortest_edges=SEVEN_EDGES)
    """Changes to source images."""
    rare_classes: RareClassConfig | None = None
    """Draw images with rare classes more often."""
    alternate_sources: bool = False
    """With several sources: take images from them in turn, rather than from all together."""
    network_options: dict[str, Any] = Field(default_factory=dict)
    """Changes to the network's options in this training (``dropout: 0.5``)."""


class MixedTrainingConfig(TrainingConfig):
    """A training on source images and pseudo-labelled target images."""

    fit: FitConfig = FitConfig(
        steps=8000, batch_size=4, seed=PUBLISHED_SEED, checkpoint_every=2000, log_every=20
    )
    """Steps, images of a batch (source and target), seed, precision, devices."""
    source: AugmentConfig = AugmentConfig(resize=(1024, 2048), shortest_edges=SEVEN_EDGES)
    """Changes to source images."""
    targets: int = Field(2, ge=1)
    """Images of a batch that come from the target; the others are from the source."""
    target: AugmentConfig = AugmentConfig(
        resize=(1024, 2048), shortest_edges=(768, 1024, 1536), crop_margin=(0.25, 0.75)
    )
    """Changes to target images."""
    mix: Literal["on_demand", "random", "listed", "none"] = "on_demand"
    """Which classes of a source image are pasted onto each target (ClassMix): the half on which the network is least
    sure, a random half, those of ``mix_classes``, or none."""
    mix_classes: tuple[int, ...] = ()
    """Classes for ``mix: listed``."""
    mix_ratio: tuple[int, int] | None = None
    """Images of a batch that receive a paste: so many of the source, from targets, and so many of the targets, from the
    source; by default no source image and every target."""
    merged: bool = False
    """Draw from source and target as from one data set, without a fixed number of each and without pasting."""


class PseudoLabelConfig(Config):
    """From a network to pseudo-labels, in each cycle."""

    size: InferenceSize = InferenceSize()
    """Size at which target images are looked at."""
    images: int = Field(500, ge=-1)
    """Target images of a cycle, drawn anew in each; -1 for all."""
    image_step: int = Field(1, ge=1)
    """Draw from every so many-th image only (videos)."""
    draw: bool = True
    """False: all target images in their order instead of a draw."""
    portion: float | tuple[float, ...] = 0.5
    """Part of the pixels of each class that is kept in the first cycle; one number, or one for each class and void."""
    portion_step: float = 0.05
    """What the portion grows by in each cycle ..."""
    portion_most: float = 0.7
    """... up to this."""
    lowest: float = LOWEST
    """Least confidence threshold."""
    highest: float = HIGHEST_SELF_TRAINING
    """Largest confidence threshold."""
    keep: int = Field(100, ge=1)
    """Images that a cycle adds, the best ones."""
    accumulation: Accumulation = "update_best_score"
    """What becomes of the pseudo-labels of former cycles."""
    recompute_cycles: int = Field(4, ge=0)
    """In so many first cycles all pseudo-labels are made again with the new network; 0 for never."""
    mask: Path | None = None
    """Picture of the pixels that get no label (the ego vehicle)."""
    prior: Path | None = None
    """NumPy file (classes + 1, H, W): how usual each class is at each place."""
    reference_compat: bool = False
    """As executed: scores over all pixels, compared as text, and exchanged by wrong numbers."""


class SelfTrainingConfig(Config):
    """One network that learns from its own labels, cycle after cycle."""

    cycles: int = Field(10, ge=1)
    """How many."""
    labels: PseudoLabelConfig = PseudoLabelConfig()
    """How pseudo-labels are made."""
    sorting: Sorting = "confidence"
    """Which images are the best ones."""
    training: MixedTrainingConfig = MixedTrainingConfig()
    """The training of every cycle."""
    scratch: bool = True
    """Every cycle trains from the first network's weights, not from those of the cycle before."""
    renew: bool = True
    """Labels come from the newest network; False: always from the first one."""
    best: bool = False
    """Labels come from the network with the best score so far, the first one included. This uses target labels: for
    studies only."""
    labeller: Path | None = None
    """Another network for the first cycle's labels."""


class CoTrainingConfig(Config):
    """Two networks that learn from each other's labels."""

    cycles: int = Field(5, ge=1)
    """How many."""
    labels: PseudoLabelConfig = PseudoLabelConfig(portion_most=0.5, highest=HIGHEST_CO_TRAINING)
    """How pseudo-labels are made."""
    labels_b: PseudoLabelConfig | None = None
    """The same for network B where it differs (portions, sizes); the images are those of A."""
    sorting: ExchangeSorting = "by_confidence_difference_between_branches"
    """Which images a network gives to the other."""
    collaboration: Literal["cotraining", "self", "self_cotraining"] = "cotraining"
    """Train on the other's labels, on one's own, or on both."""
    fusion: Literal["none", "fill", "subtract"] = "fill"
    """From the second cycle on: fill the void of each with the other's labels; and make void where they differ."""
    min_pixels: int = Field(5000, ge=0)
    """A class counts for an image if it has more pixels than these."""
    training: MixedTrainingConfig = MixedTrainingConfig()
    """The training of every cycle."""
    training_b: MixedTrainingConfig | None = None
    """The same for network B where it differs."""
    scratch: bool = True
    """Every cycle trains from the first networks' weights."""


class FinalLabelConfig(Config):
    """The labels of all target images for the final training."""

    size: InferenceSize = InferenceSize()
    """Size at which target images are looked at."""
    networks: Literal["both", "a", "b"] = "both"
    """Whose labels: the surer of both networks for each pixel, or one network's."""
    thresholds: Literal["least", "none"] | tuple[float, ...] = "least"
    """A pixel must exceed the least threshold of the networks' last cycle; no thresholds; or these, one for each class
    and void."""
    mask: Path | None = None
    """Picture of the pixels that get no label."""


class PipelineConfig(Config):
    """Everything from labelled source images to the final network."""

    # What the data sets hold is compared, not where they lie.
    not_identity: ClassVar[frozenset[str]] = frozenset(
        {"device", "device_b", "parallel", "source", "target", "validation"}
    )

    space: str = "cityscapes_19"
    """Label space of the networks."""
    source: tuple[DataPart, ...] = (DataPart(),)
    """Labelled source data; several are put together."""
    target: tuple[DataPart, ...] = (DataPart(),)
    """Unlabelled target images."""
    validation: DataPart = DataPart(split="val")
    """Labelled target images, for scores only."""
    network: NetworkConfig = NetworkConfig()
    """The network."""
    network_b: NetworkConfig | None = None
    """Another architecture for branch B of co-training, which then has a baseline and self-training of its own."""
    translation: TranslationConfig = TranslationConfig()
    """Colours of the source."""
    baseline: TrainingConfig = TrainingConfig()
    """Training on the source alone."""
    self_training: SelfTrainingConfig = SelfTrainingConfig()
    """First loop."""
    co_training: CoTrainingConfig = CoTrainingConfig()
    """Second loop."""
    final_labels: FinalLabelConfig = FinalLabelConfig()
    """Labels of all target images."""
    final: MixedTrainingConfig = MixedTrainingConfig(
        fit=FitConfig(steps=60000, batch_size=4, seed=PUBLISHED_SEED, checkpoint_every=2000, log_every=20),
        mix="none",
    )
    """The last training, from the baseline's weights."""
    device: str = "auto"
    """Where networks run and train: auto, cpu, cuda, cuda:1, ... (trainings on several devices: ``fit.devices``)."""
    device_b: str | None = None
    """The same for branch B of co-training; that of A by default, or the second GPU where both run at once."""
    parallel: bool = False
    """The two branches of co-training at the same time, each in a process of its own; the results are the same."""

    def with_branches(self, device_b: str | None, parallel: bool) -> Self:
        """Return the settings with what a command says of the two branches, where it says something."""
        changes = {"device_b": device_b or self.device_b, "parallel": parallel or self.parallel}
        return self.model_copy(update=changes)

    def branch_devices(self) -> tuple[str, str]:
        """Return where branch A and branch B run."""
        if (
            self.device_b is None
            and self.device == "auto"
            and self.parallel
            and torch.cuda.device_count() > 1
        ):
            return "cuda:0", "cuda:1"
        return self.device, self.device_b or self.device

    def with_seed(self, seed: int) -> Self:
        """Return the settings with one seed for all stages."""

        def seeded(training: Any) -> Any:
            return training.model_copy(update={"fit": training.fit.model_copy(update={"seed": seed})})

        loops = {}
        for name in ("self_training", "co_training"):
            loop = getattr(self, name)
            changes = {"training": seeded(loop.training)}
            if getattr(loop, "training_b", None) is not None:
                changes["training_b"] = seeded(loop.training_b)
            loops[name] = loop.model_copy(update=changes)
        translation = self.translation.model_copy(update={"seed": seed})
        stages = {"baseline": seeded(self.baseline), "final": seeded(self.final), "translation": translation}
        return self.model_copy(update={**loops, **stages})
