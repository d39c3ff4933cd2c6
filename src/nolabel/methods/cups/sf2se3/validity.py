"""Which pixels have scene flow worth trusting, and why the others do not (spec 4.2, 4.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry.flow import depth_from_disparity, disparity_as_flow, forward_backward_visible
from nolabel.geometry.warp import backward_warp, pixel_grid
from nolabel.methods.cups.sf2se3.config import ObjectProposalConfig
from nolabel.methods.cups.sf2se3.scene_flow import SceneFlow, back_project
from nolabel.models.motion import StereoMotion
from nolabel.structures import StereoCalibration

SMOOTHING_RADIUS = 2  # of the Gaussian (sigma 1) before the edge gradient


@dataclass(frozen=True)
class Validity:
    """What makes pixels of the t0 grid valid: one (H, W) bool map for each reason, True where it holds.

    Attributes:
        allowed: not masked out by the data set (ego vehicle, stereo border).
        depth: depth at t0 in the trusted range.
        not_edge: not beside a depth edge at t0.
        flow_visible: forward and backward flow agree.
        disparity_visible: left and right disparity at t0 agree.
        inside: the flow stays inside the image.
        next_frame: where the flow leads, depth, edges and disparity at t1 are fine, too.
    """

    allowed: Tensor
    depth: Tensor
    not_edge: Tensor
    flow_visible: Tensor
    disparity_visible: Tensor
    inside: Tensor
    next_frame: Tensor

    def combined(self) -> Tensor:
        """Return where every reason holds."""
        return torch.stack(list(vars(self).values())).all(dim=0)

    def lost(self) -> dict[str, int]:
        """Return, for each reason, how many pixels it removes that all reasons before it had left."""
        counts, left = {}, torch.ones_like(self.allowed)
        for name, holds in vars(self).items():
            counts[name] = int((left & ~holds).sum())
            left = left & holds
        return counts


def depth_edges(disparity: Tensor, threshold: float, size: int, reference_compat: bool = False) -> Tensor:
    """Return where depth jumps: thinned gradient maxima of the log-disparity, grown to squares.

    Args:
        disparity: (H, W) pixels.
        threshold: least gradient magnitude (Sobel weights 1, 2, 1, not normalised) of log(disparity + 0.001).
        size: side of the growing square in pixels (odd).
        reference_compat: as the original, count the outer ``size // 2`` rows and columns as edges, and see no
            edge where two neighbours share the maximum (a clean step between two pixels).
    """
    image = (disparity + 0.001).log()[None, None]
    offsets = torch.arange(-SMOOTHING_RADIUS, SMOOTHING_RADIUS + 1, device=image.device, dtype=image.dtype)
    gaussian = torch.exp(-(offsets**2) / 2)
    gaussian = gaussian / gaussian.sum()
    smooth = F.pad(image, [SMOOTHING_RADIUS] * 4, mode="reflect")
    smooth = F.conv2d(F.conv2d(smooth, gaussian.view(1, 1, 1, -1)), gaussian.view(1, 1, -1, 1))
    sobel = image.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gradient = F.conv2d(F.pad(smooth, [1] * 4, mode="replicate"), torch.stack([sobel, sobel.T])[:, None])[0]
    magnitude = (gradient.square().sum(dim=0) + 1e-6).sqrt()
    edges = (_thin(magnitude, gradient, reference_compat) > threshold).float()[None, None]
    border = 1.0 if reference_compat else 0.0
    padded = F.pad(edges, [size // 2] * 4, value=border)
    return F.max_pool2d(padded, size, stride=1)[0, 0] > 0


def _thin(magnitude: Tensor, gradient: Tensor, strict: bool) -> Tensor:
    """Keep maxima along their direction, rounded to 45 degrees; else 0. Unless ``strict``, one of a tie stays."""
    sector = (torch.atan2(gradient[1], gradient[0]) * (4 / torch.pi)).round().long() % 4
    padded = F.pad(magnitude, [1] * 4)
    height, width = magnitude.shape

    def shifted(dv: int, du: int) -> Tensor:
        return padded[1 + dv : 1 + dv + height, 1 + du : 1 + du + width]

    directions = ((0, 1), (1, 1), (1, 0), (1, -1))  # by sector: 0, 45, 90, 135 degrees (rows point down)
    ahead = torch.stack([shifted(dv, du) for dv, du in directions]).gather(0, sector[None])[0]
    behind = torch.stack([shifted(-dv, -du) for dv, du in directions]).gather(0, sector[None])[0]
    not_behind = magnitude > behind if strict else magnitude >= behind
    return magnitude * ((magnitude > ahead) & not_behind)


def build_scene_flow(
    motion: StereoMotion, camera: StereoCalibration, allowed: Tensor, config: ObjectProposalConfig
) -> tuple[SceneFlow, Validity]:
    """Combine flow and disparity of one sample (batch of one) to scene flow.

    Args:
        motion: flow and disparity.
        camera: calibration of these images.
        allowed: (H, W) bool, pixels that the data set lets count.
        config: settings already scaled to the image.
    """
    compat = config.reference_compat
    focal_baseline = {"focal": camera.fx, "baseline": camera.baseline}
    depth_0, depth_1 = (
        depth_from_disparity(d[0, 0], **focal_baseline) for d in (motion.disparity_0, motion.disparity_1)
    )

    def visible(forward: Tensor, backward: Tensor) -> Tensor:
        slope, offset = config.visibility_slope, config.visibility_offset
        return forward_backward_visible(forward, backward, slope, offset, reference_compat=compat)[0, 0]

    def stereo_visible(left: Tensor, right: Tensor) -> Tensor:
        return visible(disparity_as_flow(left, "left"), disparity_as_flow(right, "right"))

    def trusted(depth: Tensor) -> Tensor:
        return (depth >= config.min_depth) & (depth <= config.max_depth)

    def not_edge(disparity: Tensor) -> Tensor:
        return ~depth_edges(disparity[0, 0], config.edge_threshold, config.edge_size, compat)

    trusted_1 = trusted(depth_1) & not_edge(motion.disparity_1)
    trusted_1 &= stereo_visible(motion.disparity_1, motion.disparity_right_1)
    points_1, trusted_1, inside = look_up(
        back_project(depth_1, camera), trusted_1, motion.flow_forward[0], compat
    )
    validity = Validity(
        allowed=allowed,
        depth=trusted(depth_0),
        not_edge=not_edge(motion.disparity_0),
        flow_visible=visible(motion.flow_forward, motion.flow_backward),
        disparity_visible=stereo_visible(motion.disparity_0, motion.disparity_right_0),
        inside=inside,
        next_frame=trusted_1,
    )
    points_0 = back_project(depth_0, camera)
    return SceneFlow(points_0, points_1, motion.flow_forward[0], validity.combined(), camera), validity


def look_up(
    points: Tensor, trusted: Tensor, flow: Tensor, reference_compat: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Read t1 maps at the pixels nearest to where the flow leads.

    Positions halfway between two pixels go to the even one; with ``reference_compat`` float32 rounding of
    normalised coordinates decides them, as in the original (a twentieth of the pixels if flow is quantised).

    Returns:
        points (3, H, W) and trusted (H, W) on the grid of t0, both 0 outside the image; inside (H, W) bool.
    """
    maps = torch.cat([points, trusted[None].to(points.dtype), torch.ones_like(points[:1])])[None]
    if reference_compat:
        height, width = trusted.shape
        position = pixel_grid(height, width, dtype=flow.dtype, device=flow.device) + flow
        grid = 2 * position.permute(1, 2, 0) / flow.new_tensor([width - 1, height - 1]) - 1
        read = F.grid_sample(maps, grid[None], mode="nearest", padding_mode="zeros", align_corners=True)
    else:
        read, _ = backward_warp(maps, flow[None], mode="nearest")
    return read[0, :3], read[0, 3] > 0.5, read[0, 4] > 0.5
