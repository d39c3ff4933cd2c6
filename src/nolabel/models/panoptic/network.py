"""Panoptic Cascade Mask R-CNN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.errors import DataError
from nolabel.models.backbones import FeaturePyramid, freeze_batch_norm
from nolabel.models.detection import (
    CascadeRoIHeads,
    Detections,
    MaskCrop,
    RandomSampler,
    RegionProposalNetwork,
    Sampler,
    dense_masks,
    paste_masks,
)
from nolabel.models.panoptic.config import PanopticConfig
from nolabel.models.panoptic.merge import PanopticSegments, merge_panoptic, standard_format
from nolabel.models.panoptic.semantic_head import VOID, SemanticHead
from nolabel.models.panoptic.targets import PanopticTarget
from nolabel.models.pointwise import use_fast_products

__all__ = ["ImageFeatures", "InstancePrediction", "PanopticCascadeMaskRCNN", "PanopticPrediction"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageFeatures(NamedTuple):
    """Pyramid of a padded batch, p2 .. p6, and the (height, width) of every image in it."""

    pyramid: dict[str, Tensor]
    image_sizes: list[tuple[int, int]]

    @property
    def region_levels(self) -> list[Tensor]:
        """p2 .. p5 in float32: boxes are pooled in full precision, whatever the network runs in.

        In the memory layout that pooling reads: channels last on processors, first elsewhere, so that it does not
        copy the maps for every head anew.
        """
        levels = [self.pyramid[name].float() for name in ("p2", "p3", "p4", "p5")]
        return [level.contiguous() if level.is_cuda else level for level in levels]


@dataclass(frozen=True)
class InstancePrediction:
    """Detected objects of one image, best first; masks stay as small as the network makes them.

    Attributes:
        boxes: (N, 4) float32 in pixels of the output.
        scores: (N,) float32.
        classes: (N,) int64 thing clusters.
        mask_probabilities: (N, 28, 28) float32, relative to the boxes.
        image_size: (height, width) of the output.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    mask_probabilities: Tensor
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def mask_crops(self) -> list[MaskCrop]:
        """Return every mask drawn into the part of the image around its box."""
        return paste_masks(self.mask_probabilities, self.boxes, self.image_size)

    def masks(self) -> Tensor:
        """Return full-size masks (N, H, W) bool: N * H * W bytes."""
        return dense_masks(self.mask_crops(), self.image_size, self.boxes.device)


@dataclass(frozen=True)
class PanopticPrediction:
    """Everything the network says about one image.

    Attributes:
        semantic_logits: (S + 1, H, W) float32; probabilities where a prediction averages several views.
        semantic: (H, W) int64, the best channel: 0 = some thing, 1 .. S.
        instances: detected objects.
        panoptic: both merged.
    """

    semantic_logits: Tensor = field(repr=False)
    semantic: Tensor = field(repr=False)
    instances: InstancePrediction = field(repr=False)
    panoptic: PanopticSegments

    def cluster_maps(self) -> tuple[Tensor, Tensor]:
        """Return cluster (H, W) int64 (stuff 0 .. S - 1, things S .. S + T - 1, 255 void) and instance (H, W) int64."""
        num_stuff = self.semantic_logits.shape[0] - 1
        categories = [s.category for s in self.panoptic.segments if s.is_thing]
        things = range(num_stuff, num_stuff + max(categories, default=0) + 1)
        return standard_format(self.panoptic, range(num_stuff), things)


