"""Panoptic Cascade Mask R-CNN: one network for stuff, things and their union (CUPS)."""

from nolabel.models.panoptic.config import PanopticConfig
from nolabel.models.panoptic.merge import PanopticSegments, Segment, merge_panoptic, standard_format
from nolabel.models.panoptic.network import PanopticCascadeMaskRCNN, PanopticPrediction
from nolabel.models.panoptic.semantic_head import SemanticHead
from nolabel.models.panoptic.targets import PanopticTarget
from nolabel.models.panoptic.test_time_augmentation import MultiViewPredictor, ViewConfig

__all__ = [
    "MultiViewPredictor",
    "PanopticCascadeMaskRCNN",
    "PanopticConfig",
    "PanopticPrediction",
    "PanopticSegments",
    "PanopticTarget",
    "Segment",
    "SemanticHead",
    "ViewConfig",
    "merge_panoptic",
    "standard_format",
]
