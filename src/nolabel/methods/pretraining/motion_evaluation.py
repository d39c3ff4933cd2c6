"""How good flow and disparity are: against exact motion where there is some, and by what the images themselves show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nolabel.data import StereoVideoDataset, find_layout
from nolabel.data.motion_files import DISPARITIES, FLOWS, read_map
from nolabel.engine.progress import Progress
from nolabel.geometry import backward_warp, census_difference, disparity_as_flow, forward_backward_visible
from nolabel.methods.pretraining.motion_data import open_views
from nolabel.metrics import MotionErrors, motion_errors
from nolabel.models.motion import MotionEstimator, StereoMotion

__all__ = [
    "MotionLook",
    "MotionScores",
    "NoMotion",
    "evaluate_motion",
    "exact_motion_folder",
    "score_motion",
    "scores_table",
]


class NoMotion:
    """The estimator that says nothing moves and everything is far away: what any other must beat."""

    def flow(self, first: Tensor, second: Tensor) -> Tensor:
        """Return zeros (B, 2, H, W)."""
        return torch.zeros_like(first[:, :2])

    def disparity(self, left: Tensor, right: Tensor, reference: str = "left") -> Tensor:
        """Return zeros (B, 1, H, W)."""
        return torch.zeros_like(left[:, :1])

    def stereo_video(self, left_0: Tensor, right_0: Tensor, left_1: Tensor, right_1: Tensor) -> StereoMotion:
        """Return zeros."""
        flow, disparity = torch.zeros_like(left_0[:, :2]), torch.zeros_like(left_0[:, :1])
        return StereoMotion(flow, flow, disparity, disparity, disparity, disparity)


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.total, self.count = self.total + float(values.double().sum()), self.count + values.numel()

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")


@dataclass
class MotionScores:
    """What was found over a data set.

    Attributes:
        flow: errors of forward and backward flow, all pixels.
        flow_visible: the same where the pixel is seen in the other frame.
        disparity: errors of the left views' disparity, where it is known.
        colour: mean absolute difference of colours along the flow, where forward and backward flow agree, 0..255.
        colour_stereo: the same along the disparity.
        census: share of neighbours that change their order along the flow, all pixels that stay in the image, 0..1.
        census_stereo: the same along the disparity.
        occluded: share of pixels where forward and backward flow disagree.
        samples: pairs of stereo frames.
    """

    flow: MotionErrors = field(default_factory=MotionErrors)
    flow_visible: MotionErrors = field(default_factory=MotionErrors)
    disparity: MotionErrors = field(default_factory=MotionErrors)
    colour: _Mean = field(default_factory=_Mean)
    colour_stereo: _Mean = field(default_factory=_Mean)
    census: _Mean = field(default_factory=_Mean)
    census_stereo: _Mean = field(default_factory=_Mean)
    occluded: _Mean = field(default_factory=_Mean)
    samples: int = 0

    def record(self) -> dict[str, float]:
        """Return named numbers: ``flow_epe`` (pixels), ``flow_fl`` (0..1), ``disparity_epe``, ``disparity_d1``, ..."""
        found: dict[str, float] = {}
        if self.flow.pixels:
            found |= {"flow_epe": self.flow.end_point_error, "flow_fl": self.flow.outlier_share}
            found["flow_epe_visible"] = self.flow_visible.end_point_error
        if self.disparity.pixels:
            found |= {
                "disparity_epe": self.disparity.end_point_error,
                "disparity_d1": self.disparity.outlier_share,
            }
        names = ("colour", "colour_stereo", "census", "census_stereo", "occluded")
        return found | {name: getattr(self, name).value for name in names}


@dataclass(frozen=True)
class MotionLook:
    """One sample as it was scored, for pictures; maps (C, H, W), truth None where there is none."""

    image: Tensor
    motion: StereoMotion
    true_flow: Tensor | None
    true_disparity: Tensor | None


def exact_motion_folder(source: str | Path, split: str) -> Path | None:
    """Find the folder of exact motion that ``nolabel world --motion`` writes beside stereo video; None without one."""
    root = Path(source) / "motion"
    folder = root / split if find_layout(source) == "cityscapes" else root
    return folder if all((folder / kind).is_dir() for kind in (*FLOWS, *DISPARITIES)) else None


def evaluate_motion(
    estimator: MotionEstimator,
    sources: Sequence[str | Path],
    *,
    split: str = "val",
    scale: float = 1.0,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> dict[str, MotionScores]:
    """Score an estimator on stereo video.

    Args:
        estimator: of any kind.
        sources: stereo video in any layout; exact motion is used where it lies in the folder ``motion``.
        split: of data sets that have splits.
        scale: factor by which images and exact motion are resized; errors are pixels of that size.
        limit: samples of each, evenly spaced; all by default.
        device: where the images go.
        progress: show progress on standard error.

    Returns:
        Scores by source.

    Raises:
        DataError: a source is no stereo video.
    """
    scores = {}
    for source in sources:
        dataset = open_views(source, split=split, scale=scale)
        truth = exact_motion_folder(source, split)
        scores[str(source)], _ = score_motion(
            estimator, dataset, truth, limit=limit, device=device, progress=progress
        )
    return scores


def scores_table(scores: Mapping[str, MotionScores]) -> str:
    """Return the numbers of each data set as lines of text, shares in per cent."""
    lines = []
    for name, found in scores.items():
        record = found.record()
        lines.append(f"{name}: {found.samples} pairs of stereo frames")
        if found.flow.pixels:
            lines.append(
                f"  flow       end-point error {record['flow_epe']:.3f} px (visible {record['flow_epe_visible']:.3f}), "
                f"outliers (Fl) {100 * record['flow_fl']:.1f} %"
            )
        if found.disparity.pixels:
            lines.append(
                f"  disparity  error {record['disparity_epe']:.3f} px, outliers (D1) {100 * record['disparity_d1']:.1f} %"
            )
        lines.append(
            f"  images     along flow: colours differ by {record['colour']:.2f} of 255 where consistent "
            f"({100 * (1 - record['occluded']):.0f} %), census by {100 * record['census']:.1f} %; "
            f"along disparity: {record['colour_stereo']:.2f}, {100 * record['census_stereo']:.1f} %"
        )
    return "\n".join(lines)


@torch.no_grad()
def score_motion(
    estimator: MotionEstimator,
    dataset: StereoVideoDataset,
    truth: Path | None,
    *,
    limit: int | None = None,
    looks: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> tuple[MotionScores, list[MotionLook]]:
    """Score an estimator on one data set, and keep the first samples for pictures.

    Args:
        estimator: of any kind.
        dataset: stereo video.
        truth: folder of exact motion, see :mod:`nolabel.data.motion_files`; None: there is none.
        limit: samples, evenly spaced; all by default.
        looks: samples to keep.
        device: where the images go.
        progress: show progress on standard error.
    """
    count = min(limit or len(dataset), len(dataset))
    places = [place * len(dataset) // count for place in range(count)]
    scores = MotionScores(samples=count)
    kept: list[MotionLook] = []
    with Progress("measuring motion", count, unit="samples", enabled=progress) as bar:
        for place in places:
            sample = dataset[place]
            names = ("left_0", "right_0", "left_1", "right_1")
            images = [sample[name].as_subclass(Tensor)[None].to(device) for name in names]  # type: ignore[literal-required]
            motion = estimator.stereo_video(*images).to("cpu")
            exact = _exact(dataset, place, truth) if truth is not None else {}
            _compare(scores, motion, exact)
            _look_along(scores, [image.cpu() for image in images], motion)
            if len(kept) < looks:
                kept.append(
                    MotionLook(images[0][0].cpu(), motion, exact.get("flow_forward"), exact.get("disparity"))
                )
            bar.advance()
    return scores, kept


def _exact(dataset: StereoVideoDataset, place: int, folder: Path) -> dict[str, Tensor]:
    """Read the exact flow (2, H, W) to the next frame and back, and the left disparity (1, H, W) of a sample."""
    pair = dataset.pairs[place]
    # The last frame of a clip begins no pair: its name is that of the pair with the other file's in it.
    following = pair.name.removesuffix(pair.left_0.stem) + pair.left_1.stem
    names = {"flow_forward": pair.name, "disparity": pair.name, "flow_backward": following}
    return {kind: dataset.fit_motion(place, read_map(folder, kind, name)) for kind, name in names.items()}


def _compare(scores: MotionScores, motion: StereoMotion, exact: dict[str, Tensor]) -> None:
    forward, backward = exact.get("flow_forward"), exact.get("flow_backward")
    for estimate, truth, other in (
        (motion.flow_forward, forward, backward),
        (motion.flow_backward, backward, forward),
    ):
        if truth is None:
            continue
        scores.flow += motion_errors(estimate[0], truth)
        if other is not None:
            seen = forward_backward_visible(truth[None], other.nan_to_num()[None])[0]
            scores.flow_visible += motion_errors(estimate[0], truth, seen)
    disparity = exact.get("disparity")
    if disparity is not None:
        scores.disparity += motion_errors(motion.disparity_0[0], disparity, disparity > 0)


def _look_along(scores: MotionScores, images: Sequence[Tensor], motion: StereoMotion) -> None:
    """Compare images along their motion."""
    left_0, right_0, left_1, _ = images
    seen = forward_backward_visible(motion.flow_forward, motion.flow_backward)
    scores.occluded.add(~seen)
    stereo = disparity_as_flow(motion.disparity_0)
    stereo_back = disparity_as_flow(motion.disparity_right_0, "right")
    for colour, census, other, flow, visible in (
        (scores.colour, scores.census, left_1, motion.flow_forward, seen),
        (
            scores.colour_stereo,
            scores.census_stereo,
            right_0,
            stereo,
            forward_backward_visible(stereo, stereo_back),
        ),
    ):
        fetched, inside = backward_warp(other, flow, padding_mode="border")
        colour.add(255 * (left_0 - fetched).abs().mean(dim=1, keepdim=True)[visible])
        census.add(census_difference(left_0, fetched)[inside] / 48)