class PanopticCascadeMaskRCNN(nn.Module):
    """ResNet, feature pyramid, proposals, three cascaded box heads, mask head, semantic head and their merge.

    Parameter names are those of the official checkpoints (see :mod:`nolabel.weights.layouts.cups`).
    Source: CUPS specification, section 2.

    Args:
        config: widths and thresholds; the default is the network of the released checkpoint.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: PanopticConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or PanopticConfig()
        channels = config.pyramid_channels
        self.backbone = FeaturePyramid(config.resnet, channels)
        self.proposal_generator = RegionProposalNetwork(channels, FeaturePyramid.strides, config.proposals)
        self.roi_heads = CascadeRoIHeads(channels, config.cascade)
        self.sem_seg_head = SemanticHead(
            channels,
            config.semantic_channels,
            config.num_stuff + 1,
            config.semantic_norm_groups,
            config.semantic_class_weights,
        )
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self._batch_norm_frozen = False
        use_fast_products(self)

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[PanopticTarget] | None = None,
        *,
        sampler: Sampler | None = None,
        output_sizes: Sequence[tuple[int, int]] | None = None,
    ) -> list[PanopticPrediction] | dict[str, Tensor]:
        """Predict, or with ``targets`` return the training losses.

        Args:
            images: (B, 3, H, W) or B images (3, H_i, W_i) of any sizes, RGB in 0 .. 1.
            targets: one for each image.
            sampler: choice of the anchors and boxes that enter the losses; random by default.
            output_sizes: (height, width) of each prediction; the size of its image by default.
        """
        if targets is None:
            return self.predict(images, output_sizes)
        return self.losses(images, targets, sampler)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen batch normalisations stay on their stored statistics."""
        super().train(mode)
        if self._batch_norm_frozen:
            freeze_batch_norm(self)
        return self

    def freeze_backbone(self) -> None:
        """Train the heads alone: no gradients for ResNet and pyramid, statistics of all batch norms stay."""
        self._batch_norm_frozen = True
        freeze_batch_norm(self)
        self.backbone.requires_grad_(False)

    # --- shared by prediction and training ----------------------------------------------------------------------

    def extract(self, images: Tensor | Sequence[Tensor]) -> ImageFeatures:
        """Normalise and pad a batch and run the backbone.

        Raises:
            DataError: an image that is not (3, H, W) or whose values are not in 0 .. 1.
        """
        for image in images:
            _check_image(image)
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        divisor = FeaturePyramid.size_divisibility
        height, width = (-(-max(size[axis] for size in sizes) // divisor) * divisor for axis in (0, 1))
        batch = self.pixel_mean.new_zeros((len(sizes), 3, height, width))
        for row, image in zip(batch, images, strict=True):
            normalised = (image.to(batch) - self.pixel_mean) / self.pixel_std
            row[:, : image.shape[-2], : image.shape[-1]] = normalised
        if batch.is_cuda or not torch.is_grad_enabled():
            # Tensor cores want the channels last; on processors it makes 1x1 convolutions plain matrix products.
            batch = batch.contiguous(memory_format=torch.channels_last)
        return ImageFeatures(self.backbone(batch), sizes)

    # --- prediction ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(
        self, images: Tensor | Sequence[Tensor], output_sizes: Sequence[tuple[int, int]] | None = None
    ) -> list[PanopticPrediction]:
        """Return the prediction for every image, at the given output sizes or that of the image.

        Images of different sizes are padded to the largest, and the group normalisation of the semantic head sees
        the padding (as in the original): predict images of one size together, or singly, for results that do not
        depend on their company.
        """
        features = self.extract(images)
        levels = features.region_levels
        detections = self.detect(features, levels)
        probabilities = self.mask_probabilities(levels, detections)
        semantic = self.sem_seg_head(features.pyramid)
        outputs = output_sizes or features.image_sizes
        return [
            self._assemble(semantic[i], detections[i], probabilities[i], features.image_sizes[i], outputs[i])
            for i in range(len(detections))
        ]

    def detect(self, features: ImageFeatures, levels: Sequence[Tensor]) -> list[Detections]:
        """Return the detections of every image in the frame of the network input.

        Args:
            features: result of :meth:`extract`.
            levels: ``features.region_levels``, made once for all heads.
        """
        scores = self.proposal_generator.score_anchors(list(features.pyramid.values()))
        selection = self.config.proposals.inference
        proposals = self.proposal_generator.propose(scores, features.image_sizes, selection)
        return self.roi_heads.detect(levels, [p.boxes for p in proposals], features.image_sizes)

    def mask_probabilities(self, levels: Sequence[Tensor], detections: Sequence[Detections]) -> list[Tensor]:
        """Return the (N, 28, 28) mask probabilities of the detections of every image."""
        boxes, classes = [d.boxes for d in detections], [d.classes for d in detections]
        logits = self.roi_heads.mask_logits(levels, boxes, classes)
        return list(logits.sigmoid().split([len(b) for b in boxes]))

    def merge(
        self, instances: InstancePrediction, semantic: Tensor, confidence_threshold: float | None = None
    ) -> PanopticSegments:
        """Merge instances with a semantic map (H, W) of channels 0 .. S.

        Args:
            instances: detections with their masks.
            semantic: best semantic channel of every pixel.
            confidence_threshold: in place of the configured one.
        """
        return merge_panoptic(
            instances.mask_crops(),
            instances.scores,
            instances.classes,
            semantic,
            confidence_threshold=self.config.confidence_threshold
            if confidence_threshold is None
            else confidence_threshold,
            overlap_limit=self.config.overlap_limit,
            stuff_area_limit=self.config.stuff_area_limit,
        )

    def _assemble(
        self,
        semantic_logits: Tensor,
        detections: Detections,
        mask_probabilities: Tensor,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> PanopticPrediction:
        logits = SemanticHead.upsample(semantic_logits[None])[:, :, : image_size[0], : image_size[1]]
        if output_size != image_size:
            logits = F.interpolate(logits, size=output_size, mode="bilinear", align_corners=False)
        semantic = logits[0].argmax(dim=0)
        instances = place_instances(detections, mask_probabilities, image_size, output_size)
        return PanopticPrediction(logits[0], semantic, instances, self.merge(instances, semantic))

    # --- training -----------------------------------------------------------------------------------------------

    def losses(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[PanopticTarget],
        sampler: Sampler | None = None,
    ) -> dict[str, Tensor]:
        """Return the ten losses, by their official names; their plain sum is what CUPS minimises.

        Raises:
            DataError: targets that do not fit their images.
        """
        sampler = sampler or RandomSampler()
        targets = [target.to(self.pixel_mean.device) for target in targets]
        features = self.extract(images)
        _check_targets(targets, features.image_sizes)
        losses = {"loss_sem_seg": self._semantic_loss(features, targets)}
        scores = self.proposal_generator.score_anchors(list(features.pyramid.values()))
        losses |= self.proposal_generator.losses(scores, targets, sampler)
        selection = self.config.proposals.training
        proposals = self.proposal_generator.propose(scores, features.image_sizes, selection)
        boxes = [proposal.boxes for proposal in proposals]
        return losses | self.roi_heads.losses(
            features.region_levels, boxes, targets, features.image_sizes, sampler
        )

    def _semantic_loss(self, features: ImageFeatures, targets: Sequence[PanopticTarget]) -> Tensor:
        logits = self.sem_seg_head(features.pyramid)
        stride = FeaturePyramid.strides[0]
        size = (len(targets), logits.shape[-2] * stride, logits.shape[-1] * stride)
        padded = torch.full(size, VOID, dtype=torch.int64, device=logits.device)
        for row, target in zip(padded, targets, strict=True):
            row[: target.semantic.shape[0], : target.semantic.shape[1]] = target.semantic
        return self.config.semantic_loss_weight * self.sem_seg_head.loss(logits, padded)


def place_instances(
    detections: Detections,
    mask_probabilities: Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> InstancePrediction:
    """Scale detections from the network input to the output, clip them and drop those without area."""
    scale = detections.boxes.new_tensor([output_size[1] / image_size[1], output_size[0] / image_size[0]] * 2)
    limit = scale.new_tensor([output_size[1], output_size[0]] * 2)
    boxes = torch.minimum((detections.boxes * scale).clamp(min=0), limit)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return InstancePrediction(
        boxes[kept], detections.scores[kept], detections.classes[kept], mask_probabilities[kept], output_size
    )


def _check_image(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise DataError(
            f"an image must be a float tensor (3, H, W), not {tuple(image.shape)} {image.dtype}",
            hint="RGB, channels first, values in 0 .. 1",
        )
    low, high = (float(value) for value in image.detach().aminmax())
    if not (low >= -0.01 and high <= 1.01):
        raise DataError(
            f"image values must lie in 0 .. 1, found {low:.3g} .. {high:.3g}",
            hint="divide 8-bit images by 255",
        )


def _check_targets(targets: Sequence[PanopticTarget], image_sizes: Sequence[tuple[int, int]]) -> None:
    for target, size in zip(targets, image_sizes, strict=True):
        if tuple(target.semantic.shape) != size or tuple(target.instances.shape) != size:
            raise DataError(
                f"target maps {tuple(target.semantic.shape)} and {tuple(target.instances.shape)} do not fit an image "
                f"of {size[0]} x {size[1]}"
            )
        if target.boxes.shape != (len(target), 4):
            raise DataError(f"{len(target)} classes but boxes of shape {tuple(target.boxes.shape)}")
