"""Stage 2: train the panoptic network on pseudo-labels (CUPS, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pydantic
import torch
from torch.utils.data import Dataset

from nolabel.engine.fit import FitConfig
from nolabel.errors import DataError
from nolabel.methods.cups import augment
from nolabel.methods.cups.batch_augmentation import (
    BatchAugmentationConfig,
    Labelled,
    change_colours,
    change_size,
    paste_objects,
)
from nolabel.methods.cups.initial_weights import load_initial_weights
from nolabel.methods.cups.label_source import record_source
from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.panoptic_training import (
    PanopticTraining,
    PanopticTrainingConfig,
    Score,
    run_training,
)
from nolabel.methods.cups.pseudo_label_dataset import PseudoLabelDataset, TrainingSample
from nolabel.methods.cups.self_labels import confident_target, without_known
from nolabel.methods.cups.statistics import ThingStuffSplit
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig

__all__ = ["AugmentationConfig", "NetworkTraining", "TrainConfig", "train"]


class AugmentationConfig(BatchAugmentationConfig):
    """How images and pseudo-labels are changed before each step; the defaults are the published ones."""

    crop_area: tuple[float, float] = (0.7, 1.0)
    """Share of the image area that a random window keeps."""
    paste_predictions_after: int | None = 1000
    """From this step on the network's own new discoveries are pasted instead of pseudo-labels; never if null."""
    paste_confidence: float = pydantic.Field(0.75, ge=0, le=1)
    """Predictions with a higher score are pasted."""


class TrainConfig(PanopticTrainingConfig):
    """Stage-2 training; the defaults are the published recipe."""

    fit: FitConfig = FitConfig(steps=8000, batch_size=16, seed=1996, clip_norm=1.0)
    """Steps, batch size, seed, precision, devices."""
    network: Literal["resnet50", "tiny"] = "resnet50"
    """Size of the network: the published one, or about three million parameters for two CPU cores."""
    initial_weights: Path | None = None
    """What to start from: backbone weights (DINO's ResNet-50; a ResNet-50 of ``nolabel pretrain features`` with
    ``network.options={max_stride: 32}``) or a whole CUPS network; a file, a run folder or a registered name."""
    drop_loss_threshold: float | None = 0.4
    """Detections that overlap no object by more than this IoU are not punished; null switches DropLoss off."""
    class_weighting: bool = False
    """Weight the semantic loss by the inverse of class frequencies (published: off)."""
    thing_threshold: float = pydantic.Field(0.08, ge=0, lt=1)
    """Pseudo-classes with a larger share of the moving-pixel ratios are things."""
    only_non_empty: bool = True
    """Leave out images without any object."""
    ignore_unknown_things: bool = False
    """Thing pixels without an object become void."""
    stuff_area_limit: int | None = None
    """Stuff regions with fewer pixels become void in predictions; null keeps the network's own value."""
    confidence_threshold: float = pydantic.Field(0.5, ge=0, le=1)
    """Score from which instances are kept in predictions."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Changes to images and labels."""


