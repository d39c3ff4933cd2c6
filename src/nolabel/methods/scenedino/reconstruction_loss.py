"""The loss of stage 1: rendered patches against images and target features (SceneDINO specification, 7).

::

    loss = colour + 0.2 features + 0.001 depth_smoothness + 0.25 feature_smoothness
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nolabel.config import Config
from nolabel.geometry.photometric import Criterion, edge_aware_roughness, photometric_error

__all__ = [
    "InvalidPolicy",
    "ReconstructionConfig",
    "RenderedPatches",
    "colour_loss",
    "depth_smoothness",
    "feature_loss",
    "invalid_pixels",
    "reconstruction_loss",
]

InvalidPolicy = Literal["weight_guided", "strict", "none", "weight_guided_diverse", "occ_weight_guided"]
DEPTHS = (1e-3, 80.0)  # metres; depth is clamped to this range before it is inverted
FEATURE_SHARPNESS = 25.0


class ReconstructionConfig(Config):
    """Weights and choices of the loss of stage 1; the published ones by default."""

    colour: float = Field(1.0, ge=0)
    """Weight of the photometric error."""
    features: float = Field(0.2, ge=0)
    """Weight of the cosine distance to the target features."""
    depth_smoothness: float = Field(0.001, ge=0)
    """Weight of the edge-aware smoothness of inverse depth."""
    feature_smoothness: float = Field(0.25, ge=0)
    """Weight of the edge-aware smoothness of rendered features."""
    criterion: Criterion = "l1+ssim"
    """How colours are compared."""
    invalid: InvalidPolicy = "weight_guided"
    """Which pixels do not count, see :func:`invalid_pixels`."""
    reference_compat: bool = False
    """Weigh the changes of depth by another patch's image where a batch holds several scenes, as the original does."""


@dataclass(frozen=True, eq=False)
class RenderedPatches:
    """What was rendered of P patches of p x p pixels in each of N scenes; V colour views, S samples on a ray.

    Attributes:
        depth: (N, P, p, p) metres along the ray.
        colour: (N, P, p, p, V, 3) one picture for each colour view.
        features: (N, P, p, p, C) unit length.
        cells: (N, P, C) the patches' features brought to one vector, unit length; with targets for each pixel the
            features themselves.
        invalid: (N, P, p, p, S, V) whether the sample is not seen in the colour view.
        weights: (N, P, p, p, S) share of the sample in the pixel.
        sample_colour: (N, P, p, p, S, V, 3); only ``weight_guided_diverse`` needs it.
        occluded: (N, P, p, p, V) how visible the pixel is in the colour view; only ``occ_weight_guided`` needs it.
    """

    depth: Tensor
    colour: Tensor
    features: Tensor
    cells: Tensor
    invalid: Tensor
    weights: Tensor
    sample_colour: Tensor | None = None
    occluded: Tensor | None = None


def reconstruction_loss(
    rendered: RenderedPatches,
    image: Tensor,
    targets: Tensor,
    artifacts: Tensor | None = None,
    config: ReconstructionConfig | None = None,
) -> dict[str, Tensor]:
    """All terms, and ``loss``: their weighted sum.

    Args:
        rendered: the patches.
        image: (N, P, p, p, 3) the patches' true colours, [0, 1].
        targets: target features, shaped as ``rendered.cells``.
        artifacts: what the target network adds at these cells wherever it looks, shaped as the targets.
        config: weights and choices.
    """
    config = config or ReconstructionConfig()
    picture = image.movedim(-1, -3)
    colours = colour_loss(rendered, image, config.criterion, config.invalid)
    features = feature_loss(rendered.cells, targets, artifacts)
    depth = depth_smoothness(rendered.depth, picture, reference_compat=config.reference_compat)
    smooth = edge_aware_roughness(rendered.features.movedim(-1, -3), picture, FEATURE_SHARPNESS).mean()
    total = (
        config.colour * colours
        + config.features * features
        + config.depth_smoothness * depth
        + config.feature_smoothness * smooth
    )
    return {
        "loss": total,
        "colour": colours,
        "features": features,
        "depth_smoothness": depth,
        "feature_smoothness": smooth,
    }


def colour_loss(
    rendered: RenderedPatches, image: Tensor, criterion: Criterion, policy: InvalidPolicy
) -> Tensor:
    """The error of the best colour view, mean over all pixels; those that no view can judge count as 0.

    Args:
        rendered: the patches.
        image: (N, P, p, p, 3).
        criterion: see :func:`~nolabel.geometry.photometric.photometric_error`.
        policy: see :func:`invalid_pixels`.
    """
    pictures = rendered.colour.movedim((-2, -1), (-4, -3))  # (N, P, V, 3, p, p)
    errors = photometric_error(pictures, image.movedim(-1, -3)[:, :, None], criterion)
    best = errors.min(dim=2).values
    return (best * ~invalid_pixels(rendered, policy)).mean()


def invalid_pixels(rendered: RenderedPatches, policy: InvalidPolicy) -> Tensor:
    """Pixels (N, P, p, p) that are invalid in every colour view.

    Args:
        rendered: the patches.
        policy: when a pixel is invalid in a view. ``weight_guided``: more than 0.9 of its weight is not seen there;
            ``strict``: any sample is not seen there; ``none``: never; ``weight_guided_diverse``: as ``weight_guided``, or
            the samples' colours hardly differ (standard deviation below 0.01); ``occ_weight_guided``: as
            ``weight_guided``, or its visibility is given as at most 0.5.
    """
    unseen = rendered.invalid.to(rendered.weights.dtype)
    if policy == "none":
        return torch.zeros_like(rendered.depth, dtype=torch.bool)
    if policy == "strict":
        return (unseen > 0.5).any(dim=-2).all(dim=-1)
    invalid = (rendered.weights[..., None] * unseen).sum(dim=-2) > 0.9
    if policy == "weight_guided_diverse":
        if rendered.sample_colour is None:
            raise ValueError("weight_guided_diverse needs the colours of the samples")
        invalid = invalid | (rendered.sample_colour.std(dim=-3).mean(dim=-1) < 0.01)
    elif policy == "occ_weight_guided":
        if rendered.occluded is None:
            raise ValueError("occ_weight_guided needs the visibility of the pixels")
        invalid = invalid | (rendered.occluded <= 0.5)
    return invalid.all(dim=-1)


def feature_loss(features: Tensor, targets: Tensor, artifacts: Tensor | None = None) -> Tensor:
    """Mean of 1 - cosine of features (..., C), plus the artifacts, with targets; NaN is left out."""
    seen = features if artifacts is None else features + artifacts
    return (1 - F.cosine_similarity(seen, targets, dim=-1)).nanmean()


def depth_smoothness(depth: Tensor, picture: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Roughness of inverse depth, relative to its mean in the patch.

    Args:
        depth: (N, P, p, p) metres.
        picture: (N, P, 3, p, p).
        reference_compat: see :class:`ReconstructionConfig`.
    """
    inverse = 1 / depth.clamp(*DEPTHS)
    relative = inverse / inverse.mean(dim=(-2, -1), keepdim=True)
    if reference_compat:
        # Depths are numbered patch by patch, images scene by scene, and number k meets number k.
        relative = relative.transpose(0, 1).reshape(relative.shape)
    return edge_aware_roughness(relative[:, :, None], picture).mean()
