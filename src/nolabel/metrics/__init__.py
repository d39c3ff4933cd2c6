"""Scores only: torchmetrics over pure functions on integer tables."""

from nolabel.metrics.completion import CompletionQuality, CompletionScores
from nolabel.metrics.confusion import confusion_matrix
from nolabel.metrics.consistency import FeatureConsistency, FeatureConsistencyScores
from nolabel.metrics.depth import depth_scores, feature_scores, occupancy_scores
from nolabel.metrics.detection import detection_scores
from nolabel.metrics.matching import assign, assign_within_groups, merge_clusters
from nolabel.metrics.motion import MotionErrors, motion_errors
from nolabel.metrics.panoptic import PanopticQuality, PanopticScores
from nolabel.metrics.protocols import (
    CITYSCAPES_SUBSETS,
    SCENEDINO_CLASS_WEIGHTS,
    SYNTHIA_SEQ_REPORTED,
    CoTrainingScores,
    cotraining_scores,
)
from nolabel.metrics.segmentation import RULES, SegmentationScores, class_subsets
from nolabel.metrics.segments import panoptic_counts, segment_table
from nolabel.metrics.semantic import SemanticQuality, SemanticScores, semantic_scores
from nolabel.metrics.temporal import TemporalConsistency, moved_labels

__all__ = [
    "CITYSCAPES_SUBSETS",
    "RULES",
    "SCENEDINO_CLASS_WEIGHTS",
    "SYNTHIA_SEQ_REPORTED",
    "CoTrainingScores",
    "CompletionQuality",
    "CompletionScores",
    "FeatureConsistency",
    "FeatureConsistencyScores",
    "MotionErrors",
    "PanopticQuality",
    "PanopticScores",
    "SegmentationScores",
    "SemanticQuality",
    "SemanticScores",
    "TemporalConsistency",
    "assign",
    "assign_within_groups",
    "class_subsets",
    "confusion_matrix",
    "cotraining_scores",
    "depth_scores",
    "detection_scores",
    "feature_scores",
    "merge_clusters",
    "motion_errors",
    "moved_labels",
    "occupancy_scores",
    "panoptic_counts",
    "segment_table",
    "semantic_scores",
]
