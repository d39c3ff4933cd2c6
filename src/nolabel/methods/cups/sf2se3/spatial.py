"""Spatial model of an object: it reaches as far as points near its grid cells (spec 5.5).

The closeness of two points is the product of the tails of their distances in x and y, and pixel coordinates are
separable. So the best of the 9x9 cells around a pixel is found by 9 columns first and 9 rows after, at a cost of
9 + 9 instead of 81, and exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nolabel.methods.cups.sf2se3.consensus import TINY, Consensus, gaussian_tail
from nolabel.methods.cups.sf2se3.sampling import nearest_indices
from nolabel.structures import StereoCalibration

RADIUS = 4  # cells on each side of a pixel's own cell
FAR = 1e6  # distance that stands for "no support", in normalised coordinates
ROWS_AT_ONCE = 512


class Axis(NamedTuple):
    """Closeness of positions to the cells around them along one image axis.

    Attributes:
        cells: (L, 9) indices of the cells around each position, clamped to the grid.
        tail: (L, 9) tail of the distance; 0 outside the grid.
        log_density: (L, 9).
    """

    cells: Tensor
    tail: Tensor
    log_density: Tensor


def _log_density(distance: Tensor, sigma: float) -> Tensor:
    return -(distance**2) / (2 * sigma**2) - math.log(sigma) - 0.5 * math.log(2 * math.pi)


def _axis(size: int, cells: int, focal: float, sigma: float, own_cells: bool) -> Axis:
    """Describe the pixels (or, ``own_cells``, the cells) of an axis of ``size`` pixels and ``cells`` cells."""
    cell_pixels = nearest_indices(size, cells)
    if own_cells:
        pixels, home = cell_pixels, torch.arange(cells)
    else:
        pixels, home = torch.arange(size), nearest_indices(cells, size)
    window = home[:, None] + torch.arange(-RADIUS, RADIUS + 1)
    exists = (window >= 0) & (window < cells)
    window = window.clamp(0, cells - 1)
    distance = (pixels[:, None] - cell_pixels[window]).float() / focal
    tail = torch.where(exists, gaussian_tail(distance.abs() / sigma), 0)
    return Axis(window, tail, _log_density(distance, sigma))


class SpatialModel:
    """Closeness between pixels and grid cells of images of one size and calibration.

    Args:
        size: height and width of the image in pixels.
        grid: height and width of the grid.
        camera: calibration in pixels.
        sigma: standard deviation of the closeness in normalised coordinates.
        device: where to compute.
    """

    def __init__(
        self,
        size: tuple[int, int],
        grid: tuple[int, int],
        camera: StereoCalibration,
        sigma: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.grid = grid
        self.unsupported = 2 * (-(FAR**2) / (2 * sigma**2) - math.log(sigma) - 0.5 * math.log(2 * math.pi))

        def axes(own_cells: bool) -> tuple[Axis, Axis]:
            vertical = _axis(size[0], grid[0], camera.fy, sigma, own_cells)
            horizontal = _axis(size[1], grid[1], camera.fx, sigma, own_cells)
            return Axis(*(x.to(device) for x in vertical)), Axis(*(x.to(device) for x in horizontal))

        self._of_pixels = axes(own_cells=False)
        self._of_cells = axes(own_cells=True)

    def on_grid(self, cells: Tensor) -> Consensus:
        """Return the support that objects (K, h, w) bool give to every grid cell: (K, h*w) each."""
        height, width = self.grid
        index = torch.arange(height * width, device=cells.device)
        return self._support(cells, *self._of_cells, rows=index // width, columns=index % width)

    def at_pixels(self, cells: Tensor, rows: Tensor, columns: Tensor) -> Consensus:
        """Return the support that objects (K, h, w) bool give to N pixels of the image: (K, N) each."""
        return self._support(cells, *self._of_pixels, rows=rows, columns=columns)

    def reach(self, cells: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the indices among N pixels that one object (h, w) bool could support at all."""
        vertical, horizontal = self._of_pixels
        row_near = cells.any(dim=1)[vertical.cells].any(dim=1)
        column_near = cells.any(dim=0)[horizontal.cells].any(dim=1)
        return (row_near[rows] & column_near[columns]).nonzero()[:, 0]

    def _support(
        self, cells: Tensor, vertical: Axis, horizontal: Axis, *, rows: Tensor, columns: Tensor
    ) -> Consensus:
        # For every grid row and image column: the best assigned cell of that row.
        member = cells[:, :, horizontal.cells]  # (K, h, L, 9)
        best, index = (member * horizontal.tail).max(dim=-1)
        density = horizontal.log_density.expand(member.shape).gather(-1, index[..., None])[..., 0]
        # For every pixel: the best of the nine grid rows around it.
        near_rows, near_columns = vertical.cells[rows].T, columns[None]  # (9, N), (1, N)
        soft, choice = (best[:, near_rows, near_columns] * vertical.tail[rows].T).max(dim=1)  # (K, N)
        row = near_rows.gather(0, choice)
        objects = torch.arange(len(cells), device=cells.device)[:, None]
        log_likelihood = density[objects, row, near_columns] + vertical.log_density[rows[None], choice]
        return Consensus(soft, torch.where(soft > 0, log_likelihood, self.unsupported))


class NeighbourGraph:
    """Pairs of grid points close enough to belong to one object, listed once per image.

    Args:
        points: (N, 3) metres, the grid points in raster order.
        sigma: standard deviation of the closeness in normalised coordinates.
        threshold: pairs with a closeness below it can never be an edge.

    Attributes:
        first, second: (E,) indices with first < second.
        closeness: (E,) in (threshold, 1].
    """

    def __init__(self, points: Tensor, sigma: float, threshold: float) -> None:
        position = points[:, :2] / (points[:, 2:] + TINY)
        # Along one axis alone a pair farther apart than this is below the threshold already.
        limit = sigma * math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - threshold))) * 1.01
        pairs = []
        for start in range(0, len(position), ROWS_AT_ONCE):
            distance = (position[start : start + ROWS_AT_ONCE, None] - position[None]).abs().amax(dim=-1)
            near = (distance < limit).triu(start + 1).nonzero()
            near[:, 0] += start
            pairs.append(near)
        edges = torch.cat(pairs)
        tails = gaussian_tail((position[edges[:, 0]] - position[edges[:, 1]]).abs() / sigma)
        closeness = tails[:, 0] * tails[:, 1]
        keep = closeness > threshold
        self.threshold = threshold
        self.size = len(points)
        self.first, self.second = edges[keep].unbind(1)
        self.closeness = closeness[keep]

    def components(
        self, soft: Tensor, explained: Tensor, valid: Tensor, reference_compat: bool = False
    ) -> Tensor:
        """Split the inliers of a motion into connected objects.

        Args:
            soft: (N,) soft inliers of the motion.
            explained: (N,) bool, hard inliers of earlier motions.
            valid: (N,) bool.
            reference_compat: as the original, let the earlier point of a pair (in raster order) alone decide
                whether it is an edge, so that outliers can bridge two objects.

        Returns:
            Objects (K, N) bool, ordered by their first point; K may be 0.
        """
        weight = soft[self.first]
        if not reference_compat:
            weight = torch.minimum(weight, soft[self.second])
        edge = (self.closeness * weight > self.threshold) & ~explained[self.first] & ~explained[self.second]
        first, second = self.first[edge].cpu().numpy(), self.second[edge].cpu().numpy()
        graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(self.size, self.size))
        labels = torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
        member = ((soft > self.threshold) & ~explained & valid).cpu()
        names = labels[member].unique()
        return ((labels[None] == names[:, None]) & member).to(soft.device)
