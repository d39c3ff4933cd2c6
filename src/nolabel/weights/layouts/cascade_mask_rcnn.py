"""Detectors in detectron2's layout: what CUPS, unMORE, CutLER and CuVLER checkpoints have in common.

Our networks use detectron2's parameter names, so the maps are the identity apart from prefixes and from what is not
stored. Source: CUPS specification, section 3; unMORE specification, section 9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts import timm_resnet

__all__ = [
    "BACKBONE_PREFIX",
    "IGNORED",
    "backbone_state",
    "detector_sizes",
    "is_backbone",
    "named_tensors",
    "tensor_size",
]

# Buffers of old or foreign files that our networks compute instead of storing.
IGNORED = re.compile(r"anchor_generator\.cell_anchors|^pixel_(mean|std)$")

# Files in detectron2 format hold the ResNet alone, named from its stem and stages on.
BACKBONE_PREFIX = "backbone.bottom_up."
BACKBONE_IGNORED = re.compile(r"^stem\.fc\.")


def is_backbone(state: Mapping[str, Any]) -> bool:
    """Tell whether these are the tensors of a ResNet (detectron2's names, or timm's), and not of a whole network."""
    return "stem.conv1.weight" in state or timm_resnet.is_resnet(state)


def backbone_state(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return a ResNet under our names: of a detectron2-format file (DINO's ``dino_RN50_pretrain_d2_format.pkl``), of timm or
    torchvision (DINO's ``dino_resnet50_pretrain.pth``), or of ``nolabel pretrain features``."""
    tensors = named_tensors(state)
    if timm_resnet.is_resnet(tensors):
        tensors = timm_resnet.to_detectron(tensors)
    kept = {name: value for name, value in tensors.items() if not BACKBONE_IGNORED.match(name)}
    if not is_backbone(kept):
        raise WeightsError(
            "this is no ResNet: stem.conv1.weight (or conv1.weight) is missing",
            hint="trainings start from dino_RN50_pretrain_d2_format.pkl",
        )
    return {BACKBONE_PREFIX + name: value for name, value in kept.items()}


def detector_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the sizes of a Cascade Mask R-CNN from the shapes of its tensors.

    Returns:
        num_classes, stem_channels, res2_channels, bottleneck_channels, blocks, pyramid_channels, box_channels,
        mask_channels, class_agnostic_masks and num_stages.

    Raises:
        WeightsError: a tensor that tells a size is missing.
    """
    resnet = BACKBONE_PREFIX
    num_classes = tensor_size(state, "roi_heads.box_predictor.0.cls_score.bias") - 1
    return {
        "num_classes": num_classes,
        "stem_channels": tensor_size(state, f"{resnet}stem.conv1.weight"),
        "res2_channels": tensor_size(state, f"{resnet}res2.0.conv3.weight"),
        "bottleneck_channels": tensor_size(state, f"{resnet}res2.0.conv1.weight"),
        "blocks": tuple(
            _count(state, rf"^{re.escape(resnet)}res{stage}\.(\d+)\.conv1\.weight$") for stage in range(2, 6)
        ),
        "pyramid_channels": tensor_size(state, "backbone.fpn_output2.weight"),
        "box_channels": tensor_size(state, "roi_heads.box_head.0.fc1.weight"),
        "mask_channels": tensor_size(state, "roi_heads.mask_head.mask_fcn1.weight"),
        "class_agnostic_masks": num_classes > 1
        and tensor_size(state, "roi_heads.mask_head.predictor.bias") == 1,
        "num_stages": _count(state, r"^roi_heads\.box_head\.(\d+)\.fc1\.weight$"),
    }


def tensor_size(state: Mapping[str, Tensor], name: str, axis: int = 0) -> int:
    """Return a length of a tensor that must be there.

    Raises:
        WeightsError: it is not.
    """
    if name not in state:
        raise WeightsError(
            f"the checkpoint lacks {name}", hint="is the file complete, and of such a network?"
        )
    return int(state[name].shape[axis])


def named_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a dictionary, or of what a detectron2 file nests under ``model``."""
    nested = state.get("model")
    entries = nested if isinstance(nested, Mapping) else state
    return {name: torch.as_tensor(value) for name, value in entries.items() if hasattr(value, "shape")}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return len([name for name in state if re.match(pattern, name)])
