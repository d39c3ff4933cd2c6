"""Samples, calibrations and results: what stages hand each other and what they write."""

from nolabel.structures.calibration import StereoCalibration
from nolabel.structures.coco import (
    coco_detection_json,
    coco_panoptic_json,
    load_coco_detection,
    load_coco_panoptic,
    save_coco_detection,
    save_coco_panoptic,
)
from nolabel.structures.coco_writer import CocoWriter
from nolabel.structures.flow import Flow
from nolabel.structures.instances import Instances
from nolabel.structures.panoptic import PanopticMap, Segment
from nolabel.structures.samples import ClipSample, ImageSample, LabelledSample, StereoVideoSample
from nolabel.structures.semantic import SemanticMap
from nolabel.structures.voxels import VoxelScene

__all__ = [
    "ClipSample",
    "CocoWriter",
    "Flow",
    "ImageSample",
    "Instances",
    "LabelledSample",
    "PanopticMap",
    "Segment",
    "SemanticMap",
    "StereoCalibration",
    "StereoVideoSample",
    "VoxelScene",
    "coco_detection_json",
    "coco_panoptic_json",
    "load_coco_detection",
    "load_coco_panoptic",
    "save_coco_detection",
    "save_coco_panoptic",
]
