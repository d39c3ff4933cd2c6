"""RAFT as a motion estimator: the SMURF layout (self-supervised, used by CUPS) and RAFT-small.

Teed and Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020;
Stone et al., "SMURF: Self-Teaching Multi-Frame Unsupervised RAFT", CVPR 2021 (spec cups_pseudo 3).
The networks are torchvision's; SMURF's differs by instance normalisation in the context encoder and by the
channel order of the correlation look-up, which ``weights/layouts/raft_smurf.py`` permutes away on loading.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.optical_flow import RAFT, raft_large, raft_small
from torchvision.models.optical_flow.raft import FeatureEncoder, ResidualBlock

from nolabel.geometry import pixel_grid
from nolabel.models.motion.correlation import CorrelationPyramid
from nolabel.models.motion.estimator import Reference, StereoMotion, check_images
from nolabel.models.motion.recurrence import fixed_context_units
from nolabel.models.pointwise import use_fast_products

STRIDE = 8  # the encoders' output stride: images are padded to its multiples
MINIMUM_SIZE = 128  # below it the fourth level of the correlation pyramid would have a single column


def smurf_network() -> RAFT:
    """Return an untrained RAFT in the SMURF variant (instance norms without parameters in both encoders)."""
    context_encoder = FeatureEncoder(
        block=ResidualBlock, layers=(64, 64, 96, 128, 256), norm_layer=nn.InstanceNorm2d
    )
    return raft_large(weights=None, context_encoder=context_encoder)


def large_network() -> RAFT:
    """Return an untrained RAFT as published (batch norms in the context encoder; 5 257 536 parameters)."""
    return raft_large(weights=None)


def small_network() -> RAFT:
    """Return an untrained RAFT-small (990 162 parameters)."""
    return raft_small(weights=None)


NETWORKS = {"raft_smurf": smurf_network, "raft_large": large_network, "raft_small": small_network}
"""Builders of untrained networks by the name of their layout."""


class RaftMotion(nn.Module):
    """Motion by RAFT; stereo disparity is its horizontal flow.

    Args:
        network: a torchvision ``RAFT``.
        updates: recurrent updates of one pass (CUPS: 16). Only the last one is upsampled.
        memory_limit: bytes that the correlation volumes of one batch may take; passes run one after the other
            beyond it. One volume at 640x1280 takes 0.87 GB. By default 1 GB on processors, where batches gain
            nothing, and 4 GB elsewhere.
        half_precision: convolutions in float16 (CUDA) or bfloat16 (elsewhere); correlation stays float32.
    """

    def __init__(
        self,
        network: RAFT,
        updates: int = 16,
        memory_limit: float | None = None,
        half_precision: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.updates = updates
        self.memory_limit = memory_limit
        self.half_precision = half_precision
        use_fast_products(network)
        self.requires_grad_(False)
        self.eval()

    def features(self, images: Tensor) -> Tensor:
        """Return the features (B, C, H / 8, W / 8) by which RGB images (B, 3, H, W) in [0, 1] are matched.

        Sides must be multiples of 8 and at least 128.
        """
        return self._encode(self.network.feature_encoder, images)

    def context(self, images: Tensor) -> Tensor:
        """Return hidden state and context (B, D, H / 8, W / 8) of images, before their activations."""
        return self._encode(self.network.context_encoder, images)

    def _encode(self, encoder: nn.Module, images: Tensor) -> Tensor:
        # Batches gain nothing on processors and need memory.
        at_once = 1 if images.device.type == "cpu" else 4
        with self._autocast(images.device):
            return torch.cat([encoder(2 * part - 1) for part in images.split(at_once)])

    def match(self, first: Tensor, context: Tensor, second: Tensor) -> Tensor:
        """Return the flow (B, 2, 8h, 8w) in pixels after all updates.

        Args:
            first: (B, C, h, w) features of the images on whose grid the flow lies.
            context: (B, D, h, w) their context.
            second: (B, C, h, w) features of the images that it leads to.
        """
        pyramid = self.correlation(first, second)
        with self._autocast(first.device):
            *_, (flow, hidden) = recurrent_updates(self.network, pyramid, context, self.updates)
            return upsampled(self.network, flow, hidden).float()

    def correlation(self, first: Tensor, second: Tensor) -> CorrelationPyramid:
        """Correlate the features of two batches of images, in float32."""
        block = self.network.corr_block
        return CorrelationPyramid(first.float(), second.float(), block.num_levels, block.radius)

    @torch.inference_mode()
    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the flow (B, 2, H, W) in pixels from ``first`` to ``second`` (RGB in [0, 1])."""
        check_images(first, second)
        batch = len(first)
        index = torch.arange(batch)
        return self._pairs(torch.cat([first, second]), index, index + batch)

    def disparity(self, left: Tensor, right: Tensor, reference: Reference = "left") -> Tensor:
        """Return the disparity (B, 1, H, W) >= 0 in pixels on the grid of the ``reference`` image."""
        if reference == "left":
            return _as_disparity(self.flow(left, right), "left")
        return _as_disparity(self.flow(right, left), "right")

    @torch.inference_mode()
    def stereo_video(self, left_0: Tensor, right_0: Tensor, left_1: Tensor, right_1: Tensor) -> StereoMotion:
        """Return flow and disparity of stereo pairs at t0 and t1; each image is encoded once."""
        check_images(left_0, right_0, left_1, right_1)
        batch = torch.arange(len(left_0))
        l0, r0, l1, r1 = (batch + k * len(left_0) for k in range(4))
        flows = self._pairs(
            torch.cat([left_0, right_0, left_1, right_1]),
            torch.cat([l0, l1, l0, l1, r0, r1]),
            torch.cat([l1, l0, r0, r1, l0, l1]),
        )
        forward, backward, *stereo = flows.split(len(left_0))
        references: tuple[Reference, ...] = ("left", "left", "right", "right")
        return StereoMotion(forward, backward, *map(_as_disparity, stereo, references))

    def _pairs(self, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return the flows (P, 2, H, W) from ``images[first]`` to ``images[second]``."""
        height, width = images.shape[-2:]
        padded = _pad(images)
        features = self.features(padded)
        sources, source = first.unique(return_inverse=True)
        contexts = self.context(padded[sources])
        positions = features.shape[-2] * features.shape[-1]
        volume_bytes = 4 * positions**2 * 4 / 3  # float32, plus a third for the pyramid's upper levels
        limit = self.memory_limit or (1e9 if images.device.type == "cpu" else 4e9)
        chunk = max(1, int(limit / volume_bytes))
        flows = [
            self.match(features[a], contexts[c], features[b])
            for a, c, b in zip(first.split(chunk), source.split(chunk), second.split(chunk), strict=True)
        ]
        return torch.cat(flows)[..., :height, :width].contiguous()

    def _autocast(self, device: torch.device) -> torch.autocast:
        dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
        return torch.autocast(device.type, dtype=dtype, enabled=self.half_precision)


def recurrent_updates(
    network: RAFT, pyramid: CorrelationPyramid, context: Tensor, updates: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Do the updates of RAFT one after the other (RAFT, section 3.3).

    No gradient flows through the position at which the correlation is read, from one update to the one before.

    Args:
        network: whose update block is used.
        pyramid: correlation of (B, C, h, w) features.
        context: (B, D, h, w) of the first images, before its activations.
        updates: how many.

    Yields:
        After each update the flow (B, 2, h, w) in cells, and the hidden state (B, H, h, w).
    """
    update, last = network.update_block, torch.channels_last
    hidden = torch.tanh(context[:, : update.hidden_state_size]).contiguous(memory_format=last)
    context = F.relu(context[:, update.hidden_state_size :]).contiguous(memory_format=last)
    units = fixed_context_units(update.recurrent_block, context)
    start = pixel_grid(*context.shape[-2:], device=context.device)
    flow = torch.zeros_like(start).expand(len(context), -1, -1, -1)
    for _ in range(updates):
        flow = flow.detach()
        motion = update.motion_encoder(flow, pyramid.windows(start + flow))
        for unit in units:
            hidden = unit(hidden, motion)
        flow = flow + update.flow_head(hidden).float()
        yield flow, hidden


def upsampled(network: RAFT, flow: Tensor, hidden: Tensor) -> Tensor:
    """Bring a flow (B, 2, h, w) in cells to (B, 2, 8h, 8w) pixels: by the network's convex weights, else bilinear."""
    batch, _, height, width = flow.shape
    if network.mask_predictor is None:
        size = (STRIDE * height, STRIDE * width)
        return STRIDE * F.interpolate(flow, size=size, mode="bilinear", align_corners=True)
    weights = network.mask_predictor(hidden).float()
    weights = weights.view(batch, 1, 9, STRIDE, STRIDE, height, width).softmax(dim=2)
    neighbours = F.unfold(STRIDE * flow, kernel_size=3, padding=1).view(batch, 2, 9, 1, 1, height, width)
    fine = (weights * neighbours).sum(dim=2)
    return fine.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, STRIDE * height, STRIDE * width)


def _pad(images: Tensor) -> Tensor:
    """Replicate the right and bottom border up to multiples of 8 and at least 128 pixels."""
    height, width = images.shape[-2:]
    down, right = (max(MINIMUM_SIZE, -(-side // STRIDE) * STRIDE) - side for side in (height, width))
    return F.pad(images, (0, right, 0, down), mode="replicate") if down or right else images


def _as_disparity(flow: Tensor, reference: Reference) -> Tensor:
    """Return horizontal flow between rectified views as disparity; the wrong direction becomes 0."""
    sign = -1 if reference == "left" else 1
    return (sign * flow[:, :1]).clamp(min=0)
