"""Score a two-frame network on labelled video, with its files."""

from __future__ import annotations

import math
from pathlib import Path

from nolabel.data.domain_images import DataPart
from nolabel.methods.quadmix.video_data import open_evaluation
from nolabel.methods.quadmix.video_evaluate import VideoResult, score_video
from nolabel.methods.quadmix.video_flow import attach_flow
from nolabel.methods.quadmix.video_model import VideoModel
from nolabel.methods.quadmix.video_settings import FlowConfig, FramesConfig
from nolabel.structures.files import write_bytes, write_json

__all__ = ["evaluate_video"]


def evaluate_video(
    model: VideoModel,
    data: Path,
    flow_cache: Path,
    *,
    dataset: str | None = None,
    split: str = "val",
    flow: Path | None = None,
    estimator: str = "raft_large",
    out: Path | None = None,
    progress: bool = True,
) -> VideoResult:
    """Score a network by IoU and temporal consistency.

    Args:
        model: the network.
        data: labelled video in a known layout, with the two frames before every labelled one.
        flow_cache: where estimated flow is kept.
        dataset, split: layout and part of the data.
        flow: folder of flow files; estimated by default.
        estimator: of the flow.
        out: folder for ``results.json`` and ``scores.txt``.
        progress: show progress.

    Raises:
        DataError: frames, labels or flow are missing.
    """
    part = DataPart(root=data, dataset=dataset, split=split)
    clips = open_evaluation(part, model.space.name, FramesConfig(size=model.size), what="data")
    settings = FlowConfig(estimator=estimator)
    attach_flow(clips, flow, flow_cache, settings, what="frames", device=model.device, progress=progress)
    facts = {"model": None if model.source is None else str(model.source), **model.facts}
    result = score_video(model.network, clips, facts=facts, progress=progress)
    if out is not None:
        write_bytes(out / "scores.txt", (result.table() + "\n").encode())
        values = result.scores.values() | {"temporal_consistency": result.consistency}
        known = {name: None if math.isnan(value) else value for name, value in values.items()}
        write_json(out / "results.json", {**result.record(), **known})
    return result
