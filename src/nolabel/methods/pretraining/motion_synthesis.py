"""Pictures set in motion: a picture and pieces of others are moved like planes, so that their flow is known exactly.

Photometric losses only pull flow over a few pixels; a network with random weights learns to match much faster from pairs
that are made from single pictures of the same footage. Nothing but the footage is used: no labels, no other data. The
idea is that of FlyingChairs (Dosovitskiy et al., ICCV 2015: textured layers under random motions) with own pictures as
textures; networks that learn from warped single images: Truong et al., GLU-Net, CVPR 2020, section 3.4; Aleotti et al.,
"Learning Optical Flow from Still Images", CVPR 2021; for stereo Watson et al., "Learning Stereo from Single Images",
ECCV 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.geometry import move_points, pixel_grid, sample

__all__ = ["MovedPictures", "move_pictures"]

HARMONICS = 3  # of the outlines of pieces
ZOOM, TURN, SHEAR, TILT = 0.12, 0.06, 0.08, 0.12  # standard deviations, relative to the picture's sides
STILL = 0.15  # share of the pieces that move with the background


@dataclass(frozen=True)
class MovedPictures:
    """Pairs of pictures with their exact flow.

    Attributes:
        images: (2 N, 3, h, w) RGB in [0, 1]: all first ones, then all second ones.
        flow: (2 N, 2, h, w) pixels: from first to second, then back.
    """

    images: Tensor
    flow: Tensor


def move_pictures(
    pictures: Tensor,
    corner: Tensor,
    size: tuple[int, int],
    *,
    pieces: int,
    largest: float,
    sideways: float,
    generator: torch.Generator,
) -> MovedPictures:
    """Cut each picture out twice, before and after a motion of its background and of pieces of the other pictures.

    Args:
        pictures: (N, 3, H, W) RGB in [0, 1].
        corner: (N, 2) column and row of the cut in the picture, pixels.
        size: (h, w) of the cut.
        pieces: how many lie on each background.
        largest: longest shift, pixels; most are much shorter.
        sideways: share of the pairs that move like two views of a stereo camera: along the rows.
        generator: on the CPU.
    """
    count = len(pictures)
    device, grid = pictures.device, pixel_grid(*size, device=pictures.device)
    along_rows = torch.rand(count, generator=generator) < sideways
    background = draw_motions(count, size, largest, along_rows, generator)
    place = grid + corner.to(grid)[:, :, None, None]
    scene = _Scene(grid, count)
    matrix, inverse = background.to(device), torch.linalg.inv(background).to(device)
    offset = place - grid
    scene.add(pictures, offset, matrix, inverse, None)
    for number in range(pieces):
        own = draw_motions(count, size, largest, along_rows, generator)
        still = torch.rand(count, generator=generator) < STILL
        motion = torch.where(still[:, None, None], background, own @ background)
        outline = _Outline.draw(count, size, generator, device)
        textures = pictures.roll(1 + number % max(1, count - 1), dims=0) if count > 1 else pictures.flip(-1)
        scene.add(textures, offset, motion.to(device), torch.linalg.inv(motion).to(device), outline)
    return MovedPictures(torch.cat([scene.first, scene.second]), torch.cat([scene.there, scene.back]))


def draw_motions(
    count: int, size: tuple[int, int], largest: float, along_rows: Tensor, generator: torch.Generator
) -> Tensor:
    """Draw homographies (N, 3, 3) of pixels: shift, zoom, turn, shear and tilt about the middle of the picture.

    Args:
        count: how many.
        size: (h, w) of the picture.
        largest: longest shift, pixels.
        along_rows: (N,) bool: rows stay rows, as between the views of a stereo camera.
        generator: on the CPU.
    """
    height, width = size
    length = largest * torch.rand(count, generator=generator) ** 2
    angle = 2 * math.pi * torch.rand(count, generator=generator)
    zoom, turn, shear, tilt_u, tilt_v = (
        torch.randn(5, count, generator=generator)
        * torch.tensor([ZOOM, TURN, SHEAR, TILT, TILT]).unsqueeze(1)
        * (length / largest).clamp(0.02)
    )
    one, zero = torch.ones(count), torch.zeros(count)
    free = [
        [1 + zoom, -turn + shear, length * angle.cos()],
        [turn, 1 + zoom, length * angle.sin() / 2],
        [tilt_u / width, tilt_v / height, one],
    ]
    rows = [[1 + zoom / 2, 2 * shear, length * angle.cos().sign()], [zero, one, zero], [zero, zero, one]]
    matrix = torch.where(along_rows[:, None, None], _stacked(rows), _stacked(free))
    to_middle = torch.tensor([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    return torch.linalg.inv(to_middle) @ matrix @ to_middle


def _stacked(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


@dataclass(frozen=True)
class _Outline:
    """Star-shaped regions: radius over angle as a short Fourier series; all (N, 1, 1), ``waves`` (N, 2, K, 1, 1)."""

    column: Tensor
    row: Tensor
    radius: Tensor
    flatness: Tensor
    waves: Tensor

    @classmethod
    def draw(
        cls, count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device
    ) -> _Outline:
        place = torch.rand(4, count, 1, 1, generator=generator)
        waves = torch.randn(count, 2, HARMONICS, 1, 1, generator=generator)
        waves = waves * 0.35 / torch.arange(1, HARMONICS + 1)[:, None, None]
        radius = min(size) * (0.06 + 0.3 * place[2] ** 2)
        values = (place[0] * size[1], place[1] * size[0], radius, 0.5 + place[3], waves)
        return cls(*(value.to(device) for value in values))

    def holds(self, points: Tensor) -> Tensor:
        """Tell which of the points (N, 2, h, w) lie inside: (N, 1, h, w)."""
        u, v = points[:, 0] - self.column, (points[:, 1] - self.row) * self.flatness
        angle = torch.atan2(v, u)[:, None] * torch.arange(1, HARMONICS + 1, device=u.device)[:, None, None]
        series = (self.waves[:, 0] * angle.cos() + self.waves[:, 1] * angle.sin()).sum(dim=1)
        reach = self.radius * series.clamp(-1, 1).exp()
        return (u.square() + v.square() < reach.square())[:, None]


class _Scene:
    """Two images under construction, layer over layer, and the flow between them."""

    def __init__(self, grid: Tensor, count: int) -> None:
        self.grid = grid.expand(count, -1, -1, -1)
        self.first = self.second = self.there = self.back = torch.empty(0)

    def add(
        self, textures: Tensor, offset: Tensor, matrix: Tensor, inverse: Tensor, outline: _Outline | None
    ) -> None:
        """Lay a moving layer over all others; without an outline it is the background."""
        grid = self.grid
        source = move_points(inverse, grid)  # where each pixel of the second image was in the first
        first, _ = sample(textures, grid + offset, padding_mode="border")
        second, _ = sample(textures, source + offset, padding_mode="border")
        there, back = move_points(matrix, grid) - grid, source - grid
        if outline is None:
            self.first, self.second, self.there, self.back = first, second, there, back
            return
        before, after = outline.holds(grid), outline.holds(source)
        self.first = torch.where(before, first, self.first)
        self.second = torch.where(after, second, self.second)
        self.there = torch.where(before, there, self.there)
        self.back = torch.where(after, back, self.back)
