"""Augmentations of the panoptic network's training (CUPS, section 3.3 and supplement).

Every function takes the random numbers it needs from a :class:`torch.Generator`, or as explicit values, so a
step can be replayed. Targets keep their objects as id maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from nolabel.methods.cups.targets import boxes_of, keep_objects
from nolabel.models.panoptic import PanopticTarget

__all__ = [
    "Paste",
    "copy_paste",
    "crop",
    "draw_pastes",
    "flip_and_crop",
    "flip_scale_and_crop",
    "photometric",
    "random_window",
    "resize",
]

MIN_PIXELS = (
    5  # objects that a crop or a resize leaves with fewer pixels are dropped (original: "more than 4")
)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """Return one number of U(low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def resize(image: Tensor, target: PanopticTarget, size: tuple[int, int]) -> tuple[Tensor, PanopticTarget]:
    """Resize an image (3, H, W) bilinearly and its labels by nearest neighbour to ``size`` (height, width)."""
    image = F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]
    maps = torch.stack([target.instances, target.semantic])[None].float()
    instances, semantic = F.interpolate(maps, size=size, mode="nearest")[0].long()
    return image, keep_objects(target, instances, semantic, min_pixels=MIN_PIXELS)


def crop(
    image: Tensor, target: PanopticTarget, top: int, left: int, size: tuple[int, int]
) -> tuple[Tensor, PanopticTarget]:
    """Cut the window of ``size`` (height, width) whose corner is at (``top``, ``left``) out of image and labels."""
    rows, columns = slice(top, top + size[0]), slice(left, left + size[1])
    kept = keep_objects(
        target, target.instances[rows, columns], target.semantic[rows, columns], min_pixels=MIN_PIXELS
    )
    return image[:, rows, columns], kept


def random_window(
    image: Tensor, target: PanopticTarget, side: float, generator: torch.Generator
) -> tuple[Tensor, PanopticTarget]:
    """Cut a window at a random place out of image and labels; its height and width are ``side`` times theirs."""
    height, width = image.shape[-2:]
    size = max(1, round(height * side)), max(1, round(width * side))
    top = int(uniform(generator, 0, height - size[0] + 1))
    left = int(uniform(generator, 0, width - size[1] + 1))
    return crop(image, target, top, left, size)


def random_flip(
    image: Tensor, target: PanopticTarget, generator: torch.Generator
) -> tuple[Tensor, PanopticTarget]:
    """Mirror image and labels left to right with probability 0.5."""
    if float(torch.rand((), generator=generator)) >= 0.5:
        return image, target
    mirrored = keep_objects(target, target.instances.flip(-1), target.semantic.flip(-1), min_pixels=1)
    return image.flip(-1), mirrored


def flip_and_crop(
    image: Tensor, target: PanopticTarget, generator: torch.Generator, area: tuple[float, float] = (0.7, 1.0)
) -> tuple[Tensor, PanopticTarget]:
    """Flip with probability 0.5, then cut a window of the image's own shape and enlarge it to the full size.

    Args:
        image: (3, H, W) in [0, 1].
        target: its labels.
        generator: source of the four random numbers.
        area: range of the window's share of the image area.
    """
    image, target = random_flip(image, target, generator)
    height, width = image.shape[-2:]
    image, target = random_window(image, target, uniform(generator, *area) ** 0.5, generator)
    return resize(image, target, (height, width))


def flip_scale_and_crop(
    image: Tensor,
    target: PanopticTarget,
    generator: torch.Generator,
    scales: tuple[float, float],
    size: tuple[int, int] | None = None,
) -> tuple[Tensor, PanopticTarget]:
    """Flip with probability 0.5, change the size, and cut a random window (label-efficient fine-tuning).

    Args:
        image: (3, H, W) in [0, 1].
        target: its labels.
        generator: source of the random numbers.
        scales: range of the size factor; its logarithm is drawn evenly, so that halving and doubling are as likely.
        size: (height, width) of the window in pixels; where the scaled image is smaller, it stays whole. The size of
            the image by default.
    """
    image, target = random_flip(image, target, generator)
    height, width = image.shape[-2:]
    scale = math.exp(uniform(generator, math.log(scales[0]), math.log(scales[1])))
    scaled = max(1, round(height * scale)), max(1, round(width * scale))
    window = [min(side, limit) for side, limit in zip(scaled, size or (height, width), strict=True)]
    # The same window before resizing: no pixel is computed that the crop would throw away.
    source = [max(1, round(side / scale)) for side in window]
    top = int(uniform(generator, 0, height - source[0] + 1))
    left = int(uniform(generator, 0, width - source[1] + 1))
    image, target = crop(image, target, top, left, (source[0], source[1]))
    return resize(image, target, (window[0], window[1]))


def photometric(image: Tensor, generator: torch.Generator, blur: bool = True) -> Tensor:
    """Blur, jitter the colours and turn grey at random (section 3.3).

    Args:
        image: (3, H, W) in [0, 1].
        generator: source of the random numbers.
        blur: apply the Gaussian blur, 7x7 with sigma of U(0.1, 2.0).

    Returns:
        (3, H, W) in [0, 1]: brightness, contrast and saturation changed by up to 40 % and hue by up to 0.1
        turns with probability 0.5; grey with probability 0.2.
    """
    if blur:
        image = TF.gaussian_blur(image, [7, 7], [uniform(generator, 0.1, 2.0)])
    if float(torch.rand((), generator=generator)) < 0.5:
        strengths = [uniform(generator, 0.6, 1.4) for _ in range(3)]
        hue = uniform(generator, -0.1, 0.1)
        changes = [
            lambda x: TF.adjust_brightness(x, strengths[0]),
            lambda x: TF.adjust_contrast(x, strengths[1]),
            lambda x: TF.adjust_saturation(x, strengths[2]),
            lambda x: TF.adjust_hue(x, hue),
        ]
        for change in torch.randperm(4, generator=generator).tolist():
            image = changes[change](image)
    if float(torch.rand((), generator=generator)) < 0.2:
        image = TF.rgb_to_grayscale(image, num_output_channels=3)
    return image.clamp(0, 1)


