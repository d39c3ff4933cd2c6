"""Panoptic networks from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor

from nolabel.models.backbones import ResNetConfig
from nolabel.models.panoptic import PanopticCascadeMaskRCNN, PanopticConfig
from nolabel.weights.layouts import cups

__all__ = ["config_from_state", "load_backbone", "panoptic_from_checkpoint"]


def config_from_state(state: Mapping[str, Tensor], base: PanopticConfig | None = None) -> PanopticConfig:
    """Return ``base`` with every size that the tensors of a checkpoint tell; thresholds and anchors stay."""
    base = base or PanopticConfig()
    sizes = cups.network_sizes(state)
    resnet = ResNetConfig(
        sizes["stem_channels"], sizes["res2_channels"], sizes["bottleneck_channels"], sizes["blocks"]
    )
    stages = sizes["num_stages"]
    cascade = replace(
        base.cascade,
        box_channels=sizes["box_channels"],
        mask_channels=sizes["mask_channels"],
        class_agnostic_masks=sizes["class_agnostic_masks"],
        stage_ious=base.cascade.stage_ious[:stages],
        stage_weights=base.cascade.stage_weights[:stages],
    )
    return replace(
        base,
        num_things=sizes["num_things"],
        num_stuff=sizes["num_stuff"],
        resnet=resnet,
        pyramid_channels=sizes["pyramid_channels"],
        semantic_channels=sizes["semantic_channels"],
        cascade=cascade,
    )


def panoptic_from_checkpoint(
    state: Mapping[str, Any],
    config: PanopticConfig | None = None,
    *,
    part: Literal["student", "teacher"] = "student",
) -> PanopticCascadeMaskRCNN:
    """Build the network that a checkpoint belongs to and fill it; evaluation mode, on the CPU.

    Args:
        state: name -> tensor of an official file (Lightning or detectron2) or of one of ours.
        config: thresholds, anchors and samplings; its sizes give way to those of the tensors.
        part: of self-training checkpoints, the network that was trained or its average.

    Raises:
        WeightsError: tensors are missing, left over or of another shape.
    """
    tensors = cups.network_state(state, part)
    network = PanopticCascadeMaskRCNN(config_from_state(tensors, config))
    network.load_state_dict(cups.strict_state(network.state_dict(), tensors))
    return network.eval()


def load_backbone(network: PanopticCascadeMaskRCNN, state: Mapping[str, Any]) -> None:
    """Fill the ResNet of ``network`` from a detectron2-format file (DINO's ResNet-50); all else stays as it is.

    Raises:
        WeightsError: the file does not hold exactly this ResNet.
    """
    tensors = cups.strict_state(network.state_dict(), cups.backbone_state(state), only=cups.BACKBONE_PREFIX)
    network.load_state_dict(tensors, strict=False)
