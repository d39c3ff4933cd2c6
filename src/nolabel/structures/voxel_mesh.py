"""Labelled voxels as a mesh: only faces that can be seen, and neighbours of one label in one plane as one rectangle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["VoxelFaces", "exposed_voxels", "merged_faces", "openness"]

Labels = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VoxelFaces:
    """Rectangles on the surface of voxels.

    Attributes:
        corners: (F, 4, 3) int32 in cells, counter-clockwise from outside.
        normals: (F, 3) int8, outwards.
        labels: (F,) of the voxels behind.
        areas: (F,) int64, faces of cells that each rectangle covers.
    """

    corners: npt.NDArray[np.int32]
    normals: npt.NDArray[np.int8]
    labels: Labels
    areas: npt.NDArray[np.int64]


def exposed_voxels(occupied: Bools) -> Bools:
    """Occupied voxels (X, Y, Z) with a face that touches an empty one or the outside of the grid."""
    padded = np.pad(occupied, 1)
    hidden = np.ones_like(occupied)
    for axis in range(3):
        for step in (-1, 1):
            hidden &= _neighbour(padded, axis, step)
    return occupied & ~hidden


def openness(occupied: Bools) -> npt.NDArray[np.float32]:
    """Share of a voxel's 26 neighbours (X, Y, Z) that are empty, 0..1: corners and cracks are dark."""
    total = np.pad(occupied, 1).astype(np.float32)
    for axis in range(3):  # a sum over a box is three sums over lines
        length = total.shape[axis] - 2
        total = sum(
            (np.take(total, np.arange(start, start + length), axis=axis) for start in (1, 2)),
            start=np.take(total, np.arange(length), axis=axis),
        )
    return np.asarray(1 - (total - occupied) / 26, np.float32)


def merged_faces(labels: Labels, occupied: Bools) -> VoxelFaces:
    """The surface between occupied voxels and everything else.

    Faces of one label in one plane are joined along one axis, then equal strips along the other; that is not the least
    number of rectangles, but close to it, and takes only sorting. Rectangles may meet another one's edge in its middle.

    Args:
        labels: (X, Y, Z) integers >= 0.
        occupied: (X, Y, Z).
    """
    padded = np.pad(occupied, 1)
    parts = [
        _faces_towards(np.where(occupied & ~_neighbour(padded, axis, step), labels, -1), axis, step)
        for axis in range(3)
        for step in (-1, 1)
    ]
    corners, normals, found, areas = (np.concatenate(part) for part in zip(*parts, strict=True))
    return VoxelFaces(corners, normals, found, areas)


def _neighbour(padded: Bools, axis: int, step: int) -> Bools:
    """Whether the next voxel of each (X, Y, Z) along an axis is occupied; ``padded`` has one more on all sides."""
    inner = [slice(1, -1)] * 3
    inner[axis] = slice(1 + step, padded.shape[axis] - 1 + step)
    return padded[tuple(inner)]


def _faces_towards(
    seen: Labels, axis: int, step: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8], Labels, npt.NDArray[np.int64]]:
    """Rectangles of the faces of one direction; ``seen`` (X, Y, Z) is the label, -1 where there is no face."""
    layers = np.moveaxis(seen, axis, 0)  # (layer, u, v)
    starts, ends = _runs(layers)
    layer, u, first = starts
    last = ends[2] + 1
    label: npt.NDArray[Any] = layers[starts]
    # Strips of the same extent and label in neighbouring rows are one rectangle.
    order = np.lexsort((u, label, last, first, layer))
    layer, u, first, last = (values[order] for values in (layer, u, first, last))
    label = label[order]
    same = np.ones(len(u), np.bool_)
    same[:1] = False
    for values in (layer, first, last, label):
        same[1:] &= values[1:] == values[:-1]
    same[1:] &= u[1:] == u[:-1] + 1
    begin = np.nonzero(~same)[0]
    end = np.append(begin[1:], len(u))[: len(begin)] - 1
    low, high = u[begin], u[end] + 1
    left, right = first[begin], last[begin]
    plane = layer[begin] + (step > 0)
    rectangle = [(low, left), (high, left), (high, right), (low, right)]
    if (step < 0) != (axis == 1):  # (layer, u, v) is left-handed where the layers are y's
        rectangle.reverse()
    corners = np.stack([np.stack([plane, a, b], axis=-1) for a, b in rectangle], axis=1)
    original = np.empty_like(corners)
    others = [other for other in range(3) if other != axis]
    original[..., axis], original[..., others[0]], original[..., others[1]] = np.moveaxis(corners, -1, 0)
    normals = np.zeros((len(begin), 3), np.int8)
    normals[:, axis] = step
    areas = ((high - low) * (right - left)).astype(np.int64)
    return original.astype(np.int32), normals, label[begin], areas


def _runs(
    layers: Labels,
) -> tuple[tuple[npt.NDArray[np.intp], ...], tuple[npt.NDArray[np.intp], ...]]:
    """First and last places of stretches of one label along the last axis, in the same order."""
    edge = np.ones((*layers.shape[:2], layers.shape[2] + 1), np.bool_)
    edge[..., 1:-1] = layers[..., 1:] != layers[..., :-1]
    full = layers >= 0
    return np.nonzero(full & edge[..., :-1]), np.nonzero(full & edge[..., 1:])
