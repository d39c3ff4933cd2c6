"""Dense image features behind one protocol: networks with local weights, and descriptors that need none."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nolabel.errors import ConfigError, WeightsError
from nolabel.models.features.compact import CompactFeatures
from nolabel.models.features.depthg import CodeNetwork, DepthG, ProbeClassifier, network_arguments
from nolabel.models.features.described import DescribedFeatures
from nolabel.models.features.descriptors import DenseDescriptors
from nolabel.models.features.dino import DinoViT, vit_arguments
from nolabel.models.features.extractor import FeatureExtractor, HalfPrecision, SceneGeometry
from nolabel.models.features.square_vit import SquareVit
from nolabel.models.features.stereo_geometry import scene_geometry
from nolabel.models.features.transformers import TimmFeatures

__all__ = [
    "CodeNetwork",
    "CompactFeatures",
    "DenseDescriptors",
    "DepthG",
    "DescribedFeatures",
    "DinoViT",
    "FeatureExtractor",
    "HalfPrecision",
    "ProbeClassifier",
    "SceneGeometry",
    "SquareVit",
    "TimmFeatures",
    "build_backbone",
    "build_code_network",
    "build_features",
    "network_arguments",
    "scene_geometry",
]


def build_features(
    name: str,
    weights: Mapping[str, Tensor] | None = None,
    device: torch.device | str = "cpu",
    scale: float = 1.0,
) -> FeatureExtractor:
    """Return a feature extractor in evaluation mode.

    Args:
        name: ``descriptors`` (no weights), ``depthg`` (weights in our names, see
            ``nolabel.weights.layouts.depthg``), ``dino`` (an official DINO ViT, its size read off the weights),
            or any timm model name with its state dict as ``weights``.
        weights: state dict of the network.
        device: where it runs.
        scale: for timm models: resize images by this factor first.

    Raises:
        ConfigError: unknown name.
        WeightsError: weights are absent or do not fit.
    """
    extractor: FeatureExtractor
    if name == "descriptors":
        extractor = DenseDescriptors()
    elif weights is None:
        raise WeightsError(
            f"the features {name!r} need weights",
            hint="give --feature-weights, or use --features descriptors",
        )
    elif name == "depthg":
        extractor = build_code_network(weights)
    elif name == "dino":
        extractor = DinoViT.from_official(weights)
    else:
        extractor = TimmFeatures(name, scale=scale)
        extractor.load_weights(weights)
    return extractor.eval().requires_grad_(False).to(device)


def build_backbone(architecture: str, options: Mapping[str, Any] | None = None) -> FeatureExtractor:
    """Build a network with random weights, to be trained or filled.

    Args:
        architecture: ``compact`` (:class:`CompactFeatures`), or the name of a timm ViT or CNN (:class:`TimmFeatures`).
        options: their other arguments.

    Raises:
        ConfigError: no such network, or no such option.
    """
    kind: Any = CompactFeatures if architecture == "compact" else partial(TimmFeatures, architecture)
    plain = {name: tuple(v) if isinstance(v, list) else v for name, v in (options or {}).items()}
    try:
        network: FeatureExtractor = kind(**plain)
    except TypeError as error:
        raise ConfigError(
            f"the network {architecture} does not take these options: {error}",
            hint="compact: widths, depths, channels, stride; timm: max_stride, output_stride",
        ) from None
    return network


def build_code_network(
    weights: Mapping[str, Tensor],
    backbone: str = "dino",
    scale: float = 1.0,
    pretrained: Mapping[str, Any] | None = None,
) -> CodeNetwork:
    """Build a network of frozen features, head and cluster probe from its weights.

    Args:
        weights: state dict in our names; code length and number of clusters are read off it.
        backbone: what gave the features: ``dino`` (DepthG as published), ``descriptors``, or a timm model name.
        scale: for timm models: images are resized by this first.
        pretrained: of features of ``nolabel pretrain features``: ``architecture``, ``options`` and ``described`` of their
            card, in place of the backbone's name.

    Raises:
        WeightsError: the weights do not fit.
    """
    try:
        clusters, dim = weights["probe.clusters"].shape
        features: FeatureExtractor
        if pretrained is not None:
            features = build_backbone(pretrained["architecture"], pretrained["options"])
            if pretrained["described"]:
                features = DescribedFeatures(features, pretrained["described"])
        elif backbone == "dino":
            features = DinoViT(**vit_arguments(weights, "backbone.transformer."))
        elif backbone == "descriptors":
            features = DenseDescriptors()
        else:
            features = TimmFeatures(backbone, scale=scale)
        network = CodeNetwork(features, dim, clusters)
        network.load_state_dict(dict(weights))
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"weights do not fit DepthG: {str(error)[:500]}",
            hint="give a DepthG checkpoint (Lightning .ckpt), or the folder of a train-semantics run",
        ) from error
    return network
