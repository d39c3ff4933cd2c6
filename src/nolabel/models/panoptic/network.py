"""Panoptic Cascade Mask R-CNN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.errors import DataError
from nolabel.models.backbones import FeaturePyramid
from nolabel.models.detection import (
    CascadeMaskRCNN,
    Detections,
    ImageFeatures,
    InstancePrediction,
    RandomSampler,
    Sampler,
    place_instances,
)
from nolabel.models.panoptic.config import PanopticConfig
from nolabel.models.panoptic.merge import PanopticSegments, merge_panoptic, standard_format
from nolabel.models.panoptic.semantic_head import VOID, SemanticHead
from nolabel.models.panoptic.targets import PanopticTarget
from nolabel.models.pointwise import use_fast_products

__all__ = ["PanopticCascadeMaskRCNN", "PanopticPrediction"]


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


class PanopticCascadeMaskRCNN(CascadeMaskRCNN):
    """ResNet, feature pyramid, proposals, three cascaded box heads, mask head, semantic head and their merge.

    Parameter names are those of the official checkpoints (see :mod:`nolabel.weights.layouts.cups`).
    Source: CUPS specification, section 2.

    Args:
        config: widths and thresholds; the default is the network of the released checkpoint.
    """

    def __init__(self, config: PanopticConfig | None = None) -> None:
        config = config or PanopticConfig()
        channels = config.pyramid_channels
        super().__init__(config.resnet, channels, config.proposals, config.cascade)
        self.config = config
        self.sem_seg_head = SemanticHead(
            channels,
            config.semantic_channels,
            config.num_stuff + 1,
            config.semantic_norm_groups,
            config.semantic_class_weights,
        )
        use_fast_products(self.sem_seg_head)

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
        return losses | self.instance_losses(features, targets, sampler)

    def _semantic_loss(self, features: ImageFeatures, targets: Sequence[PanopticTarget]) -> Tensor:
        logits = self.sem_seg_head(features.pyramid)
        stride = FeaturePyramid.strides[0]
        size = (len(targets), logits.shape[-2] * stride, logits.shape[-1] * stride)
        padded = torch.full(size, VOID, dtype=torch.int64, device=logits.device)
        for row, target in zip(padded, targets, strict=True):
            row[: target.semantic.shape[0], : target.semantic.shape[1]] = target.semantic
        return self.config.semantic_loss_weight * self.sem_seg_head.loss(logits, padded)


def _check_targets(targets: Sequence[PanopticTarget], image_sizes: Sequence[tuple[int, int]]) -> None:
    for target, size in zip(targets, image_sizes, strict=True):
        if tuple(target.semantic.shape) != size or tuple(target.instances.shape) != size:
            raise DataError(
                f"target maps {tuple(target.semantic.shape)} and {tuple(target.instances.shape)} do not fit an image "
                f"of {size[0]} x {size[1]}"
            )
        if target.boxes.shape != (len(target), 4):
            raise DataError(f"{len(target)} classes but boxes of shape {tuple(target.boxes.shape)}")
