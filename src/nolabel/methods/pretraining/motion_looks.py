"""What a training of motion looks like while it runs: scores, and one row of pictures for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nolabel.methods.pretraining.motion_data import open_views
from nolabel.methods.pretraining.motion_evaluation import MotionLook, exact_motion_folder, score_motion
from nolabel.methods.pretraining.motion_settings import MotionLookConfig
from nolabel.models.motion import MotionEstimator
from nolabel.structures.files import write_png
from nolabel.structures.pictures import Picture, flow_colours
from nolabel.viz import contact_sheet, disparity_colours, to_picture
from nolabel.viz.colours import scalar_colours

__all__ = ["draw_motion", "look_at_motion"]

LARGEST_ERROR = 5.0  # pixels: brightest in the picture of errors


def look_at_motion(
    estimator: MotionEstimator,
    sources: Sequence[Path],
    config: MotionLookConfig,
    *,
    split: str,
    picture: Path | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Score an estimator on some samples of stereo video and draw the first ones.

    Args:
        estimator: of motion.
        sources: stereo video; exact motion is used where there is any.
        config: how many.
        split: of data sets that have splits.
        picture: PNG to write.
        device: where the estimator is.

    Returns:
        Numbers as :meth:`MotionScores.record` names them; of several sources with the folder's name in front.
    """
    found: dict[str, float] = {}
    looks: list[MotionLook] = []
    names = [source.name for source in sources]
    for number, source in enumerate(sources):
        scores, kept = score_motion(
            estimator,
            open_views(source, split=split),
            exact_motion_folder(source, split),
            limit=config.samples,
            looks=-(-config.pictures // len(sources)),
            device=device,
        )
        prefix = f"{source.name}_" if len(sources) > 1 else ""
        prefix = f"{number}_{prefix}" if names.count(source.name) > 1 else prefix
        found |= {prefix + name: value for name, value in scores.record().items() if value == value}
        looks += kept
    if picture is not None and looks:
        draw_motion(picture, looks)
    return found


def draw_motion(path: Path, looks: Sequence[MotionLook]) -> Path:
    """Write a sheet: image, flow, true flow, error, disparity, true disparity.

    Args:
        path: a PNG.
        looks: one row each.
    """
    rows = [_row(look) for look in looks]
    titles = [
        "image",
        "flow",
        "true flow",
        f"error, up to {LARGEST_ERROR:g} px",
        "disparity",
        "true disparity",
    ]
    return write_png(path, contact_sheet(rows, column_titles=titles))


def _row(look: MotionLook) -> list[Picture | None]:
    flow, disparity = look.motion.flow_forward[0], look.motion.disparity_0[0, 0]
    true_flow = true_disparity = error = None
    longest = float(flow.norm(dim=0).quantile(0.99))
    if look.true_flow is not None:
        longest = float(look.true_flow.nan_to_num().norm(dim=0).quantile(0.99))
        true_flow = flow_colours(look.true_flow, longest)
        wrong = (flow - look.true_flow).norm(dim=0).nan_to_num()
        error = scalar_colours(wrong, low=0.0, high=LARGEST_ERROR)
    largest = float(disparity.max())
    if look.true_disparity is not None:
        largest = float(look.true_disparity.max())
        true_disparity = disparity_colours(look.true_disparity[0], largest=largest)
    shown = disparity_colours(disparity, largest=largest)
    return [to_picture(look.image), flow_colours(flow, longest), true_flow, error, shown, true_disparity]
