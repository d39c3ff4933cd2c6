"""Learn semantics for new footage, from its folder to a file that labelling takes (spec cups_pseudo 11).

The run folder ends with ``semantics.safetensors`` for ``nolabel cups pseudo-label --features depthg``.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from nolabel.engine.feature_extractors import PACKAGED, pretrained_card
from nolabel.engine.fit import FitResult, fit
from nolabel.errors import ConfigError, WeightsError
from nolabel.methods.cups.depthg.config import DepthGConfig
from nolabel.methods.cups.depthg.crops import prepare_crops
from nolabel.methods.cups.depthg.frames import Frames, open_frames
from nolabel.methods.cups.depthg.labelled import LabelledFrames, open_labelled_frames
from nolabel.methods.cups.depthg.train import SemanticTraining
from nolabel.methods.cups.pseudo_label_config import SemanticConfig
from nolabel.methods.cups.semantic_model import load_features, weights_hash
from nolabel.models.features import FeatureExtractor

__all__ = ["backbone_of", "train_on", "train_semantics"]


def backbone_of(config: DepthGConfig, device: torch.device | str) -> FeatureExtractor:
    """Load the frozen features.

    Raises:
        ConfigError: the backbone is itself learnt semantics.
        WeightsError: weights are missing or do not fit.
    """
    settings = config.backbone
    if settings.name == "depthg":
        raise ConfigError(
            "backbone.name=depthg: this is what training makes",
            hint="name its features: embedded, learnt, descriptors, dino or a timm model",
        )
    if settings.name not in PACKAGED and settings.weights is None:
        raise WeightsError(
            f"the backbone {settings.name!r} needs weights",
            hint="give --backbone-weights FILE, or use --backbone embedded or descriptors, which need none",
        )
    wanted = SemanticConfig(
        features=settings.name,
        weights=settings.weights,
        scale=settings.scale,
        half_precision=settings.half_precision,
    )
    return load_features(wanted, device)


def train_semantics(
    frames: Frames,
    out: Path,
    config: DepthGConfig,
    *,
    labels: LabelledFrames | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> FitResult:
    """Learn semantics for some footage and leave ``semantics.safetensors`` in the run folder.

    Features, depths and neighbours are kept in ``out/cache``; runs with other losses or steps use them again.

    Args:
        frames: the footage.
        out: run folder; an unfinished run in it is continued exactly.
        config: settings.
        labels: for scores, a linear probe and ``choose=miou``; never needed.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.

    Raises:
        ConfigError: a setting needs labels, or the folder holds a run with other settings.
        DataError: there are too few frames.
        WeightsError: the backbone's weights are missing or do not fit.
    """
    if config.choose == "miou" and labels is None:
        raise ConfigError(
            "choose=miou needs labels", hint="give --labels, or use choose=last, which needs none"
        )
    device = _device(config)
    extractor = backbone_of(config, device)
    if progress and config.depth.weight and not frames.has_depth:
        print("no stereo and no depth maps: training without the depth term", file=sys.stderr)
    dataset = prepare_crops(
        frames,
        extractor,
        config.crops,
        out / "cache" / _cache_key(frames, config, labels),
        config.positives,
        device=device,
        label_of=None if labels is None else labels.label_of(),
        reference_compat=config.reference_compat,
        progress=progress,
    )
    facts = {
        "frames": len(dataset.places),
        "depth": frames.has_depth,
        "seed": config.fit.seed,
        "pretrained": pretrained_card(config.backbone.name, config.backbone.weights),
    }
    task = SemanticTraining(
        dataset, extractor, config, out, has_depth=frames.has_depth, labels=labels, facts=facts
    )
    return fit(task, config.fit, out, settings=config, overwrite=overwrite, progress=progress)


def train_on(
    data: str | Path,
    out: Path,
    config: DepthGConfig,
    *,
    depth: Path | None = None,
    calibration: Path | None = None,
    split: str = "train",
    scale: float | None = None,
    labels: str | Path | None = None,
    label_split: str = "val",
    space: str = "cityscapes_27",
    overwrite: bool = False,
    progress: bool = True,
) -> FitResult:
    """Open footage and labels and learn from the footage; see :func:`train_semantics`.

    Args:
        data: stereo video, a folder of images, or a video.
        out: run folder.
        config: settings.
        depth: folder of depth maps, for images.
        calibration: stereo: calibration file, where the data folder has none.
        split: part of a Cityscapes data set.
        scale: stereo: size factor of images; the layout's own by default.
        labels: labelled images, for scores.
        label_split: part of them to score on.
        space: label space of the scores.
        overwrite: start anew where a run with other settings was.
        progress: show progress on standard error.
    """
    device = _device(config)
    extractor = backbone_of(config, device)
    options: dict[str, Any] = {} if scale is None else {"scale": scale, "crop": None}
    if calibration is not None:
        options["calibration"] = calibration
    frames = open_frames(
        data,
        config.motion,
        out / "cache" / "depth",
        device,
        depth=depth,
        split=split,
        wants_geometry=extractor.uses_geometry,
        **options,
    )
    labelled = None
    if labels is not None:
        labelled = open_labelled_frames(
            labels,
            config,
            out / "cache" / "depth",
            device,
            split=label_split,
            space=space,
            wants_geometry=extractor.uses_geometry,
        )
    return train_semantics(frames, out, config, labels=labelled, overwrite=overwrite, progress=progress)


def _device(config: DepthGConfig) -> str:
    return "cuda" if config.fit.accelerator in ("auto", "cuda") and torch.cuda.is_available() else "cpu"


def _cache_key(frames: Frames, config: DepthGConfig, labels: LabelledFrames | None) -> str:
    """Name of the cache of exactly these frames, features and labels."""
    train = None if labels is None else labels.train
    parts = (
        frames.fingerprint,
        config.backbone.model_copy(update={"weights": None}).model_dump_json(),
        weights_hash(config.backbone.weights, config.backbone.name),
        config.crops.model_dump_json(exclude={"cache", "cache_limit"}),
        str(config.reference_compat),
        "" if train is None else f"{train.root.resolve()} {train.split} {train.space.name} {train.scale}",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
