"""The field behind one image: what lies at any point of its frustum (SceneDINO specification, 4).

:class:`SceneField` reads as the paper does. :class:`FoldedField` is the same function for less: the first layer's matrix has
met the map already (looking up and multiplying commute, both are linear), pixels lie in memory as rows, and the last layer
is left to those who need its result (see :meth:`FoldedField.hidden`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nolabel.geometry import invert, normalised_intrinsics, project_normalised, transform
from nolabel.models.rendering.contract import FieldSample, Views
from nolabel.models.scenedino.point_decoder import PointDecoder
from nolabel.models.scenedino.positional_code import PositionalCode

__all__ = ["Cameras", "FoldedField", "SceneField"]

FARTHEST = 2.0  # image positions are clamped to +-FARTHEST before anything is looked up there


@dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras as the field uses them.

    Attributes:
        matrices: (..., 3, 3) of the image from -1 to 1.
        world_to_camera: (..., 4, 4).
    """

    matrices: Tensor
    world_to_camera: Tensor

    @classmethod
    def of(cls, views: Views) -> Cameras:
        """The cameras (N, V, ...) of views."""
        height, width = views.images.shape[-2:]
        return cls(normalised_intrinsics(views.intrinsics, height, width), invert(views.poses))

    def __getitem__(self, index: int | slice | tuple[slice | int, ...]) -> Cameras:
        """Index the leading axes."""
        return Cameras(self.matrices[index], self.world_to_camera[index])

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where points (..., P, 3) are seen: positions (..., P, 2) clamped to +-2, depth (..., P), outside (..., P)."""
        image, depth, outside = project_normalised(points, self.matrices, self.world_to_camera)
        return image.clamp(-FARTHEST, FARTHEST), depth, outside


class SceneField:
    """The field of N images, one each, read plainly.

    Args:
        features: (N, C, h, w) the decoded map.
        cameras: (N, 1, ...) of the images.
        code: encodes where a point lies.
        decoder: makes density and compact features.
        colours: views that colours are looked up in.
    """

    def __init__(
        self,
        features: Tensor,
        cameras: Cameras,
        code: PositionalCode,
        decoder: PointDecoder,
        colours: Views | None = None,
    ) -> None:
        self.map, self.cameras = features, cameras
        self.code, self.decoder, self.colours = code, decoder, colours

    def query(self, points: Tensor, *, features: bool = True, colour: bool = False) -> FieldSample:
        """Look at points (N, P, 3) of the world, metres; see :class:`nolabel.models.rendering.Field`."""
        looked_up, code, outside = self.inputs(points)
        density, compact = self.decoder(looked_up, code)
        seen = self.look_up_colour(points, outside) if colour else (None, None)
        return FieldSample(density, compact if features else None, *seen)

    def inputs(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the decoder gets at points (N, P, 3).

        Returns:
            Image features (N, P, C), positional code (N, P, K), and whether the point is outside of the image (N, P).
        """
        image, code, outside = self._locate(points)
        found = F.grid_sample(
            self.map, image[:, None].to(self.map.dtype), "bilinear", "border", align_corners=False
        )
        return found[:, :, 0].transpose(1, 2), code, outside

    def look_up_colour(self, points: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (N, P, V, 3) of points in the colour views, and bool (N, P, V): not seen there, or ``outside`` (N, P)."""
        if self.colours is None:
            raise ValueError("this field was given no views to look colours up in")
        image, _, beyond = Cameras.of(self.colours).project(points[:, None])
        scenes, views = self.colours.images.shape[:2]
        found = F.grid_sample(
            self.colours.images.flatten(0, 1),
            image.flatten(0, 1)[:, None].to(self.colours.images.dtype),
            "bilinear",
            "border",
            align_corners=False,
        )
        colour = found[:, :, 0].reshape(scenes, views, 3, -1).permute(0, 3, 1, 2)
        return colour, (beyond | outside[:, None]).transpose(1, 2)

    def _locate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image position (N, P, 2), code (N, P, K) and outside (N, P) of points; in single precision."""
        with torch.autocast(points.device.type, enabled=False):
            points = points if points.dtype == torch.float64 else points.float()
            image, depth, outside = self.cameras[:, 0].project(points)
            distance = depth
            if self.code.depth == "distance":
                distance = transform(self.cameras.world_to_camera[:, 0], points).norm(dim=-1)
            return image, self.code(image, depth, distance), outside


class FoldedField(SceneField):
    """The same field from a map that the first layer's matrix has met: ``decoder.map_matrix`` times features.

    Args: as :class:`SceneField`; ``features`` (N, hidden, h, w).
    """

    def __init__(
        self,
        features: Tensor,
        cameras: Cameras,
        code: PositionalCode,
        decoder: PointDecoder,
        colours: Views | None = None,
    ) -> None:
        pixels = features.permute(0, 2, 3, 1).contiguous()
        super().__init__(pixels.permute(0, 3, 1, 2), cameras, code, decoder, colours)
        self._rows = pixels.reshape(-1, pixels.shape[-1])

    def query(self, points: Tensor, *, features: bool = True, colour: bool = False) -> FieldSample:
        """Look at points (N, P, 3) of the world; what is not wanted is not computed."""
        density, hidden, outside = self.hidden(points)
        compact = self.decoder.compact_features(hidden) if features else None
        seen = self.look_up_colour(points, outside) if colour else (None, None)
        return FieldSample(density, compact, *seen)

    def hidden(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stop before the features' layer, which is linear: it can be applied once to a weighted sum of many points.

        Args:
            points: (N, P, 3).

        Returns:
            density (N, P); hidden vectors (N, P, hidden) for :meth:`features_of`; outside of the image (N, P).
        """
        image, code, outside = self._locate(points)
        hidden = self.decoder.add_code(self._look_up(image), code)
        return self.decoder.density(hidden), hidden, outside

    def features_of(self, hidden: Tensor, mass: Tensor | None = None) -> Tensor:
        """Compact features (..., C) of hidden vectors (..., hidden), or of sums of them; their weights add to ``mass``."""
        return self.decoder.compact_features(hidden, mass)

    def scene(self, number: int) -> FoldedField:
        """The field of one of the images, N = 1."""
        one, colours = slice(number, number + 1), None
        if self.colours is not None:
            views = self.colours
            colours = Views(views.images[one], views.intrinsics[one], views.poses[one])
        return FoldedField(self.map[one], self.cameras[one], self.code, self.decoder, colours)

    def _look_up(self, image: Tensor) -> Tensor:
        """Bilinear look-up with a border, (N, P, hidden): one weighted sum of four rows of memory for each point."""
        scenes, _, height, width = self.map.shape
        x = ((image[..., 0] + 1) * width / 2 - 0.5).clamp(0, width - 1)
        y = ((image[..., 1] + 1) * height / 2 - 0.5).clamp(0, height - 1)
        left, top = x.floor().clamp(max=max(width - 2, 0)), y.floor().clamp(max=max(height - 2, 0))
        across, down = x - left, y - top
        right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
        scene = torch.arange(scenes, device=image.device)[:, None] * (height * width)
        rows = [scene + (v * width + u).long() for v in (top, bottom) for u in (left, right)]
        weights = [v * u for v in (1 - down, down) for u in (1 - across, across)]
        found = F.embedding_bag(
            torch.stack(rows, dim=-1).flatten(0, 1),
            self._rows,
            mode="sum",
            per_sample_weights=torch.stack(weights, dim=-1).flatten(0, 1).to(self._rows.dtype),
        )
        return found.unflatten(0, image.shape[:2])
