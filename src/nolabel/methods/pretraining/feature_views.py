"""Views of pictures: parts of known places, mirrored or not, with changed colours (DINO, section 3.1 and appendix)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from nolabel.data.photometric import ColourFactors, gaussian_blur, jitter_colours, to_grey
from nolabel.methods.pretraining.feature_settings import ColourConfig, CropConfig
from nolabel.structures import ImageSample

__all__ = ["Part", "ViewBatch", "ViewsOfImages", "common_points", "draw_part", "hide_blocks"]

TRIES = 20
SOLARIZED = 0.5  # values from here on are inverted


class Part(NamedTuple):
    """A rectangle of a picture.

    Attributes:
        top, left, height, width: pixels.
        flip: whether the view of it is mirrored.
    """

    top: int
    left: int
    height: int
    width: int
    flip: bool = False

    def view(self, image: Tensor, size: int) -> Tensor:
        """Cut it out of (3, H, W) at (3, size, size)."""
        rows, columns = slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)
        cut = image[None, :, rows, columns]
        view = F.interpolate(cut, size=(size, size), mode="bilinear", align_corners=False, antialias=True)[0]
        return (view.flip(-1) if self.flip else view).clamp(0, 1)

    def local(self, points: Tensor) -> Tensor:
        """Places of the picture (..., 2) as (x, y), pixels from its corner, in this view: -1 .. 1 between its borders."""
        start = points.new_tensor([self.left, self.top])
        inside = 2 * (points - start) / points.new_tensor([self.width, self.height]) - 1
        return inside * points.new_tensor([-1.0, 1.0]) if self.flip else inside

    def shared(self, other: Part) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of what two parts share; empty where bottom <= top or right <= left."""
        return (
            max(self.top, other.top),
            max(self.left, other.left),
            min(self.top + self.height, other.top + other.height),
            min(self.left + self.width, other.left + other.width),
        )

    def overlap(self, other: Part) -> float:
        """Share of the smaller of two parts that lies in the other."""
        top, left, bottom, right = self.shared(other)
        area = max(0, bottom - top) * max(0, right - left)
        return area / min(self.height * self.width, other.height * other.width)


class ViewBatch(NamedTuple):
    """Views of B pictures; of one picture without the leading axis.

    Attributes:
        student: (B, 2, 3, S, S) global views in [0, 1].
        teacher: (B, 2, 3, S, S) the same parts as the teacher sees them.
        local: (B, L, 3, s, s).
        points: (B, 2, K, 2) places (x, y) that both global views show, in each view: -1 .. 1 between its borders.
    """

    student: Tensor
    teacher: Tensor
    local: Tensor
    points: Tensor


def draw_part(
    size: tuple[int, int], scale: tuple[float, float], aspect: tuple[float, float], flip: float
) -> Part:
    """Draw a part of a picture by torch's global generator, as torchvision's RandomResizedCrop does.

    Args:
        size: (height, width) of the picture.
        scale: smallest and largest share of its area.
        aspect: smallest and largest width over height.
        flip: probability of a mirrored view.
    """
    height, width = size
    for _ in range(TRIES):
        area, ratio, down, along, mirror = torch.rand(5).tolist()
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        ratio = math.exp(math.log(aspect[0]) + (math.log(aspect[1]) - math.log(aspect[0])) * ratio)
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            top, left = int(down * (height - rows + 1)), int(along * (width - columns + 1))
            return Part(top, left, rows, columns, mirror < flip)
    side = min(height, width)  # a picture too long for the shares asked for
    return Part((height - side) // 2, (width - side) // 2, side, side, mirror < flip)


def common_points(first: Part, second: Part, count: int) -> Tensor:
    """Draw places that two parts share: (2, count, 2) as each view sees them, see :class:`ViewBatch`."""
    top, left, bottom, right = first.shared(second)
    corner, extent = torch.tensor([left, top]), torch.tensor([right - left, bottom - top])
    places = corner + extent * torch.rand(count, 2)
    return torch.stack([first.local(places), second.local(places)])


def hide_blocks(view: Tensor, share: float, block: int) -> Tensor:
    """Fill a share of the square blocks of a view (3, S, S) with its mean colour."""
    if share == 0:
        return view
    cells = -(-view.shape[-1] // block)
    hidden = (torch.rand(cells, cells) < share).repeat_interleave(block, 0).repeat_interleave(block, 1)
    hidden = hidden[: view.shape[-2], : view.shape[-1]]
    return torch.where(hidden, view.mean((1, 2), keepdim=True), view)


class ViewsOfImages(Dataset[ViewBatch]):
    """The views of pictures, drawn anew at each reading by torch's global generator.

    Args:
        images: pictures of any size.
        config: which views.
    """

    def __init__(self, images: Dataset[ImageSample], config: CropConfig) -> None:
        self.images, self.config = images, config

    def __len__(self) -> int:
        return len(self.images)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> ViewBatch:
        image, config = self.images[index]["image"].as_subclass(Tensor), self.config
        parts = self._global_parts((image.shape[-2], image.shape[-1]))
        plain = [part.view(image, config.size) for part in parts]
        coloured = [_recoloured(view, config.colour, place) for place, view in enumerate(plain)]
        student = [hide_blocks(view, config.hide, config.hide_block) for view in coloured]
        local = [self._local_view(image) for _ in range(config.local)]
        side = config.local_size
        return ViewBatch(
            torch.stack(student),
            torch.stack(plain if config.teacher_sees == "plain" else coloured),
            torch.stack(local) if local else torch.zeros(0, 3, side, side),
            common_points(*parts, config.points) if config.points else torch.zeros(2, 0, 2),
        )

    def _global_parts(self, size: tuple[int, int]) -> tuple[Part, Part]:
        config = self.config
        first = draw_part(size, config.scale, config.aspect, config.flip)
        for _ in range(TRIES):
            second = draw_part(size, config.scale, config.aspect, config.flip)
            shared = first.overlap(second)
            if shared >= config.overlap and (shared > 0 or not config.points):
                return first, second
        return first, first._replace(flip=second.flip)

    def _local_view(self, image: Tensor) -> Tensor:
        config = self.config
        part = draw_part((image.shape[-2], image.shape[-1]), config.local_scale, config.aspect, config.flip)
        return _recoloured(part.view(image, config.local_size), config.colour, 2)


def _recoloured(view: Tensor, config: ColourConfig, place: int) -> Tensor:
    """Change the colours of a view (3, S, S); place 0 and 1: first and second global view, 2: local."""
    gates, shares = torch.rand(4).tolist(), 2 * torch.rand(4) - 1
    images = view[None]
    if gates[0] < config.jitter:
        strength = torch.tensor([config.brightness, config.contrast, config.saturation, config.hue])
        change = strength * shares
        factors = ColourFactors(1 + change[:1], 1 + change[1:2], 1 + change[2:3], change[3:])
        order = [place for place in torch.randperm(4).tolist() if strength[place] > 0]
        images = jitter_colours(images, factors, order, convention="multiplicative")
    if gates[1] < config.grey:
        images = to_grey(images)
    if gates[2] < config.blur[place]:
        low, high = config.blur_sigma
        images = gaussian_blur(images, low + (high - low) * torch.rand(1))
    if place == 1 and gates[3] < config.solarize:
        images = torch.where(images >= SOLARIZED, 1 - images, images)
    return images[0]
