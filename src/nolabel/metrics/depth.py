"""Scores of depth maps, features and occupancy (spec scenedino 11.4)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.errors import ConfigError

DepthScaling = Literal["none", "least_squares", "median"]


def _masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid pixels of each image: ``(B, H, W)`` to ``(B,)``; NaN without valid pixels."""
    return torch.where(valid, values, 0).flatten(1).sum(1) / valid.flatten(1).sum(1)


def scale_depth(prediction: Tensor, target: Tensor, scaling: DepthScaling) -> Tensor:
    """Bring ``prediction`` ``(B, H, W)`` to the scale of ``target``, image by image.

    "least_squares" fits scale and offset where the target is known (> 0), "median" the ratio of medians.
    """
    if scaling == "none":
        return prediction
    valid = target > 0
    if scaling == "median":
        known = torch.where(valid, target, torch.nan).flatten(1).nanmedian(1).values
        guess = torch.where(valid, prediction, torch.nan).flatten(1).nanmedian(1).values
        return prediction * (known / guess)[:, None, None]
    if scaling != "least_squares":
        raise ConfigError(f"unknown scaling {scaling!r}", hint="one of none, least_squares, median")
    weights, p, t = (x.flatten(1).double() for x in (valid, prediction, target))
    total = weights.sum(1, keepdim=True)
    mean_p, mean_t = ((weights * x).sum(1, keepdim=True) / total for x in (p, t))
    covariance = (weights * (p - mean_p) * (t - mean_t)).sum(1, keepdim=True)
    scale = covariance / (weights * (p - mean_p).square()).sum(1, keepdim=True)
    return (scale * (p - mean_p) + mean_t).to(prediction.dtype).view_as(prediction)


def depth_scores(
    prediction: Tensor,
    target: Tensor,
    *,
    scaling: DepthScaling = "none",
    limits: tuple[float, float] = (1e-3, 80.0),
    reference_compat: bool = False,
) -> dict[str, Tensor]:
    """Errors of depth maps, one value for each image.

    Args:
        prediction, target: ``(B, H, W)`` metres, both z-depth; target 0 is unknown.
        scaling: see :func:`scale_depth`; done before clamping.
        limits: the prediction is clamped to this range.
        reference_compat: report the square roots of abs_rel and sq_rel, as SceneDINO does.

    Returns:
        ``(B,)`` each: abs_rel, sq_rel (m), rmse (m), rmse_log, a1, a2, a3 (shares within 1.25, 1.25^2,
        1.25^3).
    """
    valid = target != 0
    prediction = scale_depth(prediction, target, scaling).clamp(*limits)
    target = torch.where(valid, target, 1.0)
    error = (prediction - target).abs()
    worst = torch.maximum(prediction / target, target / prediction)
    scores = {
        "abs_rel": _masked_mean(error / target, valid),
        "sq_rel": _masked_mean(error.square() / target, valid),
        "rmse": _masked_mean(error.square(), valid).sqrt(),
        "rmse_log": _masked_mean((prediction.log() - target.log()).square(), valid).sqrt(),
    }
    scores |= {f"a{k}": _masked_mean((worst < 1.25**k).to(error.dtype), valid) for k in (1, 2, 3)}
    if reference_compat:
        scores |= {name: scores[name].sqrt() for name in ("abs_rel", "sq_rel")}
    return scores


def feature_scores(prediction: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Distances of feature maps, one value for each view.

    Args:
        prediction, target: ``(B, V, ..., C)`` features of V views.

    Returns:
        ``(B, V)`` each: l1 and l2 (mean absolute and mean squared difference of a channel) and cosine
        similarity, averaged over positions.
    """
    difference = prediction - target
    distances = {
        "l1": difference.abs().mean(-1),
        "l2": difference.square().mean(-1),
        "cosine": F.cosine_similarity(prediction, target, dim=-1),
    }
    return {name: values.flatten(2).mean(-1) for name, values in distances.items()}


def occupancy_scores(prediction: Tensor, target: Tensor, visible: Tensor) -> dict[str, Tensor]:
    """Occupancy and invisible-and-empty scores of boolean points ``(N,)``.

    A point is a positive where the target is occupied and not visible. Names: ``o_`` scores of occupied
    points over all points, ``ie_`` scores of empty points over those not visible, ``ie_r`` share and
    ``t_ie`` number of empty invisible points, ``t_no_nop_nv`` number of those found.
    """
    hidden = ~visible
    target = target & hidden
    agree = prediction == target

    def share(condition: Tensor, where: Tensor) -> Tensor:
        return (condition & where).sum() / where.sum()

    everywhere = torch.ones_like(hidden)
    empty_hidden = ~target & hidden
    return {
        "o_acc": share(agree, everywhere),
        "o_rec": share(prediction, target),
        "o_prec": share(target, prediction),
        "ie_acc": share(agree, hidden),
        "ie_rec": share(~prediction, empty_hidden),
        "ie_prec": share(~target, hidden & ~prediction),
        "ie_r": share(empty_hidden, everywhere),
        "t_ie": empty_hidden.sum(),
        "t_no_nop_nv": (empty_hidden & ~prediction).sum(),
    }
