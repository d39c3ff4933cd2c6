"""One prediction from several views of an image: scaled and mirrored.

Source: CUPS specification 5.3. Every view passes the backbone once; boxes, masks and semantics all read its features
(the original runs the backbone twice per view).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.errors import ConfigError
from nolabel.models.detection import Detections, ImageFeatures, place_instances
from nolabel.models.panoptic.network import PanopticCascadeMaskRCNN, PanopticPrediction
from nolabel.models.panoptic.semantic_head import SemanticHead

__all__ = ["MultiViewPredictor", "View", "ViewConfig"]


@dataclass(frozen=True)
class ViewConfig:
    """Views and thresholds of a multi-view prediction.

    Attributes:
        short_sides: length in pixels of the shorter side of each view.
        mirror: also look at every view mirrored.
        longest_side: limit of the longer side of a view, pixels.
        score_threshold: merged detections need a higher score, in the list and in the panoptic map.
    """

    short_sides: tuple[int, ...] = (512, 768, 1024)
    mirror: bool = True
    longest_side: int = 4000
    score_threshold: float = 0.7

    def __post_init__(self) -> None:
        """Refuse settings without a view."""
        if not self.short_sides or min(self.short_sides) < 1:
            raise ConfigError(f"short_sides must be positive lengths, not {self.short_sides}")


@dataclass(frozen=True)
class View:
    """How a view was made from the image: scaled to ``size`` (height, width) from ``image_size``, perhaps mirrored."""

    image_size: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool

    def boxes_to_view(self, boxes: Tensor) -> Tensor:
        """Map boxes (N, 4) of the image into the view."""
        return self._mirror(boxes * self._scale(boxes))

    def boxes_to_image(self, boxes: Tensor) -> Tensor:
        """Map boxes (N, 4) of the view into the image."""
        return self._mirror(boxes) / self._scale(boxes)

    def unmirror(self, maps: Tensor) -> Tensor:
        """Undo the mirroring of maps (..., h, w)."""
        return maps.flip(-1) if self.mirrored else maps

    def _scale(self, boxes: Tensor) -> Tensor:
        vertical, horizontal = (new / old for new, old in zip(self.size, self.image_size, strict=True))
        return boxes.new_tensor([horizontal, vertical, horizontal, vertical])

    def _mirror(self, boxes: Tensor) -> Tensor:
        if not self.mirrored:
            return boxes
        x0, y0, x1, y1 = boxes.unbind(dim=1)
        return torch.stack([self.size[1] - x1, y0, self.size[1] - x0, y1], dim=1)


@dataclass(frozen=True)
class _Scale:
    """Features of the views of one scale: they share their size, so they went through the network together."""

    views: list[View]
    features: ImageFeatures
    levels: list[Tensor]


class MultiViewPredictor:
    """Predicts from scaled and mirrored views of each image: the teacher of self-training.

    Args:
        network: in evaluation mode; its thresholds hold within a view.
        config: the views, and the thresholds of the merged result.
    """

    def __init__(self, network: PanopticCascadeMaskRCNN, config: ViewConfig | None = None) -> None:
        self.network = network
        self.config = config or ViewConfig()

    @torch.no_grad()
    def __call__(self, images: Tensor | Sequence[Tensor]) -> list[PanopticPrediction]:
        """Predict every image (3, H_i, W_i), RGB in 0 .. 1; ``semantic_logits`` are mean probabilities."""
        return [self._predict(image) for image in images]

    def view_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the (height, width) of every scale for an image of the given size."""
        sizes = []
        for short_side in self.config.short_sides:
            scale = short_side / min(height, width)
            scale = min(scale, self.config.longest_side / max(height, width))
            sizes.append((int(height * scale + 0.5), int(width * scale + 0.5)))
        return sizes

    def views(self, image: Tensor) -> list[tuple[list[View], list[Tensor]]]:
        """Return for each scale its views and their images."""
        image_size = (image.shape[-2], image.shape[-1])
        scales = []
        for size in self.view_sizes(*image_size):
            scaled = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
            pictures = [scaled, scaled.flip(-1)] if self.config.mirror else [scaled]
            scales.append(([View(image_size, size, bool(i)) for i in range(len(pictures))], pictures))
        return scales

    def detect(self, image: Tensor) -> tuple[list[_Scale], Detections]:
        """Look at every view; return their features and the union of their detections in the frame of the image."""
        scales, found = [], []
        for views, pictures in self.views(image):
            features = self.network.extract(pictures)
            scale = _Scale(views, features, features.region_levels)
            scales.append(scale)
            for view, detections in zip(views, self.network.detect(features, scale.levels), strict=True):
                found.append(detections._replace(boxes=view.boxes_to_image(detections.boxes)))
        boxes, scores, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
        return scales, Detections(boxes, scores, classes)

    def unite(self, union: Detections, image_size: tuple[int, int]) -> Detections:
        """Suppress what several views found alike and keep the confident rest."""
        columns = self.network.config.num_things + 1
        probabilities = union.scores.new_zeros((len(union.scores), columns))
        probabilities[torch.arange(len(union.scores), device=union.scores.device), union.classes] = (
            union.scores
        )
        return self.network.roi_heads.select(
            union.boxes, probabilities, image_size, self.config.score_threshold
        )

    def _predict(self, image: Tensor) -> PanopticPrediction:
        image_size = (image.shape[-2], image.shape[-1])
        scales, union = self.detect(image)
        detections = self.unite(union, image_size)
        probabilities = self._mean_semantics(scales, image_size)
        semantic = probabilities.argmax(dim=0)
        masks = self._mean_masks(scales, detections)
        instances = place_instances(detections, masks, image_size, image_size)
        merged = self.network.merge(instances, semantic, self.config.score_threshold)
        return PanopticPrediction(probabilities, semantic, instances, merged)

    def _mean_masks(self, scales: Sequence[_Scale], detections: Detections) -> Tensor:
        """Return the (N, 28, 28) mask probabilities of the united detections, averaged over the views."""
        masks = []
        for scale in scales:
            boxes = [detections._replace(boxes=view.boxes_to_view(detections.boxes)) for view in scale.views]
            found = self.network.mask_probabilities(scale.levels, boxes)
            masks += [view.unmirror(mask) for view, mask in zip(scale.views, found, strict=True)]
        return torch.stack(masks).mean(dim=0)

    def _mean_semantics(self, scales: Sequence[_Scale], image_size: tuple[int, int]) -> Tensor:
        """Return the (S + 1, H, W) class probabilities averaged over the views."""
        total, count = torch.zeros((), device=self.network.pixel_mean.device), 0
        for scale in scales:
            logits = SemanticHead.upsample(self.network.sem_seg_head(scale.features.pyramid))
            for view, view_logits in zip(scale.views, logits, strict=True):
                # Padding goes first: mirrored along, it would shift the map (as the original does for sizes that
                # are no multiple of 32).
                visible = view.unmirror(view_logits[:, : view.size[0], : view.size[1]])
                full = F.interpolate(visible[None], size=image_size, mode="bilinear", align_corners=False)[0]
                total, count = total + full.softmax(dim=0), count + 1
        return total / count
