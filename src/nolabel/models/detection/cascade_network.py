"""What every Cascade Mask R-CNN is made of: backbone, proposals and region heads, on batches of any sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from nolabel.errors import DataError
from nolabel.models.backbones import FeaturePyramid, ResNetConfig, freeze_batch_norm
from nolabel.models.detection.cascade import CascadeConfig, CascadeRoIHeads, Detections
from nolabel.models.detection.proposals import ProposalConfig, RegionProposalNetwork
from nolabel.models.detection.sampling import Sampler
from nolabel.models.detection.targets import DetectionTarget
from nolabel.models.pointwise import use_fast_products

__all__ = ["CascadeMaskRCNN", "ImageFeatures"]

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


class CascadeMaskRCNN(nn.Module):
    """ResNet, feature pyramid, proposals, three cascaded box heads and mask head; subclasses say what comes of them.

    Parameter names are detectron2's, which the official checkpoints have (:mod:`nolabel.weights.layouts`).

    Args:
        resnet, pyramid_channels: widths of backbone and pyramid.
        proposals, cascade: settings of the two detection stages.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        resnet: ResNetConfig,
        pyramid_channels: int,
        proposals: ProposalConfig,
        cascade: CascadeConfig,
    ) -> None:
        super().__init__()
        self.backbone = FeaturePyramid(resnet, pyramid_channels)
        self.proposal_generator = RegionProposalNetwork(pyramid_channels, FeaturePyramid.strides, proposals)
        self.roi_heads = CascadeRoIHeads(pyramid_channels, cascade)
        self.register_buffer("pixel_mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self._batch_norm_frozen = False
        use_fast_products(self)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen batch normalisations stay on their stored statistics."""
        super().train(mode)
        if self._batch_norm_frozen:
            freeze_batch_norm(self)
        return self

    def freeze_norms(self) -> None:
        """Keep the statistics and affine maps of all batch norms, in training too."""
        self._batch_norm_frozen = True
        freeze_batch_norm(self)

    def freeze_backbone(self) -> None:
        """Train the heads alone: no gradients for ResNet and pyramid, statistics of all batch norms stay."""
        self.freeze_norms()
        self.backbone.requires_grad_(False)

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

    def detect(self, features: ImageFeatures, levels: Sequence[Tensor]) -> list[Detections]:
        """Return the detections of every image in the frame of the network input.

        Args:
            features: result of :meth:`extract`.
            levels: ``features.region_levels``, made once for all heads.
        """
        scores = self.proposal_generator.score_anchors(list(features.pyramid.values()))
        selection = self.proposal_generator.config.inference
        proposals = self.proposal_generator.propose(scores, features.image_sizes, selection)
        return self.roi_heads.detect(levels, [p.boxes for p in proposals], features.image_sizes)

    def mask_probabilities(self, levels: Sequence[Tensor], detections: Sequence[Detections]) -> list[Tensor]:
        """Return the (N, 28, 28) mask probabilities of the detections of every image."""
        boxes, classes = [d.boxes for d in detections], [d.classes for d in detections]
        logits = self.roi_heads.mask_logits(levels, boxes, classes)
        return list(logits.sigmoid().split([len(b) for b in boxes]))

    def instance_losses(
        self, features: ImageFeatures, targets: Sequence[DetectionTarget], sampler: Sampler
    ) -> dict[str, Tensor]:
        """Return the losses of proposals and region heads by their official names."""
        scores = self.proposal_generator.score_anchors(list(features.pyramid.values()))
        losses = self.proposal_generator.losses(scores, targets, sampler)
        selection = self.proposal_generator.config.training
        proposals = self.proposal_generator.propose(scores, features.image_sizes, selection)
        boxes = [proposal.boxes for proposal in proposals]
        return losses | self.roi_heads.losses(
            features.region_levels, boxes, targets, features.image_sizes, sampler
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
