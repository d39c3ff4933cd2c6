"""The labels of one stereo video sample: motion, objects, pseudo classes, CRF, fusion (spec cups_pseudo 1 and 9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nolabel.data.footage import measure_pair, repeats
from nolabel.engine.seeding import generator_of
from nolabel.geometry import depth_from_disparity
from nolabel.methods.cups.fusion import (
    MAX_OBJECTS,
    align_semantic_to_instances,
    clear_border_columns,
    renumber,
)
from nolabel.methods.cups.proposals import ObjectProposals, no_proposals, object_proposals
from nolabel.methods.cups.pseudo_label_config import CrfConfig, PseudoLabelConfig
from nolabel.methods.cups.semantic_model import SemanticModel, stereo_geometry_of
from nolabel.methods.cups.semantics import semantic_log_probabilities
from nolabel.models.dense_crf import crf_image, dense_crf
from nolabel.models.motion import StereoMotion
from nolabel.structures import StereoVideoSample

REFERENCE_BORDER = 32  # columns, whatever the image width
REPEATED = "repeated frame"


@dataclass(frozen=True)
class SampleLabels:
    """Labels of one sample, with the stages they came from.

    Attributes:
        semantic: (H, W) int64 pseudo classes after fusion.
        instances: (H, W) int64 objects, 0 none, 1..N.
        unfused: (H, W) int64 pseudo classes before fusion.
        motion: flow and disparity.
        proposals: the moving objects before the borders were cleared.
        footage: what the pair says about its camera, and whether frames repeat.
    """

    semantic: Tensor
    instances: Tensor
    unfused: Tensor
    motion: StereoMotion
    proposals: ObjectProposals
    footage: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """Counts of every stage, and the stage that left no object."""
        report = self.proposals.report
        objects = int((torch.unique(self.instances) > 0).sum())
        return {
            "motions": sum(report.get("motions", [])),
            "proposals": sum(report.get("proposals", [])),
            "agreed": report.get("agreed", 0),
            "distinct": report.get("distinct", 0),
            "kept": self.proposals.count,
            "objects": objects,
            "empty": None if objects else report["emptied_by"] or "border",
            "classes": len(torch.unique(self.semantic)),
            "footage": self.footage,
            "stages": report,
        }


@torch.inference_mode()
def label_sample(
    sample: StereoVideoSample,
    motion: StereoMotion,
    model: SemanticModel,
    config: PseudoLabelConfig,
    device: torch.device | str = "cpu",
) -> SampleLabels:
    """Label one stereo video sample; the result depends on nothing but sample, motion, networks and settings.

    Where a view shows the same frame twice no object is looked for (``reference_compat``: as the original, all the
    same): any motion found there would be noise.

    Args:
        sample: images and calibration.
        motion: its flow and disparity.
        model: features and classes.
        config: settings.
        device: where everything happens.

    Raises:
        DataError: the sample's sizes do not fit.
    """
    calibration = sample["calibration"]
    repeated = _repeated_views(sample)
    if repeated and not config.reference_compat:
        proposals = no_proposals(motion, REPEATED)
    else:
        proposals = object_proposals(
            motion,
            calibration,
            _plain(sample["valid"], device),
            config.proposals,
            generator_of(config.seed, sample["name"]),
        )
    image, disparity, disparity_right = (
        _plain(sample["left_0"], device),
        motion.disparity_0[0],
        motion.disparity_right_0[0],
    )
    scores = semantic_log_probabilities(
        image,
        model.extractor,
        model.classifier,
        depth=depth_from_disparity(disparity, calibration.fx, calibration.baseline),
        geometry=stereo_geometry_of(disparity, disparity_right, calibration) if model.uses_geometry else None,
        depth_guided=model.depth_guided,
        reference_compat=config.reference_compat,
    )
    unfused = refine(scores, image, config.crf, reference_compat=config.reference_compat).argmax(0)
    measures = measure_pair(disparity, disparity_right, calibration, motion.flow_forward[0])
    footage = measures.record() | {"repeated": repeated}
    return fuse(unfused, motion, proposals, model.num_classes, config, footage)


def _repeated_views(sample: StereoVideoSample) -> list[str]:
    """Name the views whose second frame shows the very pixels of the first."""
    views = {"left": (sample["left_0"], sample["left_1"]), "right": (sample["right_0"], sample["right_1"])}
    return [name for name, frames in views.items() if repeats(*frames)]


def refine(scores: Tensor, image: Tensor, config: CrfConfig, *, reference_compat: bool = False) -> Tensor:
    """Run the dense CRF at its working scale.

    Args:
        scores: (K, H, W) log-probabilities.
        image: (3, H, W) RGB in [0, 1].
        config: settings.
        reference_compat: see :func:`nolabel.models.dense_crf.crf_image`.

    Returns:
        (K, H, W) scores whose largest entry names the class.
    """
    if config.iterations == 0:
        return scores
    size = scores.shape[-2:]
    if config.scale < 1:
        small = [max(1, round(side * config.scale)) for side in size]
        scores, image = (
            F.interpolate(maps[None], size=small, mode="bilinear", align_corners=False, antialias=True)[0]
            for maps in (scores, image)
        )
    refined = dense_crf(
        scores,
        crf_image(image, reference_compat=reference_compat),
        iterations=config.iterations,
        gaussian_sxy=config.gaussian_sxy,
        gaussian_strength=config.gaussian_strength,
        bilateral_sxy=config.bilateral_sxy * config.scale,
        bilateral_srgb=config.bilateral_srgb,
        bilateral_strength=config.bilateral_strength,
    )
    if config.scale < 1:
        refined = F.interpolate(refined[None], size=size, mode="bilinear", align_corners=False)[0]
    return refined


def fuse(
    unfused: Tensor,
    motion: StereoMotion,
    proposals: ObjectProposals,
    num_classes: int,
    config: PseudoLabelConfig,
    footage: dict[str, Any],
) -> SampleLabels:
    """Clear the border of objects and, with ``config.align``, give every object one class.

    Under ``reference_compat`` the border is always 32 columns, ids keep their gaps, and ties follow the original.
    """
    compat = config.reference_compat
    width = unfused.shape[-1]
    columns = REFERENCE_BORDER if compat else round(config.border * width)
    instances = clear_border_columns(proposals.instances, columns)
    if not compat or int(instances.max()) > MAX_OBJECTS:
        instances = renumber(instances)
    semantic = unfused
    if config.align:
        semantic = align_semantic_to_instances(unfused, instances, num_classes, reference_compat=compat)
    return SampleLabels(semantic, instances, unfused, motion, proposals, footage)


def _plain(value: Tensor, device: torch.device | str) -> Tensor:
    """Take a tv_tensor as a plain tensor on the device."""
    return value.as_subclass(Tensor).to(device)