@dataclass(frozen=True)
class Paste:
    """One object to paste: which one, how large, mirrored or not, and where.

    Attributes:
        source: index among the objects that are large enough, counted over the whole source batch.
        scale: size factor.
        mirrored: flip left-right.
        x, y: position of the left upper corner as a fraction of the room that is left, in [0, 1).
    """

    source: int
    scale: float
    mirrored: bool
    x: float
    y: float


def draw_pastes(
    generator: torch.Generator, objects: int, most: int = 8, scales: tuple[float, float] = (0.25, 1.5)
) -> list[Paste]:
    """Draw 1 to ``most`` pastes out of ``objects`` available ones."""
    count = int(torch.randint(1, most + 1, (), generator=generator)) if objects else 0
    return [
        Paste(
            source=int(torch.randint(0, objects, (), generator=generator)),
            scale=uniform(generator, *scales),
            mirrored=float(torch.rand((), generator=generator)) > 0.5,
            x=float(torch.rand((), generator=generator)),
            y=float(torch.rand((), generator=generator)),
        )
        for _ in range(count)
    ]


class ObjectCutouts:
    """The objects of a batch that are large enough to be pasted elsewhere.

    Args:
        images: the images (3, H, W) of the batch.
        targets: their labels.
        min_side: a box must be wider and higher than this, in pixels.
        reference_compat: boxes with inclusive maxima (so a cutout lacks the object's last row and column), and
            classes looked up without skipping the small objects, as the original does.
    """

    def __init__(
        self,
        images: Sequence[Tensor],
        targets: Sequence[PanopticTarget],
        *,
        min_side: int = 32,
        reference_compat: bool = False,
    ) -> None:
        self._images, self._targets = images, targets
        self._where: list[tuple[int, int]] = []
        for index, target in enumerate(targets):
            sides = target.boxes[:, 2:] - target.boxes[:, :2]
            large = ((sides > min_side).all(dim=1)).nonzero().flatten().tolist()
            self._where += [(index, number) for number in large]
        if reference_compat:
            self._classes = torch.cat([target.classes for target in targets])
        else:
            chosen = [targets[index].classes[number] for index, number in self._where]
            self._classes = torch.stack(chosen) if chosen else torch.zeros(0, dtype=torch.long)

    def __len__(self) -> int:
        return len(self._where)

    def cut(self, source: int) -> tuple[Tensor, Tensor, int]:
        """Return the pixels (3, h, w), the mask (h, w) float and the class of object number ``source``."""
        index, number = self._where[source]
        target = self._targets[index]
        x0, y0, x1, y1 = (int(v) for v in target.boxes[number])
        mask = (target.instances[y0:y1, x0:x1] == number + 1).float()
        return self._images[index][:, y0:y1, x0:x1], mask, int(self._classes[source])


def copy_paste(
    image: Tensor,
    target: PanopticTarget,
    cutouts: ObjectCutouts,
    pastes: Sequence[Paste],
    *,
    reference_compat: bool = False,
) -> tuple[Tensor, PanopticTarget]:
    """Paste objects into an image (section 3.3; Ghiasi et al. 2021, after CutLER).

    Args:
        image: (3, H, W) in [0, 1]; not changed.
        target: its labels; not changed.
        cutouts: where the objects come from.
        pastes: which, how large and where.
        reference_compat: boxes of objects that a paste covers in part keep their old extent, and the boxes of the
            pasted ones have inclusive maxima.

    Returns:
        The new image and target: old objects first, pasted ones behind, those left without a pixel removed.
    """
    height, width = image.shape[-2:]
    instances, semantic = target.instances.clone(), target.semantic.clone()
    boxes, classes = [target.boxes], target.classes.tolist()
    for paste in pastes:
        pixels, mask, cluster = cutouts.cut(paste.source)
        # The scale factor itself sets the sampling positions, not the rounded size.
        pixels = F.interpolate(pixels[None], scale_factor=paste.scale, mode="bilinear", align_corners=False)[
            0
        ]
        mask = F.interpolate(mask[None, None], scale_factor=paste.scale, mode="nearest")[0, 0]
        if paste.mirrored:
            pixels, mask = pixels.flip(-1), mask.flip(-1)
        pixels, mask = pixels[:, :height, :width], mask[:height, :width]
        left = int(paste.x * (width - mask.shape[1]))
        top = int(paste.y * (height - mask.shape[0]))
        area = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
        image = image.clone()
        image[:, *area] = mask * pixels + (1 - mask) * image[:, *area]
        classes.append(cluster)
        inside = mask > 0
        instances[area] = torch.where(inside, len(classes), instances[area])
        semantic[area] = torch.where(inside, 0, semantic[area])
        if reference_compat:
            own = torch.zeros_like(instances)
            own[area] = inside.long()
            boxes.append(boxes_of(own, 1, reference_compat=True))
    count = len(classes)
    areas = torch.bincount(instances.flatten(), minlength=count + 1)[1:]
    kept = areas > 0
    instances = torch.cat([areas.new_zeros(1), kept.long().cumsum(0) * kept])[instances]
    new_classes = torch.as_tensor(classes, dtype=torch.long, device=image.device)[kept]
    new_boxes = torch.cat(boxes)[kept] if reference_compat else boxes_of(instances, len(new_classes))
    return image, PanopticTarget(boxes=new_boxes, classes=new_classes, instances=instances, semantic=semantic)
