"""Two-stage detection shared by every method: anchors, proposals, cascaded box heads, mask head."""

from nolabel.models.detection.anchors import pyramid_anchors
from nolabel.models.detection.boxes import BoxCoder, mask_boxes, pairwise_iou
from nolabel.models.detection.cascade import CascadeConfig, CascadeRoIHeads, Detections
from nolabel.models.detection.cascade_network import CascadeMaskRCNN, ImageFeatures
from nolabel.models.detection.class_agnostic import ClassAgnosticConfig, ClassAgnosticMaskRCNN
from nolabel.models.detection.instance_prediction import InstancePrediction, place_instances
from nolabel.models.detection.paste import MaskCrop, dense_masks, paste_masks
from nolabel.models.detection.proposals import ProposalConfig, ProposalSelection, RegionProposalNetwork
from nolabel.models.detection.sampling import LowestIndexSampler, RandomSampler, Sampler
from nolabel.models.detection.targets import DetectionTarget, InstanceTarget, MaskTarget

__all__ = [
    "BoxCoder",
    "CascadeConfig",
    "CascadeMaskRCNN",
    "CascadeRoIHeads",
    "ClassAgnosticConfig",
    "ClassAgnosticMaskRCNN",
    "DetectionTarget",
    "Detections",
    "ImageFeatures",
    "InstancePrediction",
    "InstanceTarget",
    "LowestIndexSampler",
    "MaskCrop",
    "MaskTarget",
    "ProposalConfig",
    "ProposalSelection",
    "RandomSampler",
    "RegionProposalNetwork",
    "Sampler",
    "dense_masks",
    "mask_boxes",
    "pairwise_iou",
    "paste_masks",
    "place_instances",
    "pyramid_anchors",
]
