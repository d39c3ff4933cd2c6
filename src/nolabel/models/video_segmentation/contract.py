"""Networks that look at two frames: each frame is scored alone, and the older scores follow the motion to the newer.

Source: spec ``udass_video.md`` 4 (ACCEL, Jain et al., CVPR 2019, as TPS and UDASS use it).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.geometry import backward_warp, resize_flow
from nolabel.models.video_segmentation.feature_mixing import FeatureMix

__all__ = ["FrameScores", "TwoFrameScores", "TwoFrameSegmentor", "enlarge_corners"]


class FrameScores(NamedTuple):
    """What a network says of one frame.

    Attributes:
        main: (B, C, h, w) scores (logits).
        auxiliary: (B, C, h, w) scores of an earlier stage, None where the network has no second head.
        feature: (B, K, h, w) the map behind ``main`` that can be mixed with that of another pass.
    """

    main: Tensor
    auxiliary: Tensor | None
    feature: Tensor


class TwoFrameScores(NamedTuple):
    """What a network says of the current frame after it has seen the key frame.

    Attributes:
        main: (B, C, h, w) fused scores (logits).
        auxiliary: (B, C, h, w) fused scores of the second head, where there is one.
        current: the current frame alone.
        key: the key frame alone, on its own grid, without gradients.
    """

    main: Tensor
    auxiliary: Tensor | None
    current: FrameScores
    key: FrameScores


class TwoFrameSegmentor(nn.Module):
    """Base of the two-frame networks: fusion of the scores of the current frame and of the key frame before it.

    Subclasses implement :meth:`frame_scores`. Scores are kept on a grid whose corners lie on the corners of the image.

    Args:
        num_logits: channels of the result.
        reference_compat: resize flow by the height ratio alone (see :func:`~nolabel.geometry.resize_flow`), blend by the
            sum of static masks, and let feature mixing change no score, as the released code does (spec 4.1 and 4.2).

    Attributes:
        fusion: one 1x1 convolution from both scores to the result; at first it hands the current ones on.
    """

    def __init__(self, num_logits: int, *, reference_compat: bool = False) -> None:
        super().__init__()
        self.num_logits, self.reference_compat = num_logits, reference_compat
        self.fusion = nn.Conv2d(2 * num_logits, num_logits, 1, bias=False)
        with torch.no_grad():
            self.fusion.weight.zero_()
            self.fusion.weight[:, :num_logits, 0, 0].copy_(torch.eye(num_logits))

    def frame_scores(self, images: Tensor, mix: FeatureMix | None = None) -> FrameScores:
        """Score single frames.

        Args:
            images: (B, 3, H, W) RGB in [0, 1].
            mix: another pass' feature map to mix into this one's.
        """
        raise NotImplementedError

    def forward(
        self,
        current: Tensor,
        key: Tensor,
        flow: Tensor,
        *,
        size: tuple[int, int] | None = None,
        static: Tensor | None = None,
        mix: FeatureMix | None = None,
    ) -> TwoFrameScores:
        """Score the current frame with the help of the key frame.

        The key frame gives no gradients, but in training its pass moves the batch statistics, as the original's does.

        Args:
            current: (B, 3, H, W) RGB in [0, 1].
            key: (B, 3, H, W) the frame before it.
            flow: (B, 2, h, w) pixels of its own grid: current(p) looks like key(p + flow(p)).
            size: fuse on this grid instead of that of the scores.
            static: (B, 1, H, W) or (B, H, W), above 0 where nothing moves (pasted patches): there the current scores
                take the place of the moved ones.
            mix: another pass' feature map to mix into the current frame's.
        """
        scores = self.frame_scores(current, mix)
        with torch.no_grad():
            before = self.frame_scores(key)
        return self.fuse(scores, before, flow, size=size, static=static)

    def fuse(
        self,
        current: FrameScores,
        key: FrameScores,
        flow: Tensor,
        *,
        size: tuple[int, int] | None = None,
        static: Tensor | None = None,
    ) -> TwoFrameScores:
        """Fuse two frames' scores; arguments as for :meth:`forward`. Videos score every frame only once."""
        grid = size or (current.main.shape[-2], current.main.shape[-1])
        flow = resize_flow(flow, grid, self.reference_compat).nan_to_num(0.0, 0.0, 0.0)
        if static is not None:
            static = static.reshape(static.shape[0], 1, *static.shape[-2:])
            static = F.interpolate(static.float(), grid, mode="nearest")
            if not self.reference_compat:
                static = (static > 0).float()
        fused = self._fuse(current.main, key.main, flow, static)
        auxiliary = None
        if current.auxiliary is not None and key.auxiliary is not None:
            auxiliary = self._fuse(current.auxiliary, key.auxiliary, flow, static)
        return TwoFrameScores(fused, auxiliary, current, key)

    def _fuse(self, current: Tensor, key: Tensor, flow: Tensor, static: Tensor | None) -> Tensor:
        grid = (flow.shape[-2], flow.shape[-1])
        current, key = enlarge_corners(current, grid), enlarge_corners(key, grid)
        moved, _ = backward_warp(key, flow, "bilinear", "border")
        if static is not None:
            # As executed, patches that lie over each other count as often as they do.
            moved = moved * (1 - static) + current * static
        fused: Tensor = self.fusion(torch.cat([current, moved], dim=1))
        return fused


def enlarge_corners(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring scores (B, C, h, w) to another grid, bilinearly, corners on corners."""
    if tuple(scores.shape[-2:]) == tuple(size):
        return scores
    return F.interpolate(scores, size, mode="bilinear", align_corners=True)
