"""Cascade of box heads, each refining the boxes of the one before, and a mask head on the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.ops import batched_nms, clip_boxes_to_image, roi_align

from nolabel.models.detection.boxes import BoxCoder, pairwise_iou
from nolabel.models.detection.drop_loss import drop_loss_weights, reference_objects
from nolabel.models.detection.heads import BoxHead, BoxPredictor, MaskHead
from nolabel.models.detection.pooling import pool_boxes
from nolabel.models.detection.region_losses import box_loss, classification_loss, mask_loss
from nolabel.models.detection.sampling import Sampler, match_boxes, sample_labels
from nolabel.models.detection.targets import DetectionTarget

__all__ = ["CascadeConfig", "CascadeRoIHeads", "Detections", "StageOutput", "crop_masks"]


@dataclass(frozen=True)
class CascadeConfig:
    """Settings of the region heads (CUPS specification 2.5 to 2.7 and 2.10, unMORE specification 9).

    Attributes:
        num_classes: object classes; the background comes after them.
        box_channels, mask_channels: widths of the heads.
        class_agnostic_masks: one mask for each box instead of one for each class.
        stage_ious: overlap from which a box is foreground, one for each cascade stage.
        stage_weights: scale of the box deltas (dx, dy, dw, dh) of each stage.
        box_pool_size, mask_pool_size: cells of the pooled features.
        score_threshold: detections need a higher score.
        nms_iou: detections of one class that overlap a better one by more are dropped.
        detections_per_image: the best so many are kept.
        samples_per_image: boxes that enter the losses.
        foreground_fraction: upper limit of the foreground part of the samples.
        drop_loss_threshold: overlap up to which the classification loss is dropped; ``None`` = keep all.
        reference_compat: DropLoss with the objects (and the exceptions) of the original implementation.
    """

    num_classes: int = 5
    box_channels: int = 1024
    mask_channels: int = 256
    class_agnostic_masks: bool = False
    stage_ious: tuple[float, ...] = (0.5, 0.6, 0.7)
    stage_weights: tuple[tuple[float, float, float, float], ...] = (
        (10.0, 10.0, 5.0, 5.0),
        (20.0, 20.0, 10.0, 10.0),
        (30.0, 30.0, 15.0, 15.0),
    )
    box_pool_size: int = 7
    mask_pool_size: int = 14
    score_threshold: float = 0.5
    nms_iou: float = 0.5
    detections_per_image: int = 100
    samples_per_image: int = 512
    foreground_fraction: float = 0.25
    drop_loss_threshold: float | None = 0.4
    reference_compat: bool = False


class Detections(NamedTuple):
    """Boxes (N, 4), scores (N,) and classes (N,) int64 of one image, best first."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


class StageOutput(NamedTuple):
    """Class logits (R, classes + 1) and deltas (R, 4) of a stage, and the boxes it decodes, unclipped, per image."""

    logits: Tensor
    deltas: Tensor
    boxes: list[Tensor]


class _Samples(NamedTuple):
    """Boxes (R, 4) of one image with the class (R,) and the object (R,) they belong to, and how far it is trusted (R,)."""

    boxes: Tensor
    classes: Tensor
    objects: Tensor
    object_boxes: Tensor
    quality: Tensor | None


