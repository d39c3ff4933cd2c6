"""Two-stage detection shared by every method: anchors, proposals, cascaded box heads, mask head."""

from nolabel.models.detection.anchors import pyramid_anchors
from nolabel.models.detection.boxes import BoxCoder, pairwise_iou
from nolabel.models.detection.cascade import CascadeConfig, CascadeRoIHeads, Detections
from nolabel.models.detection.paste import MaskCrop, dense_masks, paste_masks
from nolabel.models.detection.proposals import ProposalConfig, RegionProposalNetwork
from nolabel.models.detection.sampling import LowestIndexSampler, RandomSampler, Sampler
from nolabel.models.detection.targets import InstanceTarget

__all__ = [
    "BoxCoder",
    "CascadeConfig",
    "CascadeRoIHeads",
    "Detections",
    "InstanceTarget",
    "LowestIndexSampler",
    "MaskCrop",
    "ProposalConfig",
    "RandomSampler",
    "RegionProposalNetwork",
    "Sampler",
    "dense_masks",
    "pairwise_iou",
    "paste_masks",
    "pyramid_anchors",
]
