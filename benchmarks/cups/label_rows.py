"""Rows of the pseudo-label stage: motion, object proposals, semantics, CRF, and all of it for one sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.cups.scene import load_scene
from nolabel.methods.cups.proposals import ObjectProposalConfig, ObjectProposals, object_proposals
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.methods.cups.sample_labels import SampleLabels, label_sample
from nolabel.methods.cups.semantic_model import SemanticModel, stereo_geometry_of
from nolabel.methods.cups.semantics import (
    sample_features,
    semantic_log_probabilities,
)
from nolabel.models.clusters import FeatureClusters, fit_clusters
from nolabel.models.dense_crf import dense_crf
from nolabel.models.features import DepthG, ProbeClassifier, build_features
from nolabel.models.motion import MotionEstimator, RaftMotion, StereoMotion, build_motion
from nolabel.models.motion.raft import smurf_network

SMALL, LARGE = (320, 640), (640, 1280)
CLASSES = 27


def raft(device: str) -> RaftMotion:
    """Return RAFT in the SMURF layout with random weights."""
    torch.manual_seed(0)
    return RaftMotion(smurf_network()).to(device)


def depthg(device: str) -> DepthG:
    """Return DepthG on a ViT-B/8, the size of the official checkpoint, with random weights."""
    torch.manual_seed(0)
    network = DepthG(width=768, heads=12, depth=12, patch=8, dim=100, num_clusters=CLASSES)
    return network.eval().requires_grad_(False).to(device)


def raft_pass(bench: Bench) -> Work:
    """One pair through RAFT."""
    left, right, *_ = load_scene(bench.scenes, SMALL, bench.device).images
    network = raft(bench.device)
    return lambda: network.flow(left, right)


def raft_sample(bench: Bench) -> Work:
    """All six maps of a sample."""
    images = load_scene(bench.scenes, LARGE, bench.device).images
    network = raft(bench.device)
    return lambda: network.stereo_video(*images)


def opencv_sample(bench: Bench) -> Work:
    """All six maps of a sample without a network."""
    images = load_scene(bench.scenes, LARGE).images
    estimator = build_motion("opencv")
    return lambda: estimator.stereo_video(*images)


def sf2se3(size: tuple[int, int], runs: int, bench: Bench) -> Work:
    """Object proposals from the true motion with noise."""
    scene = load_scene(bench.scenes, size, bench.device)
    config = ObjectProposalConfig(runs=runs)
    valid = scene.sample["valid"]
    return lambda: object_proposals(scene.motion, scene.sample["calibration"], valid, config)


def found(result: ObjectProposals) -> str:
    """Say how much work the motions were."""
    return f"motions {result.report['motions']}, {result.count} objects"


def crf(size: tuple[int, int], bench: Bench) -> Work:
    """Refine random scores of 8-pixel cells with the colours of a rendered image."""
    image = (load_scene(bench.scenes, size, bench.device).sample["left_0"] * 255).to(torch.uint8)
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(CLASSES, size[0] // 8, size[1] // 8, generator=generator)
    scores = scores.to(bench.device)
    return lambda: dense_crf(scores, image)


def depthg_window(bench: Bench) -> Work:
    """One window through ViT-B/8, head and probe."""
    image = load_scene(bench.scenes, SMALL, bench.device).sample["left_0"]
    network = depthg(bench.device)
    classifier = ProbeClassifier(network)
    window = image[:, :, :320]

    @torch.inference_mode()
    def work() -> Tensor:
        code = F.interpolate(network(window[None]), size=(320, 320), mode="bilinear", align_corners=False)
        return classifier.log_probabilities(code)

    return work


def depthg_sample(bench: Bench) -> Work:
    """All windows and the half-size image with its mirror image, mixed by depth."""
    scene = load_scene(bench.scenes, LARGE, bench.device)
    network = depthg(bench.device)
    classifier = ProbeClassifier(network)
    depth = (100 / scene.motion.disparity_0[0]).clamp(max=100)
    image = scene.sample["left_0"]
    return lambda: semantic_log_probabilities(image, network, classifier, depth=depth)


def embedded_model(bench: Bench, size: tuple[int, int]) -> SemanticModel:
    """Return the features without weights and clusters fitted to one image."""
    scene = load_scene(bench.scenes, size, bench.device)
    extractor = build_features("embedded", device=bench.device)
    generator = torch.Generator().manual_seed(0)
    motion = scene.motion
    geometry = stereo_geometry_of(
        motion.disparity_0[0], motion.disparity_right_0[0], scene.sample["calibration"]
    )
    samples = sample_features(scene.sample["left_0"], extractor, geometry, 4000, generator).cpu()
    clusters = fit_clusters(samples, CLASSES, generator, restarts=1, lift=3.0).to(bench.device)
    return SemanticModel(extractor, clusters, CLASSES)


def embedded_features(bench: Bench) -> Work:
    """Features and stereo geometry of one image, without weights."""
    scene = load_scene(bench.scenes, SMALL, bench.device)
    extractor = build_features("embedded", device=bench.device)
    image, motion = scene.sample["left_0"][None], scene.motion

    @torch.inference_mode()
    def work() -> Tensor:
        left, right = motion.disparity_0[0], motion.disparity_right_0[0]
        return extractor(image, stereo_geometry_of(left, right, scene.sample["calibration"]))

    return work


def cluster_fit(bench: Bench) -> Work:
    """Clusters of 64 000 feature vectors, what a run fits once."""
    channels = build_features("embedded").channels
    samples = torch.randn(64_000, channels, generator=torch.Generator().manual_seed(0))

    def work() -> FeatureClusters:
        generator = torch.Generator().manual_seed(0)
        return fit_clusters(samples, CLASSES, generator, balance=0.4, lift=3.0)

    return work


def label_with(
    estimator: MotionEstimator, bench: Bench, model: SemanticModel, motion: StereoMotion | None = None
) -> Work:
    """Label the large scene; with ``motion`` the estimator runs for its cost only (a random network gives no work)."""
    sample = load_scene(bench.scenes, LARGE).sample
    config, keys = PseudoLabelConfig(), ("left_0", "right_0", "left_1", "right_1")

    def work() -> SampleLabels:
        images = [sample[key].as_subclass(Tensor)[None].to(bench.device) for key in keys]  # type: ignore[literal-required]
        estimated = estimator.stereo_video(*images)
        return label_sample(sample, motion or estimated, model, config, bench.device)

    return work


def embedded_labels(bench: Bench) -> Work:
    """The whole pseudo-label of one sample without any weights, from the images alone."""
    return label_with(build_motion("opencv"), bench, embedded_model(bench, LARGE))


def published_labels(bench: Bench) -> Work:
    """The whole pseudo-label of one sample with the published networks."""
    scene = load_scene(bench.scenes, LARGE, bench.device)
    network = depthg(bench.device)
    model = SemanticModel(network, ProbeClassifier(network), CLASSES)
    return label_with(raft(bench.device), bench, model, scene.motion)


def labelled(result: SampleLabels) -> str:
    """Say what the label holds."""
    record = result.record()
    return f"{record['motions']} motions, {record['objects']} objects, {record['classes']} classes"


LABEL_ROWS = (
    Row("raft", "RAFT-SMURF, one pass, 16 updates, 320x640", raft_pass, 7.7, scene=SMALL),
    Row("raft-sample", "RAFT-SMURF, six passes, 640x1280", raft_sample, 240, True, scene=LARGE),
    Row("opencv-sample", "OpenCV motion, six maps, 640x1280", opencv_sample, accelerated=False, scene=LARGE),
    Row(
        "sf2se3-256",
        "SF2SE3, 2 runs, 256x512",
        lambda bench: sf2se3((256, 512), 2, bench),
        9.0,
        scene=(256, 512),
        note=found,
    ),
    Row(
        "sf2se3-320",
        "SF2SE3, 8 runs, 320x640",
        lambda bench: sf2se3(SMALL, 8, bench),
        63,
        True,
        scene=SMALL,
        note=found,
    ),
    Row(
        "sf2se3-640",
        "SF2SE3, 8 runs, 640x1280",
        lambda bench: sf2se3(LARGE, 8, bench),
        400,
        True,
        scene=LARGE,
        note=found,
    ),
    Row("crf", "CRF, 27 classes, 10 iterations, 320x640", lambda bench: crf(SMALL, bench), 11.1, scene=SMALL),
    Row("crf-640", "CRF, 27 classes, 640x1280", lambda bench: crf(LARGE, bench), 45, True, scene=LARGE),
    Row("depthg-window", "DepthG ViT-B/8, one window 320x320", depthg_window, 10, scene=SMALL),
    Row(
        "depthg-sample",
        "DepthG ViT-B/8, 21 windows + half-size image twice, 640x1280",
        depthg_sample,
        250,
        True,
        scene=LARGE,
    ),
    Row("embedded", "embedded features and stereo geometry, 320x640", embedded_features, scene=SMALL),
    Row("clusters", "27 clusters of 64 000 vectors", cluster_fit, accelerated=False),
    Row(
        "label-embedded",
        "whole pseudo-label, OpenCV + embedded features, 640x1280",
        embedded_labels,
        scene=LARGE,
        note=labelled,
    ),
    Row(
        "label-published",
        "whole pseudo-label, RAFT-SMURF + DepthG ViT-B/8, 640x1280",
        published_labels,
        935,
        True,
        scene=LARGE,
        note=labelled,
    ),
)
