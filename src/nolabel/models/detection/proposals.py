"""Region proposal network: class-agnostic boxes worth a closer look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image

from nolabel.models.detection.anchors import pyramid_anchors
from nolabel.models.detection.boxes import BoxCoder, pairwise_iou
from nolabel.models.detection.sampling import Sampler, match_boxes, sample_labels
from nolabel.models.detection.targets import DetectionTarget

__all__ = ["ProposalConfig", "ProposalSelection", "Proposals", "RegionProposalNetwork"]


@dataclass(frozen=True)
class ProposalSelection:
    """How many proposals survive.

    Attributes:
        per_level: best anchors kept on every pyramid level before the suppression of overlaps.
        per_image: boxes kept over all levels after it.
    """

    per_level: int
    per_image: int


@dataclass(frozen=True)
class ProposalConfig:
    """Settings of the region proposal network (CUPS specification 2.4 and 2.10).

    Attributes:
        anchor_sizes: square root of the anchor area in pixels, one for each level p2 .. p6.
        aspect_ratios: height / width of the anchors of a cell.
        training, inference: how many proposals survive.
        nms_iou: boxes of one level that overlap a better one by more are dropped.
        background_below, foreground_from: overlap limits of anchors with objects.
        samples_per_image: anchors that enter the losses.
        foreground_fraction: upper limit of the positive part of the samples.
    """

    anchor_sizes: tuple[float, ...] = (32, 64, 128, 256, 512)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    training: ProposalSelection = ProposalSelection(per_level=2000, per_image=4000)
    inference: ProposalSelection = ProposalSelection(per_level=1000, per_image=1000)
    nms_iou: float = 0.65
    background_below: float = 0.3
    foreground_from: float = 0.7
    samples_per_image: int = 256
    foreground_fraction: float = 0.5


class Proposals(NamedTuple):
    """Boxes (N, 4) of one image with their objectness logits (N,), best first."""

    boxes: Tensor
    logits: Tensor


class AnchorScores(NamedTuple):
    """Anchors (A, 4), logits (B, A) and deltas (B, A, 4) of every pyramid level."""

    anchors: list[Tensor]
    logits: list[Tensor]
    deltas: list[Tensor]


class ProposalHead(nn.Module):
    """Convolution shared by all levels, then objectness and box deltas of every anchor of a cell."""

    def __init__(self, channels: int, anchors_per_cell: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(channels, anchors_per_cell, 1)
        self.anchor_deltas = nn.Conv2d(channels, anchors_per_cell * 4, 1)
        for layer in (self.conv, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Map levels (B, C, h, w) to logits (B, A, h, w) and deltas (B, 4 A, h, w)."""
        hidden = [F.relu_(self.conv(feature)) for feature in features]
        return [self.objectness_logits(h) for h in hidden], [self.anchor_deltas(h) for h in hidden]


class RegionProposalNetwork(nn.Module):
    """Scores the anchors of a pyramid and turns the best into proposals."""

    def __init__(self, channels: int, strides: Sequence[int], config: ProposalConfig) -> None:
        super().__init__()
        self.config = config
        self.strides = tuple(strides)
        self.coder = BoxCoder()
        self.rpn_head = ProposalHead(channels, len(config.aspect_ratios))

    def score_anchors(self, features: Sequence[Tensor]) -> AnchorScores:
        """Score the anchors of p2 .. p6, float32, in the order of :func:`pyramid_anchors`."""
        logit_maps, delta_maps = self.rpn_head(features)
        grids = [(feature.shape[-2], feature.shape[-1]) for feature in features]
        anchors = pyramid_anchors(
            grids, self.strides, self.config.anchor_sizes, self.config.aspect_ratios, features[0].device
        )
        logits = [logit.float().permute(0, 2, 3, 1).flatten(1) for logit in logit_maps]
        deltas = [
            delta.float().unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for delta in delta_maps
        ]
        return AnchorScores(anchors, logits, deltas)

    @torch.no_grad()
    def propose(
        self, scores: AnchorScores, image_sizes: Sequence[tuple[int, int]], selection: ProposalSelection
    ) -> list[Proposals]:
        """Return the proposals of every image, clipped to its (height, width) and not empty."""
        boxes, logits, levels = [], [], []
        for level, (anchors, level_logits, deltas) in enumerate(zip(*scores, strict=True)):
            best, index = level_logits.topk(min(selection.per_level, level_logits.shape[1]), dim=1)
            picked = deltas.gather(1, index[..., None].expand(-1, -1, 4))
            boxes.append(
                self.coder.decode(anchors[index].flatten(0, 1), picked.flatten(0, 1)).view_as(picked)
            )
            logits.append(best)
            levels.append(torch.full_like(index[0], level))
        all_boxes, all_logits, all_levels = (
            torch.cat(boxes, dim=1),
            torch.cat(logits, dim=1),
            torch.cat(levels),
        )
        return [
            self._suppress(all_boxes[i], all_logits[i], all_levels, size, selection.per_image)
            for i, size in enumerate(image_sizes)
        ]

    def _suppress(
        self, boxes: Tensor, logits: Tensor, levels: Tensor, image_size: tuple[int, int], limit: int
    ) -> Proposals:
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(logits)
        boxes = clip_boxes_to_image(boxes, image_size)
        usable = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        boxes, logits, levels = boxes[usable], logits[usable], levels[usable]
        keep = batched_nms(boxes, logits, levels, self.config.nms_iou)[:limit]
        return Proposals(boxes[keep], logits[keep])

    def losses(
        self, scores: AnchorScores, targets: Sequence[DetectionTarget], sampler: Sampler
    ) -> dict[str, Tensor]:
        """Return ``loss_rpn_cls`` (binary cross entropy) and ``loss_rpn_loc`` (L1), per sample and image."""
        anchors = torch.cat(scores.anchors)
        logits, deltas = torch.cat(scores.logits, dim=1), torch.cat(scores.deltas, dim=1)
        classification, regression = logits.new_zeros(()), logits.new_zeros(())
        for image, target in enumerate(targets):
            boxes = target.boxes.float()
            matched, labels = match_boxes(
                pairwise_iou(boxes, anchors),
                self.config.background_below,
                self.config.foreground_from,
                keep_best_of_each=True,
            )
            foreground, background = sample_labels(
                labels, self.config.samples_per_image, self.config.foreground_fraction, sampler
            )
            chosen = torch.cat([foreground, background])
            wanted = (torch.arange(len(chosen), device=chosen.device) < len(foreground)).to(logits.dtype)
            classification = classification + F.binary_cross_entropy_with_logits(
                logits[image, chosen], wanted, reduction="sum"
            )
            wanted_deltas = self.coder.encode(anchors[foreground], boxes[matched[foreground]])
            regression = regression + F.l1_loss(deltas[image, foreground], wanted_deltas, reduction="sum")
        normaliser = self.config.samples_per_image * len(targets)
        return {"loss_rpn_cls": classification / normaliser, "loss_rpn_loc": regression / normaliser}