class NetworkTraining(PanopticTraining):
    """Stage 2 as the training loop sees it.

    Args:
        dataset: images with targets.
        config: the stage's settings.
        out: run folder; the finished network is written there.
        num_things, num_stuff: clusters of the two kinds.
        class_weights: one weight for each semantic channel; ``None`` weights all alike.
        score: scores the network during training, by name.
        facts: what the card of the finished network says about its training.
    """

    def __init__(
        self,
        dataset: Dataset[TrainingSample],
        config: TrainConfig,
        out: Path,
        num_things: int,
        num_stuff: int,
        class_weights: Sequence[float] | None = None,
        *,
        score: Score | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(dataset, config, out, score=score, facts=facts)
        self.config = config
        self._sizes = num_things, num_stuff, class_weights
        self._source: list[TrainingSample] | None = None

    def build(self) -> PanopticCascadeMaskRCNN:
        """Return a new network for the clusters, or the one to start from."""
        return _build_network(self.config, *self._sizes)

    def augment(self, batch: list[Labelled], step: int, generator: torch.Generator) -> list[Labelled]:
        """Flip and crop, paste objects, change sizes and colours (spec cups_model 4.3 to 4.6)."""
        settings = self.config.augmentation
        changed = [
            augment.flip_and_crop(image, target, generator, settings.crop_area) for image, target in batch
        ]
        source = changed if self._pastes_labels(step) else [(s.image, s.target) for s in self._source or ()]
        changed = paste_objects(changed, source, settings, generator)
        height, width = changed[0][0].shape[-2:]
        changed = change_size(changed, [(height, width)] * len(changed), settings, generator)
        return change_colours(changed, settings, generator)

    def _pastes_labels(self, step: int) -> bool:
        after = self.config.augmentation.paste_predictions_after
        return after is None or step < after

    @torch.no_grad()
    def look_back(self, batch: list[TrainingSample], step: int) -> None:
        """Keep what the network itself finds in the batch, without the objects that were labelled already."""
        if self._pastes_labels(step + 1) or not self.config.augmentation.most_pasted:
            self._source = None
            return
        predictions = self.predict([sample.image for sample in batch])
        confidence = self.config.augmentation.paste_confidence
        self._source = [
            replace(
                sample,
                target=without_known(confident_target(prediction.panoptic, confidence), sample.target.boxes),
            )
            for sample, prediction in zip(batch, predictions, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step needs besides weights: the copy-paste source."""
        return {"source": None if self._source is None else [s.state() for s in self._source]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take :meth:`state_dict` back."""
        source = state["source"]
        self._source = None if source is None else [TrainingSample.from_state(s) for s in source]


def train(
    dataset: PseudoLabelDataset,
    out: Path,
    config: TrainConfig,
    *,
    overwrite: bool = False,
    score: Score | None = None,
    progress: bool = True,
) -> CupsModel:
    """Train stage 2 and leave ``model.safetensors`` in the run folder.

    Args:
        dataset: images with pseudo-labels.
        out: run folder; an unfinished run in it is continued exactly.
        config: the stage's settings.
        overwrite: start anew where a run with other settings was.
        score: scores the network during training, by name.
        progress: show progress on standard error.

    Raises:
        DataError: no class of the pseudo-labels is a thing, or no image has an object.
    """
    split = dataset.split
    if not split.things:
        raise DataError(
            f"the pseudo-labels in {dataset.labels} have no thing class: no class lies mostly in moving objects.",
            hint="look at the labelling report; lower the threshold of the thing/stuff split or label more video",
        )
    if not len(dataset):
        raise DataError(
            f"no image in {dataset.labels} has an object.",
            hint="look at the labelling report, or train on all images with only_non_empty=false",
        )
    weights = channel_weights(split) if config.class_weighting else None
    facts = {"things": list(split.things), "stuff": list(split.stuff)}
    task = NetworkTraining(
        dataset, config, out, len(split.things), len(split.stuff), weights, score=score, facts=facts
    )
    model = run_training(task, overwrite=overwrite, progress=progress)
    record_source(out, dataset.video)  # self-training starts from the same images
    return model


def channel_weights(split: ThingStuffSplit) -> list[float]:
    """Return the loss weight of each semantic channel, inverse to its share of the pixels.

    Channel 0 is "some thing", so the weight of all things together comes first. The original appends it last (spec
    cups_model 4.2), so that every weight there belongs to the channel before; weighting is off in the published runs.
    """
    *stuff, things = split.class_weights
    return [1 / (max(share, 1e-6) * len(split.class_weights)) for share in (things, *stuff)]


def _build_network(
    config: TrainConfig, num_things: int, num_stuff: int, class_weights: Sequence[float] | None
) -> PanopticCascadeMaskRCNN:
    make = PanopticConfig if config.network == "resnet50" else PanopticConfig.tiny
    settings = make(num_things=num_things, num_stuff=num_stuff)
    changes: dict[str, Any] = {
        "confidence_threshold": config.confidence_threshold,
        "cascade": replace(settings.cascade, drop_loss_threshold=config.drop_loss_threshold),
        "semantic_class_weights": None if class_weights is None else tuple(class_weights),
    }
    if config.stuff_area_limit is not None:
        changes["stuff_area_limit"] = config.stuff_area_limit
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.fit.seed)
        network = PanopticCascadeMaskRCNN(replace(settings, **changes))
    if config.initial_weights is not None:
        load_initial_weights(network, config.initial_weights)
    return network
