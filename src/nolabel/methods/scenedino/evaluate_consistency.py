"""Do a model's features follow the scene from view to view? (spec ``scenedino.md`` 11.3)"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nolabel.data.posed_views import PosedSample
from nolabel.engine.progress import Progress
from nolabel.errors import DataError
from nolabel.methods.scenedino.evaluate_2d import Views
from nolabel.methods.scenedino.scene_model import SceneModel, spread
from nolabel.metrics import FeatureConsistency, FeatureConsistencyScores
from nolabel.models.motion import MotionEstimator

__all__ = ["evaluate_consistency"]


def evaluate_consistency(
    model: SceneModel,
    views: Views | Sequence[PosedSample],
    motion: MotionEstimator,
    *,
    limit: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> FeatureConsistencyScores:
    """Compare the features of the first two views of samples, each predicted from its own image.

    The published numbers compare frames three apart (open the data with ``step=3``) with RAFT's flow.

    Args:
        model: what is scored; it gives features.
        views: samples of at least two views of one camera.
        motion: optical flow between them.
        limit: compare this many samples, evenly spread.
        device: where images are put.
        progress: show progress on standard error.

    Raises:
        DataError: a sample has one view, or the model gives no features.
    """
    metric = FeatureConsistency()
    chosen = spread(len(views), limit)
    with Progress("comparing views", len(chosen), unit="pairs", enabled=progress) as bar:
        for index in chosen:
            sample = views[index]
            if len(sample.images) < 2:
                raise DataError(
                    f"{sample.name} has one view", hint="consistency needs two views of one camera"
                )
            images, matrices = sample.images[:2].to(device), sample.intrinsics[:2].to(device)
            with torch.no_grad():
                seen = [
                    model.view(image, matrix, features=True).features
                    for image, matrix in zip(images, matrices, strict=True)
                ]
                if seen[0] is None or seen[1] is None:
                    raise DataError("the model gives no features")
                flow = motion.flow(images[:1], images[1:]), motion.flow(images[1:], images[:1])
                metric.update(seen[0][None], seen[1][None], *flow)
            bar.advance()
    return metric.compute()
