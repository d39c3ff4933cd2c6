"""Do predictions of a video follow the motion? The last prediction, moved along, against this one."""

from __future__ import annotations

import torch
from torch import Tensor

from nolabel.geometry import backward_warp
from nolabel.labels import VOID
from nolabel.metrics.semantic import SemanticQuality

__all__ = ["TemporalConsistency", "moved_labels"]


def moved_labels(previous: Tensor, flow: Tensor, visible: Tensor | None = None) -> Tensor:
    """Move a label map along the motion to the next frame.

    Args:
        previous: (B, H, W) integer labels of the frame before.
        flow: (B, 2, H, W) pixels, on the grid of the current frame: current(p) shows what previous(p + flow(p)) shows.
        visible: (B, H, W) bool, where the flow holds (not hidden in the frame before); everywhere by default.

    Returns:
        (B, H, W) labels on the grid of the current frame; void where the flow leaves the image, is unknown (not finite)
        or not visible.
    """
    moved, known = backward_warp(previous[:, None], flow, "nearest_up")
    known = known & flow.isfinite().all(dim=1, keepdim=True)
    if visible is not None:
        known = known & visible[:, None]
    return torch.where(known, moved, VOID)[:, 0]


class TemporalConsistency(SemanticQuality):
    """Agreement of the predictions of consecutive frames where the flow is valid: mIoU of the moved one and the new one.

    It says nothing about right or wrong: a prediction that never changes class is consistent, so it is read beside mIoU
    against labels. Source: temporal consistency of Liu et al. (ECCV 2020), section 4.

    ``update(new, moved)`` takes what :func:`moved_labels` returns; :meth:`follow` does both. Arguments are those of
    :class:`~nolabel.metrics.semantic.SemanticQuality`.
    """

    def follow(self, current: Tensor, previous: Tensor, flow: Tensor, visible: Tensor | None = None) -> None:
        """Add predictions (B, H, W) of frames that follow each other; other arguments as :func:`moved_labels`."""
        self.update(current, moved_labels(previous, flow, visible))
