"""Object proposals of one image: scene flow to rigidly moving objects, ensembled over several runs.

CUPS, section 3.1 "pseudo-label generation", instance part (spec cups_pseudo 4 to 6).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nolabel.errors import DataError
from nolabel.methods.cups.sf2se3.clean_up import drop_small_objects, paint
from nolabel.methods.cups.sf2se3.clusters import Draws
from nolabel.methods.cups.sf2se3.completion import grow_objects
from nolabel.methods.cups.sf2se3.config import ObjectProposalConfig
from nolabel.methods.cups.sf2se3.ensembling import matrix_nms, mean_votes
from nolabel.methods.cups.sf2se3.noise import estimate_noise
from nolabel.methods.cups.sf2se3.run import MotionSegmenter
from nolabel.methods.cups.sf2se3.scene_flow import SceneFlow
from nolabel.methods.cups.sf2se3.validity import build_scene_flow
from nolabel.models.motion import StereoMotion
from nolabel.structures import StereoCalibration

__all__ = ["ObjectProposalConfig", "ObjectProposals", "no_proposals", "object_proposals"]


@dataclass(frozen=True)
class ObjectProposals:
    """Moving objects of one image and how they came about.

    Attributes:
        instances: (H, W) int64, 0 = no object, 1..N.
        scores: (N,) in [0, 1] of the instances 1..N (posterior of the motion, decayed by overlaps).
        depth: (H, W) float32 metres, 0 = unknown.
        valid: (H, W) bool, pixels with trusted scene flow.
        motion_labels: (H, W) int64, motions of the first run, 0 = background or unknown.
        report: counts after every stage, for people and for statistics.
    """

    instances: Tensor
    scores: Tensor
    depth: Tensor
    valid: Tensor
    motion_labels: Tensor
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of objects."""
        return int(self.instances.max())


@torch.inference_mode()
def object_proposals(
    motion: StereoMotion,
    calibration: StereoCalibration,
    valid: Tensor,
    config: ObjectProposalConfig | None = None,
    generator: torch.Generator | None = None,
    draws: Draws | None = None,
) -> ObjectProposals:
    """Find the rigidly moving objects of one stereo video sample.

    Args:
        motion: flow and disparity of one sample (batch of one).
        calibration: of the images that ``motion`` was computed from.
        valid: (H, W) bool, pixels that may count (no ego vehicle, no stereo border).
        config: settings; the published ones by default.
        generator: CPU generator of the random clusters; seed it per image, so that results do not depend on
            which images came before. Seed 0 by default.
        draws: uniform random numbers instead of the generator's.

    Raises:
        DataError: more than one sample, or sizes that differ.
    """
    height, width = motion.size
    if len(motion.flow_forward) != 1 or tuple(valid.shape) != (height, width):
        raise DataError(
            f"object proposals need one sample and a valid mask of its size, got {len(motion.flow_forward)} "
            f"samples of {height}x{width} and a mask of {tuple(valid.shape)}",
            hint="take one sample with motion[i]",
        )
    config = (config or ObjectProposalConfig()).for_image(height, width)
    if draws is None:
        generator = generator or torch.Generator().manual_seed(0)

        def draws(count: int) -> Tensor:
            return torch.rand(count, generator=generator)

    scene_flow, validity = build_scene_flow(motion, calibration, valid.bool(), config)
    noise = estimate_noise(motion, config)
    report: dict[str, Any] = {
        "pixels": height * width,
        "lost": validity.lost(),
        "valid_pixels": int(scene_flow.valid.sum()),
        "noise": {name: round(value, 3) for name, value in noise._asdict().items()},
        "emptied_by": None,
    }
    empty = torch.zeros((height, width), dtype=torch.int64, device=valid.device)
    if report["valid_pixels"] < max(1, config.min_valid_pixels):
        report["emptied_by"] = "validity"
        scores = torch.zeros(0, device=valid.device)
        return ObjectProposals(empty, scores, scene_flow.depth, scene_flow.valid, empty, report)
    segmenter = MotionSegmenter(scene_flow, noise, config)
    runs = [segmenter.run(draws) for _ in range(config.runs if config.variant == "ensembled" else 1)]
    report["motions"] = [len(run.motions) for run in runs]
    report["proposals"] = [len(run.proposals.scores) for run in runs]
    labels = runs[0].labels
    if config.variant == "vanilla":
        instances = _consecutive(labels)
        scores = torch.ones(int(instances.max()), device=valid.device)
        report["emptied_by"] = None if instances.any() else "motion"
    else:
        masks = torch.cat([run.proposals.masks for run in runs])
        scores = torch.cat([run.proposals.scores for run in runs])
        instances, scores = _ensemble(masks, scores, scene_flow, motion.disparity_0[0, 0], config, report)
    report["objects"] = int(instances.max())
    return ObjectProposals(instances, scores, scene_flow.depth, scene_flow.valid, labels, report)


def no_proposals(motion: StereoMotion, reason: str) -> ObjectProposals:
    """Return the empty proposals of a sample in which none can be looked for, with the reason."""
    height, width = motion.size
    device = motion.flow_forward.device
    empty = torch.zeros((height, width), dtype=torch.int64, device=device)
    report = {"pixels": height * width, "valid_pixels": 0, "emptied_by": reason}
    return ObjectProposals(empty, torch.zeros(0, device=device), empty.float(), empty.bool(), empty, report)


def _ensemble(
    masks: Tensor,
    scores: Tensor,
    scene_flow: SceneFlow,
    disparity: Tensor,
    config: ObjectProposalConfig,
    report: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Reduce the proposals (P, H, W) of all runs to instances (H, W) and scores (N,); count in ``report``.

    Objects grow over their edges (:func:`grow_objects`) unless ``reference_compat``.
    """
    agreed = mean_votes(masks) >= config.min_agreement * config.runs
    masks, scores = masks[agreed], scores[agreed]
    kept = matrix_nms(masks, scores, config.nms_sigma, config.nms_threshold)
    painted, order = paint(masks[kept.indices], config.connectivity, config.reference_compat)
    if (
        not config.reference_compat
    ):  # before the size is measured: what is trusted of a thin object is half of it
        painted = grow_objects(
            painted, disparity, scene_flow.valid, config.growth_reach, config.growth_tolerance
        )
    instances = drop_small_objects(
        painted,
        scene_flow.points_0,
        scene_flow.camera,
        config.min_pixels,
        config.min_surface if config.reference_compat else config.min_frontal_surface,
        config.reference_compat,
    )
    stages = {
        "motion": sum(report["motions"]),
        "components": sum(report["proposals"]),
        "agreement": len(masks),
        "nms": len(kept.indices),
        "size": int(instances.max()),
    }
    report["agreed"], report["distinct"] = stages["agreement"], stages["nms"]
    report["emptied_by"] = next((stage for stage, count in stages.items() if count == 0), None)
    # Every pixel of a final instance was painted with one mask: look its score up through the pixels.
    of_painted = torch.cat([kept.scores.new_zeros(1), kept.scores[order]])
    of_instance = kept.scores.new_zeros(stages["size"] + 1)
    of_instance.scatter_(0, instances.flatten(), of_painted[painted.flatten()])
    return instances, of_instance[1:]


def _consecutive(labels: Tensor) -> Tensor:
    """Renumber the labels other than 0 as 1..N."""
    present = labels.flatten().bincount() > 0
    present[0] = False
    return torch.where(present, present.cumsum(dim=0), 0)[labels]
