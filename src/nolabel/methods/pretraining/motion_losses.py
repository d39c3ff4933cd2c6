"""What self-supervised motion minimises: census, smoothness, agreement with the teacher, known flow.

Jonschkowski et al., "What Matters in Unsupervised Optical Flow" (UFlow), ECCV 2020, section 3; Stone et al., "SMURF",
CVPR 2021, section 3: the same terms over all updates of RAFT, and images warped whole, so that what leaves the crop that
the network sees still has a partner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry import (
    backward_warp,
    census_difference,
    forward_backward_visible,
    pixel_grid,
    range_map,
    sample,
)
from nolabel.geometry.photometric import edge_aware_roughness
from nolabel.methods.pretraining.motion_settings import MotionLossConfig

__all__ = [
    "PairViews",
    "known_flow_loss",
    "partnered",
    "photometric_loss",
    "photometric_sequence_loss",
    "sequence_loss",
    "smoothness_loss",
    "teacher_loss",
    "upright_loss",
]

RANGE_LIMIT = 0.5  # of a pixel that must come to lie on another for it to count as visible


@dataclass(frozen=True)
class PairViews:
    """Pairs as losses see them: P crops, each with a whole image to match it with.

    Attributes:
        crops: (P, 3, h, w) the first images, cut out; RGB in [0, 1], without augmentation.
        wholes: (N, 3, H, W) all images.
        second: (P,) positions of the second images in ``wholes``.
        corner: (P, 2) column and row of the cut in the whole image, even.
        reverse: (P,) position of the pair that leads back.
        sideways: (P,) -1, 0 or 1, see :class:`~nolabel.methods.pretraining.motion_data.MotionBatch`.
    """

    crops: Tensor
    wholes: Tensor
    second: Tensor
    corner: Tensor
    reverse: Tensor
    sideways: Tensor

    def halved(self) -> PairViews:
        """Return the same at half resolution."""
        crops, wholes = F.avg_pool2d(self.crops, 2), F.avg_pool2d(self.wholes, 2)
        corner = self.corner.div(2, rounding_mode="floor")
        return PairViews(crops, wholes, self.second, corner, self.reverse, self.sideways)

    def fetched(self, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Fetch the second image along the flow (P, 2, h, w): (P, 3, h, w), and (P, 1, h, w) whether it lies in it."""
        grid = pixel_grid(*flow.shape[-2:], device=flow.device) + self.corner[:, :, None, None]
        return sample(self.wholes[self.second], grid + flow, padding_mode="border")


def sequence_loss(flows: Sequence[Tensor], loss: Callable[[Tensor, bool], Tensor], gamma: float) -> Tensor:
    """Sum a loss over the updates, the last one with weight 1 and each before with gamma of the next (RAFT, equation 7).

    Args:
        flows: after each update.
        loss: of a flow, and whether it is the last one.
        gamma: 0..1.
    """
    last = len(flows) - 1
    terms = [gamma ** (last - place) * loss(flow, place == last) for place, flow in enumerate(flows)]
    return torch.stack(terms).sum()


@torch.no_grad()
def partnered(views: PairViews, flow: Tensor, method: str) -> Tensor:
    """Where a pixel of the crop has a partner in the second image, or none can be ruled out: (P, 1, h, w) bool.

    What leads out of the crop but not out of the whole image is taken for visible: no flow leads back from there.

    Args:
        views: pairs.
        flow: (P, 2, h, w) pixels.
        method: ``consistency`` of forward and backward flow, or ``range_map`` of the backward flow.
    """
    back = flow[views.reverse]
    if method == "consistency":
        seen = forward_backward_visible(flow, back)
        _, in_crop = backward_warp(flow[:, :1], flow, "nearest")
        return seen | ~in_crop
    # What nothing in the crop leads to may be seen from outside it: only the inner part is judged.
    seen = range_map(back) >= RANGE_LIMIT
    _, in_crop = backward_warp(flow[:, :1], flow, "nearest")
    return seen | ~in_crop


def photometric_loss(
    views: PairViews, flow: Tensor, visible: Tensor | None, config: MotionLossConfig
) -> Tensor:
    """Mean census penalty of the pixels that have a partner (UFlow, equation 2).

    Args:
        views: pairs.
        flow: (P, 2, h, w) pixels.
        visible: (P, 1, h, w) bool; None: all.
        config: window and power.
    """
    fetched, inside = views.fetched(flow)
    different = (census_difference(views.crops, fetched, config.census) + 0.01) ** config.power
    border = config.census // 2
    weight = inside if visible is None else inside & visible
    weight = weight[..., border:-border, border:-border].float()
    different = different[..., border:-border, border:-border]
    # Normalised over all pixels of a pair, so that hiding pixels is no way to a small loss.
    return (different * weight).flatten(1).sum(1).div(weight.flatten(1).sum(1) + 1).mean()


def photometric_sequence_loss(
    views: PairViews, flows: Sequence[Tensor], visible: Tensor | None, config: MotionLossConfig
) -> Tensor:
    """Sum the census penalty over all updates; with ``config.coarse`` all but the last are compared at half resolution.

    Args:
        views: pairs.
        flows: (P, 2, h, w) pixels, after each update.
        visible: (P, 1, h, w) bool; None: all.
        config: window, power, gamma and resolution.
    """
    small = views.halved() if config.coarse and len(flows) > 1 else None
    small_visible = visible[..., ::2, ::2] if visible is not None else None

    def compared(flow: Tensor, last: bool) -> Tensor:
        if last or small is None:
            return photometric_loss(views, flow, visible, config)
        return photometric_loss(small, F.avg_pool2d(flow, 2) / 2, small_visible, config)

    return sequence_loss(flows, compared, config.gamma)


def smoothness_loss(image: Tensor, flow: Tensor, config: MotionLossConfig) -> Tensor:
    """Mean edge-aware roughness of flow, in pixels per cell (UFlow, equation 3).

    Args:
        image: (P, 3, h, w) RGB in [0, 1].
        flow: (P, 2, h, w) pixels.
        config: order, stride and sharpness.
    """
    if config.smoothness_stride > 1:
        image, flow = (F.avg_pool2d(maps, config.smoothness_stride) for maps in (image, flow))
    return edge_aware_roughness(flow, image, config.edge_sharpness, order=config.smoothness_order).mean()


def upright_loss(flow: Tensor, sideways: Tensor) -> Tensor:
    """Mean of the vertical motion and of the motion in the wrong direction between stereo views, pixels.

    Args:
        flow: (P, 2, h, w) pixels.
        sideways: (P,) direction of the pairs, 0 for those over time, which count nothing.
    """
    way = sideways[:, None, None].to(flow)
    wrong = flow[:, 1].abs() + F.relu(-way * flow[:, 0])
    return (wrong * way.abs()).mean()


def teacher_loss(flow: Tensor, taught: Tensor, trusted: Tensor) -> Tensor:
    """Mean distance to the teacher's flow where it is trusted (SMURF, section 3.3), pixels.

    Args:
        flow: (P, 2, h, w) of the student, which saw the crop.
        taught: (P, 2, h, w) of the teacher, which saw the whole image, cut out.
        trusted: (P, 1, h, w) bool.
    """
    distance = (flow - taught).abs().sum(dim=1, keepdim=True)
    return (distance * trusted).mean()


def known_flow_loss(flow: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of both components, pixels (RAFT, equation 7)."""
    return (flow - truth).abs().mean()
