"""Both domains of a training on images, opened as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nolabel.config import load_config
from nolabel.data.class_statistics import class_statistics
from nolabel.data.domain_images import (
    SourceImages,
    TargetImages,
    open_source,
    open_target,
    open_validation,
    place_parts,
)
from nolabel.data.files import read_image
from nolabel.data.labelled import LabelledDataset
from nolabel.data.sampling import ClassStatistics
from nolabel.engine.devices import pick_device
from nolabel.engine.network_scoring import NetworkScorer
from nolabel.engine.progress import Progress
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.methods.quadmix.patches import LabelledFrames, PatchBank, frames_with_class
from nolabel.methods.quadmix.settings import ImageConfig, as_executed

__all__ = ["ImageData", "image_settings"]

PATCH_MEMORY = 2**28
"""Bytes of decoded source frames that are kept for patches: 42 frames of 1024x2048, or thousands of small ones."""


@dataclass(frozen=True)
class ImageData:
    """Source, target and validation images.

    Attributes:
        source: labelled images.
        target: images to adapt to.
        validation: labelled target images, for scores only.
        statistics: of the source's classes, where rare ones are drawn or pasted.
        inference_size: at which networks look at images after training: that of the target in training.
    """

    source: SourceImages
    target: TargetImages
    validation: LabelledDataset | None
    statistics: ClassStatistics | None
    inference_size: InferenceSize

    @classmethod
    def open(cls, config: ImageConfig, *, progress: bool = True) -> ImageData:
        """Open what the settings name; classes are counted once and remembered.

        Raises:
            ConfigError, DataError: see :mod:`nolabel.data.domain_images`.
        """
        source, target = open_source(config.source, config.space), open_target(config.target)
        validation = None
        if config.validation.root is not None:
            validation = open_validation(config.validation, config.space)
        statistics = None
        if config.rare_classes is not None or (config.mixing is not None and config.mixing.rare is not None):
            with Progress("counting classes", len(source), unit="images", enabled=progress) as bar:
                statistics = class_statistics(source.joined, advance=bar.advance)
        box = config.target_view.resize
        if box is None:
            height, width = read_image(target.paths[0]).shape[-2:]
            box = (height, width)
        size = InferenceSize(shortest_edge=min(box), longest_edge=max(box))
        return cls(source, target, validation, statistics, size)

    @property
    def identity(self) -> dict[str, str]:
        """Hashes of what the training depends on."""
        return {"source": self.source.identity, "target": self.target.identity}

    def patch_bank(self, config: ImageConfig) -> PatchBank | None:
        """Return where patches of rare classes come from, if they are pasted."""
        if config.mixing is None or config.mixing.rare is None or self.statistics is None:
            return None
        height, width = config.patch_frames
        return PatchBank(
            LabelledFrames(self.source.joined, config.patch_frames),
            frames_with_class(self.statistics, config.mixing.rare),
            config.mixing.rare,
            config.common_crop or config.target_view.crop,
            cache=PATCH_MEMORY // (3 * height * width),
        )

    def scorer(self, device: str) -> Callable[..., dict[str, float]] | None:
        """Return what scores networks on the labelled target images; None without them."""
        return None if self.validation is None else NetworkScorer(self.validation, pick_device(device))


def image_settings(
    recipe: str | None,
    overrides: Sequence[str] | None = None,
    *,
    source: Sequence[Path] | None = None,
    target: Sequence[Path] | None = None,
    validation: Path | None = None,
    checkpoint: Path | None = None,
    seed: int | None = None,
    reference_compat: bool = False,
) -> ImageConfig:
    """Build the settings of a training as a command names them.

    Args:
        recipe: packaged recipe or YAML file.
        overrides: ``KEY=VALUE``.
        source, target: folders: one for each part that the recipe lists, or one for all of them.
        validation: folder of labelled target images.
        checkpoint: of the training to go on from (:class:`~nolabel.methods.quadmix.settings.StartConfig`).
        seed: of everything.
        reference_compat: as the published networks were trained.

    Raises:
        ConfigError: a setting is wrong, or the number of folders.
    """
    config = load_config(ImageConfig, recipe, list(overrides or ()))
    changes: dict[str, Any] = {
        "source": place_parts(config.source, source, "source"),
        "target": place_parts(config.target, target, "target"),
    }
    if validation is not None:
        changes["validation"] = config.validation.model_copy(update={"root": validation})
    if checkpoint is not None:
        changes["start"] = config.start.model_copy(update={"checkpoint": checkpoint})
    if seed is not None:
        changes["fit"] = config.fit.model_copy(update={"seed": seed})
    config = config.model_copy(update=changes)
    return as_executed(config) if reference_compat else config
