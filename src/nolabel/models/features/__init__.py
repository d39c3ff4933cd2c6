"""Dense image features behind one protocol: networks with local weights, and descriptors that need none."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.models.features.depthg import DepthG, ProbeClassifier, network_arguments
from nolabel.models.features.descriptors import DenseDescriptors
from nolabel.models.features.extractor import FeatureExtractor, SceneGeometry
from nolabel.models.features.stereo_geometry import scene_geometry
from nolabel.models.features.transformers import TimmFeatures

__all__ = [
    "DenseDescriptors",
    "DepthG",
    "FeatureExtractor",
    "ProbeClassifier",
    "SceneGeometry",
    "TimmFeatures",
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
        name: ``embedded`` (descriptors, no weights), ``depthg`` (weights in our names, see
            ``nolabel.weights.layouts.depthg``), or any timm model name with its state dict as ``weights``.
        weights: state dict of the network.
        device: where it runs.
        scale: for timm models: resize images by this factor first.

    Raises:
        ConfigError: unknown name.
        WeightsError: weights are absent or do not fit.
    """
    extractor: FeatureExtractor
    if name == "embedded":
        extractor = DenseDescriptors()
    elif weights is None:
        raise WeightsError(
            f"the features {name!r} need weights", hint="give --feature-weights, or use --features embedded"
        )
    elif name == "depthg":
        extractor = _depthg(weights)
    else:
        extractor = TimmFeatures(name, scale=scale)
        extractor.load_weights(weights)
    return extractor.eval().requires_grad_(False).to(device)


def _depthg(weights: Mapping[str, Tensor]) -> DepthG:
    try:
        network = DepthG(**network_arguments(weights))
        network.load_state_dict(dict(weights))
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"weights do not fit DepthG: {str(error)[:500]}",
            hint="give a DepthG checkpoint (Lightning .ckpt) or its converted file",
        ) from error
    return network
