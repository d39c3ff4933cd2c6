"""The semantic model of a run: features, and the clusters fitted to them once and shared by all shards."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nolabel.data.footage import image_fault
from nolabel.data.stereo import StereoVideoDataset
from nolabel.engine.feature_extractors import PACKAGED, features_file, open_features
from nolabel.engine.seeding import generator_of
from nolabel.errors import ConfigError, DataError, WeightsError
from nolabel.methods.cups.depthg.model_file import find_semantics, load_semantics
from nolabel.methods.cups.motion_source import motion_hash, open_motion
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig, SemanticConfig
from nolabel.methods.cups.semantics import Classifier, sample_features
from nolabel.models.clusters import FeatureClusters, fit_clusters
from nolabel.models.features import (
    CodeNetwork,
    FeatureExtractor,
    HalfPrecision,
    ProbeClassifier,
    SceneGeometry,
    scene_geometry,
)
from nolabel.models.features.stereo_geometry import consistent_disparity
from nolabel.structures import StereoCalibration
from nolabel.weights import file_hash, find_weights, load_checkpoint, save_safetensors

CLUSTER_FILE = "clusters.safetensors"
DESCRIPTOR_LIFT = 3.0  # hand-made descriptors carry meaning in their length, learned features in direction


@dataclass(frozen=True)
class SemanticModel:
    """Features and the classifier on top of them."""

    extractor: FeatureExtractor
    classifier: Classifier
    num_classes: int
    depth_guided: bool = True

    @property
    def uses_geometry(self) -> bool:
        """Whether the features are to get the stereo geometry of the image."""
        return self.depth_guided and self.extractor.uses_geometry


def load_features(config: SemanticConfig, device: torch.device | str) -> FeatureExtractor:
    """Build the feature extractor with the weights of its file."""
    if config.features in PACKAGED:
        return open_features(config.features, device)
    if config.weights is None:
        raise WeightsError(
            f"the features {config.features!r} need weights", hint="give --feature-weights FILE"
        )
    if config.features == "depthg":
        network = load_semantics(config.weights).to(device)
        if config.half_precision and network.uses_windows:
            network.backbone = HalfPrecision(network.backbone)  # the clusters stay exact
        return network
    extractor = open_features(config.features, device, config.weights, scale=config.scale)
    return HalfPrecision(extractor) if config.half_precision else extractor


def load_model(config: SemanticConfig, cluster_file: Path, device: torch.device | str) -> SemanticModel:
    """Build features and classifier; the clusters must have been fitted (:func:`ensure_clusters`)."""
    extractor = load_features(config, device)
    if isinstance(extractor, CodeNetwork):
        return SemanticModel(
            extractor, ProbeClassifier(extractor), len(extractor.probe.clusters), config.depth_guided
        )
    clusters = FeatureClusters.from_state(load_checkpoint(cluster_file).state_dict).to(device)
    if clusters.mean.shape[0] != extractor.channels:
        raise WeightsError(
            f"{cluster_file} is for features of {clusters.mean.shape[0]} channels, "
            f"{config.features} has {extractor.channels}",
            hint="give the clusters fitted with the same features",
        )
    return SemanticModel(extractor, clusters, clusters.num_clusters, config.depth_guided)


def weights_hash(path: Path | None, features: str = "") -> str:
    """SHA-256 of a weights file (of a run folder: its network), or of the network that the package carries; else empty."""
    if path is not None and features != "learnt":
        return file_hash(find_semantics(path))
    file = features_file(features, path)
    return "" if file is None else file_hash(file)


def ensure_clusters(
    data: StereoVideoDataset,
    config: PseudoLabelConfig,
    out: Path,
    device: torch.device | str,
    *,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Fit the clusters of this run unless its folder has them, and return their file.

    Shards that start together each fit the same clusters; the first file in place counts for all.

    Raises:
        ConfigError: ``out`` holds clusters of other settings.
        DataError: no frame could be read.
    """
    settings = config.semantics
    if settings.cluster_file is not None:
        return find_weights(settings.cluster_file)
    path = Path(out) / CLUSTER_FILE
    if settings.features == "depthg":
        return path  # DepthG brings its classes; no file is made
    wanted = _fit_fingerprint(data, config)
    if path.is_file():
        if load_checkpoint(path).metadata.get("fingerprint") == wanted:
            return path
        if not overwrite:
            raise ConfigError(
                f"{path} was fitted with other settings, data or weights",
                hint="choose another --out, or replace the results with --overwrite",
            )
        path.unlink()
    if say:
        say(f"fitting {settings.clusters} clusters of {settings.features} features ...")
    clusters = _fit(data, config, device)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_safetensors(temporary, clusters.state_dict(), {"fingerprint": wanted, "features": settings.features})
    _publish_first(temporary, path)
    return path


@torch.inference_mode()
def _fit(data: StereoVideoDataset, config: PseudoLabelConfig, device: torch.device | str) -> FeatureClusters:
    """Sample features of a seeded subset of the frames and cluster them, on one thread."""
    settings = config.semantics
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractor = load_features(settings, device)
        uses_geometry = settings.depth_guided and extractor.uses_geometry
        motion = open_motion(data, config.motion, device) if uses_geometry else None
        generator = generator_of(config.seed, "clusters")
        order = torch.randperm(len(data), generator=generator).tolist()
        samples: list[Tensor] = []
        unreadable = 0
        for index in order:
            if len(samples) == settings.fit_frames:
                break
            try:
                sample = data[index]
                disparities = motion.disparities(index, sample) if motion is not None else None
            except DataError:
                unreadable += 1
                continue
            if any(image_fault(sample[view]) for view in ("left_0", "right_0")):
                unreadable += 1
                continue
            image = sample["left_0"].as_subclass(Tensor).to(device)
            geometry = None
            if disparities is not None:
                geometry = stereo_geometry_of(*disparities, sample["calibration"])
            samples.append(
                sample_features(
                    image,
                    extractor,
                    geometry,
                    settings.fit_samples,
                    generator,
                    single=not settings.depth_guided,
                ).cpu()
            )
        if not samples:
            raise DataError(
                f"none of the {unreadable} frames can be used", hint="run `nolabel doctor` on the data"
            )
        lift = settings.lift
        if lift is None:
            lift = DESCRIPTOR_LIFT if extractor.uses_geometry else 0.0
        return fit_clusters(
            torch.cat(samples),
            settings.clusters,
            generator,
            dimensions=settings.dimensions,
            whitening=settings.whitening,
            lift=lift,
            balance=settings.balance,
            sharpness=settings.sharpness,
            restarts=settings.restarts,
        )
    finally:
        torch.set_num_threads(threads)


def stereo_geometry_of(left: Tensor, right: Tensor, calibration: StereoCalibration) -> SceneGeometry:
    """Geometry channels from left and right disparity (1, H, W) of one frame."""
    known = consistent_disparity(left, right)
    return scene_geometry(left, calibration.matrix().float(), calibration.baseline, known)


def _fit_fingerprint(data: StereoVideoDataset, config: PseudoLabelConfig) -> str:
    settings = config.without_paths()
    parts = (
        settings.semantics.model_dump_json(),
        settings.motion.model_dump_json(),
        str(config.seed),
        data.fingerprint,
        weights_hash(config.semantics.weights, config.semantics.features),
        motion_hash(config.motion),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _publish_first(temporary: Path, path: Path) -> None:
    """Move a file to its place unless another process was first; then that one's file stays."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        print(f"another shard has fitted {path.name} meanwhile; using it", file=sys.stderr)
    except OSError:  # a file system without hard links: the last one counts, and all are equal
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
