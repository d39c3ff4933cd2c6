"""Semantic scene completion on SSCBench-KITTI-360 (spec scenedino 11.2).

The volume has 256 x 256 x 32 voxels of 0.2 m (x forward, y left, z up). Labels are 0 empty and
1..15 (:data:`SSC_CLASSES`), 255 invalid.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from nolabel.metrics.confusion import confusion_matrix
from nolabel.metrics.matching import Assignment, Counts, one_to_one
from nolabel.metrics.semantic import Vector, iou_per_class, ratio

EMPTY, INVALID = 0, 255
SSC_CLASSES = (
    "car",
    "bicycle",
    "motorcycle",
    "truck",
    "other-vehicle",
    "person",
    "road",
    "sidewalk",
    "building",
    "fence",
    "vegetation",
    "terrain",
    "pole",
    "traffic-sign",
    "other-object",
)
SSC_WEIGHTS = (2.85, 0.01, 0.01, 0.16, 5.75, 0.02, 14.98, 6.43, 20.00, 0.96, 41.99, 9.15, 0.22, 0.06, 0.28)
SSC_RANGES = (12.8, 25.6, 51.2)  # metres ahead
VOXEL_SIZE = 0.2  # metres
OCCUPIED_SIGMA = 0.2

# Cityscapes train id -> label; sky (10) and rider (12) become empty.
_FROM_TRAIN_ID = (7, 8, 9, 9, 10, 13, 15, 14, 11, 12, 0, 6, 0, 1, 4, 5, 5, 3, 2)
# SSCBench id 0..19 -> label.
_FROM_SSCBENCH = (0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 12, 9, 10, 11, 12, 13, 14, 9, 15, 0)

# Rectified camera 0: focal length, principal point and image size in pixels; camera from LiDAR frame.
_FOCAL, _PRINCIPAL, _IMAGE = 552.554261, (682.049453, 238.769549), (1408, 376)
_CAMERA_TO_LIDAR = (
    (0.04307104361, -0.08829286498, 0.995162929, 0.8043914418),
    (-0.999004371, 0.007784614041, 0.04392796942, 0.2993489574),
    (-0.01162548558, -0.9960641394, -0.08786966659, -0.1770225824),
    (0.0, 0.0, 0.0, 1.0),
)
SSC_ORIGIN = (0.0, -25.6, -2.0)  # metres, corner of the volume in the LiDAR's frame
_SHAPE = (256, 256, 32)


def ssc_voxel_centres() -> Tensor:
    """Voxel centres in the frame of camera 0 ``(256, 256, 32, 3)``, float64 metres."""
    axes = [torch.arange(n, dtype=torch.float32) + 0.5 for n in _SHAPE]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    lidar = (torch.tensor(SSC_ORIGIN) + VOXEL_SIZE * index).double()
    lidar_to_camera = torch.linalg.inv(ssc_camera_to_lidar())
    return lidar @ lidar_to_camera[:3, :3].T + lidar_to_camera[:3, 3]


def ssc_camera_to_lidar() -> Tensor:
    """From the frame of camera 0 (x right, y down, z forward) to that of the volume, ``(4, 4)`` float64 metres."""
    return torch.tensor(_CAMERA_TO_LIDAR, dtype=torch.float64)


def ssc_field_of_view() -> Tensor:
    """Voxels whose centre projects into camera 0: ``(256, 256, 32)`` bool."""
    points = ssc_voxel_centres()
    depth = points[..., 2]
    pixels = torch.round(_FOCAL * points[..., :2] / depth[..., None] + torch.tensor(_PRINCIPAL).double())
    inside = (pixels >= 0) & (pixels < torch.tensor(_IMAGE))
    return inside.all(-1) & (depth > 0)


def ssc_prediction_labels(classes: Tensor, sigma: Tensor, *, reference_compat: bool = False) -> Tensor:
    """Labels ``(B, X, Y, Z)`` int64 from Cityscapes train ids and densities of the same shape.

    Densities grow by a 3 x 3 x 3 maximum; voxels below :data:`OCCUPIED_SIGMA` are empty. With
    ``reference_compat`` a voxel that is opaque only by growth is road, because the original takes the
    class from an argmax over class scores that are all zero there; otherwise it keeps its own class.
    """
    if reference_compat:
        opacity = 1 - torch.exp(-VOXEL_SIZE * sigma.float())
        classes = torch.where(opacity > 0, classes, 0)
    grown = F.max_pool3d(sigma[:, None].float(), 3, stride=1, padding=1)[:, 0]
    labels = torch.tensor(_FROM_TRAIN_ID, device=classes.device)[classes.long()]
    return torch.where(grown >= OCCUPIED_SIGMA, labels, EMPTY)


def ssc_target_labels(raw: Tensor) -> Tensor:
    """Labels ``(B, X, Y, Z)`` int64 from SSCBench ids 0..19 and 255, unobserved voxels made invalid."""
    table = torch.full((256,), INVALID, device=raw.device)
    table[: len(_FROM_SSCBENCH)] = torch.tensor(_FROM_SSCBENCH, device=raw.device)
    labels = table[raw.long()]
    return torch.where(ssc_unobserved(labels), INVALID, labels)


def ssc_unobserved(labels: Tensor) -> Tensor:
    """Empty voxels ``(..., X, Y, Z)`` of the 7 lowest layers with nothing occupied below: bool.

    The LiDAR cannot have seen below the road, so they are invalid.
    """
    occupied = (labels != EMPTY) & (labels != INVALID)
    below = occupied.cumsum(-1) - occupied.long() > 0
    layer = torch.arange(labels.shape[-1], device=labels.device)
    return (labels == EMPTY) & ~below & (layer <= 6)


class RangeScores(NamedTuple):
    """Scores within one range, in 0..1; ``iou`` is ``(15,)`` with NaN for classes that never occur."""

    geometric_iou: float
    precision: float
    recall: float
    miou: float
    weighted_miou: float
    iou: Vector


def range_scores(confusion: Counts) -> RangeScores:
    """Score a table ``(16, 16)`` (rows true, 0 is empty); undefined IoU counts 0 in the means."""
    occupied_both = confusion[1:, 1:].sum()
    predicted, true = confusion[:, 1:].sum(), confusion[1:].sum()
    iou = iou_per_class(confusion)[1:]
    filled, weights = np.nan_to_num(iou), np.asarray(SSC_WEIGHTS)
    return RangeScores(
        geometric_iou=float(ratio(occupied_both, predicted + true - occupied_both)),
        precision=float(ratio(occupied_both, predicted)),
        recall=float(ratio(occupied_both, true)),
        miou=float(filled.mean()),
        weighted_miou=float((filled * weights).sum() / weights.sum()),
        iou=iou,
    )


class CompletionScores(NamedTuple):
    """Scores for each of :data:`SSC_RANGES`.

    Attributes:
        direct: predicted labels taken as they are.
        matched: after one Hungarian matching of labels over the full range; the IoU of row c is that of
            predicted label c.
        reassignment: ``(16,)`` the true label matched to each predicted label.
        confusion: ``(3, 16, 16)`` voxels, rows true.
    """

    direct: tuple[RangeScores, ...]
    matched: tuple[RangeScores, ...]
    reassignment: Assignment
    confusion: NDArray[np.int64]


class CompletionQuality(Metric):
    """Semantic scene completion scores within 12.8, 25.6 and 51.2 m.

    ``update(prediction, target)`` takes labels ``(B, 256, 256, 32)``; only voxels in the field of view
    whose target is valid count.

    Args:
        field_of_view: ``(256, 256, 32)`` bool; that of KITTI-360's left camera by default.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    confusion: Tensor
    field_of_view: Tensor

    def __init__(self, field_of_view: Tensor | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        size = len(SSC_CLASSES) + 1
        self.add_state("confusion", torch.zeros(len(SSC_RANGES), size, size, dtype=torch.int64), "sum")
        seen = ssc_field_of_view() if field_of_view is None else field_of_view
        self.register_buffer("field_of_view", seen, persistent=False)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add frames."""
        target = torch.where(self.field_of_view.to(target.device), target, INVALID)
        size, middle = self.confusion.shape[1], _SHAPE[1] // 2
        for i, reach in enumerate(SSC_RANGES):
            ahead, aside = round(reach / VOXEL_SIZE), round(reach / VOXEL_SIZE / 2)
            crop = (slice(None), slice(0, ahead), slice(middle - aside, middle + aside))
            counts = confusion_matrix(prediction[crop], target[crop], size, size)
            self.confusion[i] += counts[:, :size].to(self.confusion.device)

    def compute(self) -> CompletionScores:
        """Score all ranges."""
        confusion = self.confusion.cpu().numpy()
        true_of_predicted = one_to_one(confusion[-1].T)
        return CompletionScores(
            direct=tuple(range_scores(table) for table in confusion),
            matched=tuple(range_scores(table[true_of_predicted]) for table in confusion),
            reassignment=true_of_predicted,
            confusion=confusion,
        )


def completion_table(scores: tuple[RangeScores, ...]) -> list[list[str]]:
    """Rows of the benchmark table, percentages with two decimals: a header, then name and three values."""
    names = {"IoU": "geometric_iou", "Precision": "precision", "Recall": "recall", "mIoU": "miou"}
    header = ["", *(f"{reach}m" for reach in SSC_RANGES)]
    single = [[name, *(f"{100 * getattr(s, field):.2f}" for s in scores)] for name, field in names.items()]
    each = [[name, *(f"{100 * s.iou[c]:.2f}" for s in scores)] for c, name in enumerate(SSC_CLASSES)]
    return [header, *single, *each]
