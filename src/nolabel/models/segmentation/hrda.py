"""HRDA: one network looks at the whole image at half its size, and at windows of it at full size.

Source: HRDA (Hoyer et al., ECCV 2022), sections 3.2 - 3.4; UDASS image specification, 2.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nolabel.errors import ConfigError
from nolabel.models.segmentation.boxes import Box, crop_box
from nolabel.models.segmentation.contract import enlarge
from nolabel.models.segmentation.heads import DAFormerHead, DeepLabV2Head
from nolabel.models.segmentation.normalise import normalise_imagenet
from nolabel.models.segmentation.outputs import FeatureSegmentor, TrainingOutputs
from nolabel.models.segmentation.sliding import SlidingWindow, sliding_logits

__all__ = ["HRDA", "HRDAConfig", "HRDAMaps"]

Head = DAFormerHead | DeepLabV2Head


@dataclass(frozen=True)
class HRDAConfig:
    """How HRDA looks; none of it changes the weights, but ``fixed_attention`` leaves out those of the attention.

    Attributes:
        detail_size: pixels along each side of a detail window.
        overlapping: whether detail windows overlap by half when they slide; else they touch.
        context_scale: size at which the whole image is looked at, as a part of its own size.
        box_unit: the edges of detail windows in training are multiples of so many pixels.
        fixed_attention: this share of detail everywhere, instead of a learned one: 0 is context only, 1 detail only.
        blurred_details: detail windows show the image scaled down and up again (an ablation).
        details_per_pass: detail windows that go through the network together in evaluation, which bounds the memory.
            Training takes all at once: its batch statistics would depend on it.
        window: size of the window that slides over larger images in :meth:`HRDA.full_size_logits`, in evaluation, and
            its step; None: images of every size are looked at as a whole.
    """

    detail_size: int = 512
    overlapping: bool = True
    context_scale: float = 0.5
    box_unit: int = 8
    fixed_attention: float | None = None
    blurred_details: bool = False
    details_per_pass: int = 8
    window: SlidingWindow | None = None


class HRDAMaps(NamedTuple):
    """What HRDA's answer for an image is made of, in float32.

    context: (B, C, h, w) logits of the image at ``context_scale``. attention: (B, C or 1, h, w), 0 .. 1, the part of the
    detail in the answer. detail: (B, C, h / context_scale, ...) mean logits of the detail windows over each cell.
    """

    context: Tensor
    attention: Tensor
    detail: Tensor


class HRDA(FeatureSegmentor):
    """Semantic segmentation at two resolutions.

    Args:
        backbone: maps normalised images to four maps, finest first.
        head: maps these to logits, for both resolutions.
        attention: a head that says, from the maps of the context, where detail is to be trusted, for each class or
            once for all; None if ``config.fixed_attention`` says so.
        config: how it looks.

    Raises:
        ConfigError: the detail window is no multiple of the context's cells, or attention is both learned and fixed.
    """

    def __init__(
        self, backbone: nn.Module, head: Head, attention: Head | None, config: HRDAConfig | None = None
    ) -> None:
        super().__init__()
        self.config = config = config or HRDAConfig()
        self.backbone, self.head, self.scale_attention = backbone, head, attention
        self.num_logits, self.stride = head.num_logits, head.stride
        self.context_stride = round(head.stride / config.context_scale)
        if (attention is None) == (config.fixed_attention is None):
            raise ConfigError("the attention of HRDA is either learned or fixed")
        step = config.detail_size // (2 if config.overlapping else 1)
        if config.detail_size % self.context_stride or step % self.stride:
            raise ConfigError(
                f"detail windows of {config.detail_size} pixels do not fit cells of {self.context_stride} pixels",
                hint=f"take a multiple of {2 * self.context_stride}",
            )
        self._detail_window = SlidingWindow((config.detail_size,) * 2, (step,) * 2)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) in [0, 1] to the maps of the backbone for the context, finest first."""
        return self._context_features(normalise_imagenet(images))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, ceil(H / stride), ceil(W / stride)).

        Detail windows slide over the images, in training too. Images are filled up at the right and bottom, with the
        mean colour, to whole cells of the context.
        """
        rows, columns = (-(-length // self.stride) for length in images.shape[-2:])
        return self.fuse(self.maps(images))[..., :rows, :columns]

    def full_size_logits(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) in [0, 1] to logits (B, num_logits, H, W).

        In evaluation, images larger than ``config.window`` are looked at through this window, as the published scores
        were measured.
        """
        window = self.config.window
        if window is None or self.training or not window.slides_over((images.shape[-2], images.shape[-1])):
            return super().full_size_logits(images)
        return sliding_logits(self, images, window)

    def maps(self, images: Tensor) -> HRDAMaps:
        """Look at images (B, 3, H, W) in [0, 1]; the maps cover them filled up to whole cells of the context."""
        filled = self._filled(normalise_imagenet(images))
        # Context before detail: the order in which batch statistics are gathered.
        context, attention = self._context(self._context_features(filled))
        boxes = self._detail_window.boxes((filled.shape[-2], filled.shape[-1]))
        logits = dict(zip(boxes, self._detail_logits(filled, boxes), strict=True))
        return HRDAMaps(context, attention, self._merged(logits, filled.shape[-2:]))

    def fuse(self, maps: HRDAMaps) -> Tensor:
        """Join the maps to the answer (B, num_logits, h, w), a cell for ``stride`` pixels."""
        return self._weighted(maps)[1]

    def attention_map(self, images: Tensor) -> Tensor:
        """Return (B, 1, h, w): the part that detail has in the answer, the mean over the classes by probability."""
        maps = self.maps(images)
        share = self._enlarged(maps.attention)
        return (share * self.fuse(maps).softmax(1)).sum(1, keepdim=True)

    def window_logits(self, images: Tensor, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """Give the full-size logits (B, num_logits, h, w) of windows of one size, each as if it were an image.

        Detail windows at the same place of the image in several of the windows are computed once: of the 27 in the
        three windows of an image of 1024 x 2048, 21 remain. In evaluation that is exact whatever the windows are; they
        share as much as their distances are multiples of the distance of detail windows.

        Args:
            images: (B, 3, H, W) in [0, 1].
            boxes: the windows.
        """
        height, width = boxes[0].size
        normalised = normalise_imagenet(images)
        rows, columns = -height % self.context_stride, -width % self.context_stride
        normalised = F.pad(normalised, (0, columns, 0, rows))
        windows = [Box(b.top, b.bottom + rows, b.left, b.right + columns) for b in boxes]
        size = windows[0].size
        parts = {w: [b.moved(w.top, w.left) for b in self._detail_window.boxes(size)] for w in windows}
        wanted = list(dict.fromkeys(box for part in parts.values() for box in part))
        contexts = [self._context(self._context_features(window.of(normalised))) for window in windows]
        logits = dict(zip(wanted, self._detail_logits(normalised, wanted), strict=True))
        for (window, part), (context, attention) in zip(parts.items(), contexts, strict=True):
            inside = {box.moved(-window.top, -window.left): logits[box] for box in part}
            fused = self.fuse(HRDAMaps(context, attention, self._merged(inside, size)))
            yield enlarge(fused, self.stride, (height, width))

    def draw_box(self, size: tuple[int, int], generator: torch.Generator | None = None) -> Box:
        """Draw the detail window of a training step, one for the whole batch, on images of ``size`` (H, W)."""
        crop = (self.config.detail_size, self.config.detail_size)
        return crop_box(size, crop, unit=self.config.box_unit, generator=generator)

    def training_outputs(self, images: Tensor, box: Box | None = None) -> TrainingOutputs:
        """Look at the whole images, and at one detail window of them.

        Args:
            images: (B, 3, H, W) in [0, 1]; H and W multiples of ``stride / context_scale``.
            box: the detail window, in pixels, as :meth:`draw_box` draws it.

        Returns:
            ``fused`` logits at ``stride``, outside the window those of the context; ``detail`` at ``stride``;
            ``context`` at ``context_stride``, times the share that the attention leaves to it.

        Raises:
            ConfigError: there is no box, or the images are no multiple of the context's cells.
        """
        if box is None or any(length % self.context_stride for length in images.shape[-2:]):
            raise ConfigError(
                f"HRDA trains on a detail window of images whose sides are multiples of {self.context_stride}, "
                f"not on {box} of {tuple(images.shape[-2:])}",
                hint="draw the window with draw_box, and crop the images to such a size",
            )
        normalised = normalise_imagenet(images)
        features = self._context_features(normalised)
        detail_features = cast("list[Tensor]", self.backbone(box.of(self._detail_view(normalised))))
        context, attention = self._context(features)
        detail = cast(Tensor, self.head(detail_features)).float()
        inside = torch.zeros_like(attention)
        box.scaled_down(self.context_stride).of(inside).fill_(1)
        canvas = detail.new_zeros((*detail.shape[:2], *(n // self.stride for n in images.shape[-2:])))
        box.scaled_down(self.stride).of(canvas).copy_(detail)
        weighted, fused = self._weighted(HRDAMaps(context, attention * inside, canvas))
        logits = {"fused": fused, "detail": detail, "context": weighted}
        return TrainingOutputs(logits, features, detail_features, box)

    def _filled(self, normalised: Tensor) -> Tensor:
        height, width = normalised.shape[-2:]
        return F.pad(normalised, (0, -width % self.context_stride, 0, -height % self.context_stride))

    def _context_features(self, normalised: Tensor) -> list[Tensor]:
        return cast("list[Tensor]", self.backbone(_resized(normalised, self.config.context_scale)))

    def _context(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits and attention of the context."""
        logits = cast(Tensor, self.head(features)).float()
        if self.scale_attention is None:
            return logits, torch.full_like(logits, cast(float, self.config.fixed_attention))
        return logits, cast(Tensor, self.scale_attention(features)).float().sigmoid()

    def _detail_view(self, normalised: Tensor) -> Tensor:
        if not self.config.blurred_details:
            return normalised
        scale = self.config.context_scale
        return _resized(_resized(normalised, scale), 1 / scale)

    def _detail_logits(self, normalised: Tensor, boxes: Sequence[Box]) -> Iterator[Tensor]:
        """Give the logits (B, num_logits, h, w) of every detail window."""
        view, batch = self._detail_view(normalised), len(normalised)
        count = len(boxes) if self.training else max(self.config.details_per_pass // batch, 1)
        for start in range(0, len(boxes), count):
            crops = torch.cat([box.of(view) for box in boxes[start : start + count]])
            yield from cast(Tensor, self.head(self.backbone(crops))).float().split(batch)

    def _merged(self, logits: dict[Box, Tensor], size: Sequence[int]) -> Tensor:
        """Average the logits of windows over an image of ``size``."""
        some = next(iter(logits.values()))
        total = some.new_zeros((*some.shape[:2], *(length // self.stride for length in size)))
        count = some.new_zeros(total.shape[-2:])
        for box, part in logits.items():
            cells = box.scaled_down(self.stride)
            cells.of(total).add_(part)
            cells.of(count).add_(1)
        return total / count

    def _weighted(self, maps: HRDAMaps) -> tuple[Tensor, Tensor]:
        """Return the context's logits with their weight, and the answer."""
        weighted = (1 - maps.attention) * maps.context
        return weighted, self._enlarged(maps.attention) * maps.detail + self._enlarged(weighted)

    def _enlarged(self, maps: Tensor) -> Tensor:
        """Bring maps of the context to the cells of the answer."""
        return _resized(maps, 1 / self.config.context_scale)


def _resized(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