class _ScaleGradient(torch.autograd.Function):
    """Identity whose gradient is scaled."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.scale, None


class CascadeRoIHeads(nn.Module):
    """Classifies and refines proposals in stages and draws a mask for every detection.

    Args:
        channels: channels of the feature pyramid.
        config: widths, thresholds and sampling.
    """

    def __init__(self, channels: int, config: CascadeConfig) -> None:
        super().__init__()
        self.config = config
        pooled_features = channels * config.box_pool_size**2
        self.box_head = nn.ModuleList(
            [BoxHead(pooled_features, config.box_channels) for _ in config.stage_ious]
        )
        self.box_predictor = nn.ModuleList(
            [BoxPredictor(config.box_channels, config.num_classes) for _ in config.stage_ious]
        )
        self.coders = [BoxCoder(weights) for weights in config.stage_weights]
        num_masks = 1 if config.class_agnostic_masks else config.num_classes
        self.mask_head = MaskHead(channels, config.mask_channels, num_masks)

    @property
    def num_stages(self) -> int:
        """Number of cascade stages."""
        return len(self.box_head)

    def run_stage(self, stage: int, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> StageOutput:
        """Pool boxes (R_i, 4) of every image from p2 .. p5, classify them and decode better boxes."""
        pooled = pool_boxes(features, boxes, self.config.box_pool_size)
        if torch.is_grad_enabled():
            pooled = cast(Tensor, _ScaleGradient.apply(pooled, 1.0 / self.num_stages))
        logits, deltas = self.box_predictor[stage](self.box_head[stage](pooled))
        decoded = self.coders[stage].decode(torch.cat(list(boxes)), deltas)
        return StageOutput(logits, deltas, list(decoded.split([len(image_boxes) for image_boxes in boxes])))

    # --- inference ------------------------------------------------------------------------------------------

    def refine(
        self, features: Sequence[Tensor], boxes: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run all stages; return refined boxes (R_i, 4) and mean class probabilities (R_i, classes + 1) per image."""
        counts = [len(image_boxes) for image_boxes in boxes]
        probabilities = torch.zeros((), device=features[0].device)
        for stage in range(self.num_stages):
            if stage > 0:
                boxes = [clip_boxes_to_image(b, size) for b, size in zip(boxes, image_sizes, strict=True)]
            output = self.run_stage(stage, features, boxes)
            boxes = output.boxes
            probabilities = probabilities + output.logits.softmax(dim=1) / self.num_stages
        return list(boxes), list(probabilities.split(counts))

    def detect(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Tensor],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Detections]:
        """Return the detections of every image for its proposal boxes (R_i, 4)."""
        boxes, probabilities = self.refine(features, proposals, image_sizes)
        return [self.select(b, p, size) for b, p, size in zip(boxes, probabilities, image_sizes, strict=True)]

    def select(
        self,
        boxes: Tensor,
        probabilities: Tensor,
        image_size: tuple[int, int],
        score_threshold: float | None = None,
    ) -> Detections:
        """Keep the best (box, class) pairs of one image.

        Args:
            boxes: (R, 4).
            probabilities: (R, classes + 1); a box may be kept for several classes.
            image_size: (height, width) to clip to.
            score_threshold: in place of the configured one.
        """
        threshold = self.config.score_threshold if score_threshold is None else score_threshold
        finite = torch.isfinite(boxes).all(dim=1) & torch.isfinite(probabilities).all(dim=1)
        candidates = (probabilities[:, :-1] > threshold) & finite[:, None]
        rows, classes = candidates.nonzero(as_tuple=True)
        kept_boxes, scores = clip_boxes_to_image(boxes, image_size)[rows], probabilities[rows, classes]
        keep = batched_nms(kept_boxes, scores, classes, self.config.nms_iou)[
            : self.config.detections_per_image
        ]
        return Detections(kept_boxes[keep], scores[keep], classes[keep])

    def mask_logits(
        self, features: Sequence[Tensor], boxes: Sequence[Tensor], classes: Sequence[Tensor]
    ) -> Tensor:
        """Return the (sum R_i, 28, 28) mask logits of boxes (R_i, 4) with ``classes`` (R_i,) of every image."""
        return self.mask_head(
            pool_boxes(features, boxes, self.config.mask_pool_size), torch.cat(list(classes))
        )

    # --- training -------------------------------------------------------------------------------------------

    def losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[DetectionTarget],
        image_sizes: Sequence[tuple[int, int]],
        sampler: Sampler,
    ) -> dict[str, Tensor]:
        """Return ``loss_cls_stage{k}``, ``loss_box_reg_stage{k}`` of every stage, and ``loss_mask``."""
        samples = [self._sample(p, t, sampler) for p, t in zip(proposals, targets, strict=True)]
        losses = {"loss_mask": self._mask_loss(features, samples, targets)}
        for stage in range(self.num_stages):
            output = self.run_stage(stage, features, [sample.boxes for sample in samples])
            losses |= self._stage_losses(stage, output, samples, targets)
            if stage + 1 < self.num_stages:
                samples = [
                    self._rematch(boxes.detach(), target, size, self.config.stage_ious[stage + 1])
                    for boxes, target, size in zip(output.boxes, targets, image_sizes, strict=True)
                ]
        return losses

    def _sample(self, proposals: Tensor, target: DetectionTarget, sampler: Sampler) -> _Samples:
        # The objects themselves join the proposals, behind them: the first samples of a young network are useful.
        boxes = torch.cat([proposals, target.boxes.to(proposals.dtype)])
        limit = self.config.stage_ious[0]
        matched, labels = match_boxes(pairwise_iou(target.boxes.to(boxes.dtype), boxes), limit, limit)
        chosen = torch.cat(
            sample_labels(labels, self.config.samples_per_image, self.config.foreground_fraction, sampler)
        )
        return self._assign(boxes[chosen], labels[chosen], matched[chosen], target)

    def _rematch(
        self, boxes: Tensor, target: DetectionTarget, size: tuple[int, int], limit: float
    ) -> _Samples:
        boxes = clip_boxes_to_image(boxes, size)
        boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]
        matched, labels = match_boxes(pairwise_iou(target.boxes.to(boxes.dtype), boxes), limit, limit)
        return self._assign(boxes, labels, matched, target)

    def _assign(self, boxes: Tensor, labels: Tensor, matched: Tensor, target: DetectionTarget) -> _Samples:
        if len(target) == 0:
            classes = torch.full_like(matched, self.config.num_classes)
            quality = None if target.quality is None else torch.ones_like(boxes[:, 0])
            return _Samples(boxes, classes, matched, torch.zeros_like(boxes), quality)
        classes = torch.where(labels == 1, target.classes[matched], self.config.num_classes)
        quality = None if target.quality is None else target.quality[matched]
        return _Samples(boxes, classes, matched, target.boxes[matched].to(boxes.dtype), quality)

    def _stage_losses(
        self, stage: int, output: StageOutput, samples: Sequence[_Samples], targets: Sequence[DetectionTarget]
    ) -> dict[str, Tensor]:
        classes = torch.cat([sample.classes for sample in samples])
        quality = _joined([sample.quality for sample in samples])
        weights = self._classification_weights(stage, output, samples, targets)
        foreground = (classes < self.config.num_classes).nonzero().squeeze(1)
        wanted = self.coders[stage].encode(
            torch.cat([sample.boxes for sample in samples])[foreground],
            torch.cat([sample.object_boxes for sample in samples])[foreground],
        )
        trust = None if quality is None else quality[foreground]
        return {
            f"loss_cls_stage{stage}": classification_loss(output.logits, classes, quality, weights),
            f"loss_box_reg_stage{stage}": box_loss(output.deltas[foreground], wanted, len(classes), trust),
        }

    @torch.no_grad()
    def _classification_weights(
        self, stage: int, output: StageOutput, samples: Sequence[_Samples], targets: Sequence[DetectionTarget]
    ) -> Tensor | None:
        threshold = self.config.drop_loss_threshold
        if threshold is None:
            return None
        objects = [target.boxes.to(output.deltas.dtype) for target in targets]
        if self.config.reference_compat:
            if stage == 0 and any(len(target) == 0 for target in targets):
                return None
            objects = [reference_objects(sample.object_boxes) for sample in samples]
        complete = [target.complete for target in targets]
        return drop_loss_weights(output.boxes, objects, threshold, complete)

    def _mask_loss(
        self, features: Sequence[Tensor], samples: Sequence[_Samples], targets: Sequence[DetectionTarget]
    ) -> Tensor:
        chosen = [(sample.classes < self.config.num_classes).nonzero().squeeze(1) for sample in samples]
        boxes = [sample.boxes[rows] for sample, rows in zip(samples, chosen, strict=True)]
        classes = [sample.classes[rows] for sample, rows in zip(samples, chosen, strict=True)]
        logits = self.mask_logits(features, boxes, classes)
        size = logits.shape[-1]
        wanted = [
            crop_masks(target, sample.objects[rows], image_boxes, size)
            for target, sample, rows, image_boxes in zip(targets, samples, chosen, boxes, strict=True)
        ]
        quality = [
            None if sample.quality is None else sample.quality[rows]
            for sample, rows in zip(samples, chosen, strict=True)
        ]
        return mask_loss(logits, torch.cat(wanted), _joined(quality))


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Join what all images have, ``None`` where they have it not: a batch has one kind of target."""
    present = [part for part in parts if part is not None]
    return torch.cat(present) if len(present) == len(parts) else None


@torch.no_grad()
def crop_masks(target: DetectionTarget, objects: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return the (K, size, size) 0/1 masks of ``objects`` (K,) as seen through ``boxes`` (K, 4)."""
    if len(objects) == 0:
        return boxes.new_zeros((0, size, size))
    present, row = objects.unique(return_inverse=True)
    regions = torch.cat([row[:, None].to(boxes.dtype), boxes], dim=1)
    masks = target.object_masks(present)[:, None]
    cropped = roi_align(masks, regions, size, spatial_scale=1.0, sampling_ratio=0, aligned=True)
    return (cropped[:, 0] >= 0.5).to(boxes.dtype)
