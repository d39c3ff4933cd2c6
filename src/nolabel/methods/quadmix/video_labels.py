"""Labels of a target frame from an earlier one: a teacher's answer there, moved along the motion.

Source: UDASS specification (video) 5.4, the temporal pseudo supervision of TPS.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nolabel.geometry import backward_warp, flip_flow, resize_flow
from nolabel.models.video_segmentation import TwoFrameScores, enlarge_corners

__all__ = ["TemporalLabels", "mirror", "mirrored_scores", "temporal_labels"]


class TemporalLabels(NamedTuple):
    """What a teacher says of target clips.

    Attributes:
        coarse: (B, h, w) int64 labels of the current frame on the grid of the teacher's scores.
        coarse_auxiliary: (B, h, w) the same of its second head, where it has one.
        labels: (B, 2, H, W) int64 labels of current and key frame at the frames' size.
        confidence: (B, 2, H, W) probability of those labels; as executed, the key frame's is its raw score.
    """

    coarse: Tensor
    coarse_auxiliary: Tensor | None
    labels: Tensor
    confidence: Tensor


def mirror(maps: Tensor, mirrored: Tensor) -> Tensor:
    """Turn left and right of the chosen samples.

    Args:
        maps: (B, ..., W).
        mirrored: (B,) bool.
    """
    chosen = mirrored.to(maps.device).view(-1, *[1] * (maps.ndim - 1))
    return torch.where(chosen, maps.flip(-1), maps)


def mirrored_scores(
    teacher: nn.Module,
    current: Tensor,
    key: Tensor,
    flow: Tensor,
    mirrored: Tensor,
    *,
    reference_compat: bool = False,
) -> TwoFrameScores:
    """Ask a teacher for its scores of (partly mirrored) pairs of frames.

    Args:
        teacher: a two-frame network, in the mode in which it teaches.
        current, key: (B, 3, H, W) RGB in [0, 1]: the earlier frame that is labelled, and the one before.
        flow: (B, 2, H, W) from the first to the second.
        mirrored: (B,) bool: pairs that it sees mirrored.
        reference_compat: mirrored flow keeps the sign of its horizontal part (quirk A).
    """
    turned = mirrored.to(flow.device).view(-1, 1, 1, 1)
    flow = torch.where(turned, flip_flow(flow, reference_compat), flow)
    scores: TwoFrameScores = teacher(mirror(current, mirrored), mirror(key, mirrored), flow)
    return scores


@torch.no_grad()
def temporal_labels(
    scores: TwoFrameScores,
    mirrored: Tensor,
    to_current: Tensor,
    to_key: Tensor | None = None,
    *,
    reference_compat: bool = False,
) -> TemporalLabels:
    """Move a teacher's answer for an earlier frame to the current frame and to the key frame.

    Args:
        scores: of the earlier frame (:func:`mirrored_scores`).
        mirrored: (B,) bool: samples whose scores are mirrored.
        to_current: (B, 2, H, W) flow from the current frame to the earlier one, not mirrored.
        to_key: (B, 2, H, W) flow from the key frame to the earlier one; None: they are the same frame.
        reference_compat: probabilities are moved before they are mirrored back (quirk B), and the key frame gets the
            earlier frame's labels unmoved, with their raw scores for probabilities (quirk C).
    """
    size = (to_current.shape[-2], to_current.shape[-1])
    unturned = torch.zeros_like(mirrored) if reference_compat else mirrored
    late = mirrored if reference_compat else torch.zeros_like(mirrored)
    main = mirror(scores.main.float(), unturned)
    auxiliary = None if scores.auxiliary is None else mirror(scores.auxiliary.float(), unturned)

    def moved(logits: Tensor, flow: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the probability of the best class, and the class."""
        values = logits.softmax(1)
        if flow is not None:
            grid = (logits.shape[-2], logits.shape[-1])
            values, _ = backward_warp(values, resize_flow(flow, grid, reference_compat), "bilinear", "border")
        confidence, labels = mirror(values, late).max(dim=1)
        return confidence, labels

    large = enlarge_corners(main, size)
    current_confidence, current = moved(large, to_current)
    if reference_compat:
        key_confidence, key = mirror(large, late).max(dim=1)
    else:
        key_confidence, key = moved(large, to_key)
    return TemporalLabels(
        coarse=moved(main, to_current)[1],
        coarse_auxiliary=None if auxiliary is None else moved(auxiliary, to_current)[1],
        labels=torch.stack([current, key], dim=1),
        confidence=torch.stack([current_confidence, key_confidence], dim=1),
    )
