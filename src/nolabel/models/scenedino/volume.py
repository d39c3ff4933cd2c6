"""A labelled volume from a field: density everywhere, classes only where there is matter (SceneDINO specification, 11.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nolabel.models.rendering.contract import Field
from nolabel.models.rendering.occupancy import grown
from nolabel.models.rendering.render import query_in_chunks

__all__ = ["MATTER", "query_volume"]

MATTER = 0.2  # 1 / metre: density from which a voxel counts as occupied


@torch.no_grad()
def query_volume(
    field: Field,
    centres: Tensor,
    classify: Callable[[Tensor], Tensor],
    *,
    needed: Tensor | None = None,
    matter: float = MATTER,
    chunk: int = 65536,
) -> tuple[Tensor, Tensor]:
    """Look at the centres of voxels.

    Args:
        field: of one scene, N = 1.
        centres: (X, Y, Z, 3) in the field's world, metres.
        classify: compact features (P, C) to classes (P,): ``SceneDino.classify`` or a
            :class:`~nolabel.models.scenedino.folded_head.FoldedHead`.
        needed: (X, Y, Z) bool: voxels that count, those in the camera's view for instance. Density is looked up there and
            in their neighbours, which may grow into them, and is 0 elsewhere. All by default.
        matter: voxels with a neighbour this dense get a class.
        chunk: points that are looked at at once.

    Returns:
        density (X, Y, Z), 1 / metre, as it is (not grown); class (X, Y, Z) int64, 0 where nothing is near.
    """
    shape = centres.shape[:3]
    points = centres.reshape(1, -1, 3)
    density = points.new_zeros(points.shape[1])
    if needed is None:
        density = query_in_chunks(field, points, chunk, features=False).density[0].to(density)
    else:
        looked = (grown(needed.to(density)) > 0).flatten().nonzero()[:, 0]
        found = query_in_chunks(field, points[:, looked], chunk, features=False)
        density[looked] = found.density[0].to(density)
    occupied = grown(density.reshape(shape)).flatten() >= matter
    if needed is not None:
        occupied &= needed.flatten()
    classes = torch.zeros(density.shape, dtype=torch.long, device=density.device)
    for part in occupied.nonzero()[:, 0].split(chunk):
        features = field.query(points[:, part]).features
        assert features is not None  # they were asked for
        classes[part] = classify(features[0])
    return density.reshape(shape), classes.reshape(shape)
