"""Several images of one scene with cameras and poses: what SceneDINO learns from.

The field is predicted from view 0; the other views (a moment later, other cameras, other moments) are what it has to
explain. Every reader of posed video hands out :class:`PosedSample`; :func:`collate_posed` makes batches.

The views come in pairs: 2 i and 2 i + 1 are one camera at two moments. KITTI-360: (0, 1) the left and (2, 3) the right
perspective camera, (4, 5) and (6, 7) the left and right side camera, the pair of view 0 first (scenedino.md 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nolabel.errors import DataError

__all__ = ["PosedBatch", "PosedSample", "collate_posed"]


@dataclass(frozen=True, eq=False)
class PosedSample:
    """Views of one scene, all of one size.

    Attributes:
        name: unique within the data set, safe as a file name stem.
        images: (V, 3, H, W) RGB in [0, 1].
        intrinsics: (V, 3, 3) pinhole matrices in pixels of these images; integer coordinates are pixel centres.
        poses: (V, 4, 4) camera to world, metres; camera x right, y down, z forward. The world frame is free.
        frame_ids: the number of each view's frame in its sequence.
        cameras: the name of each view's camera.
        labels: (H, W) int64 train ids of view 0, 255 void; None where there are none.
        depth: (H, W) metres along z of view 0, 0 unknown; None where it is not known.
    """

    name: str
    images: Tensor
    intrinsics: Tensor
    poses: Tensor
    frame_ids: tuple[int, ...]
    cameras: tuple[str, ...]
    labels: Tensor | None = None
    depth: Tensor | None = None


@dataclass(frozen=True, eq=False)
class PosedBatch:
    """Samples one upon another: the attributes of :class:`PosedSample` with a leading axis N.

    ``labels`` are void (255) and ``depth`` is unknown (0) for samples that have none; both are None if no sample has.
    """

    names: tuple[str, ...]
    images: Tensor
    intrinsics: Tensor
    poses: Tensor
    frame_ids: tuple[tuple[int, ...], ...]
    cameras: tuple[tuple[str, ...], ...]
    labels: Tensor | None = None
    depth: Tensor | None = None


def collate_posed(samples: Sequence[PosedSample]) -> PosedBatch:
    """Make a batch.

    Raises:
        DataError: the samples differ in their number of views or in their size.
    """
    shapes = {tuple(sample.images.shape) for sample in samples}
    if len(shapes) > 1:
        raise DataError(
            f"samples of one batch differ in views or size: {sorted(shapes)}",
            hint="read all of them in one size, with the same cameras",
        )
    return PosedBatch(
        names=tuple(sample.name for sample in samples),
        images=torch.stack([sample.images for sample in samples]),
        intrinsics=torch.stack([sample.intrinsics for sample in samples]),
        poses=torch.stack([sample.poses for sample in samples]),
        frame_ids=tuple(sample.frame_ids for sample in samples),
        cameras=tuple(sample.cameras for sample in samples),
        labels=_stack_maps([sample.labels for sample in samples], missing=255),
        depth=_stack_maps([sample.depth for sample in samples], missing=0),
    )


def _stack_maps(maps: Sequence[Tensor | None], missing: int) -> Tensor | None:
    known = next((item for item in maps if item is not None), None)
    if known is None:
        return None
    return torch.stack([torch.full_like(known, missing) if item is None else item for item in maps])
