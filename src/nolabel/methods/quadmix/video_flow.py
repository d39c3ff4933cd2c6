"""The motion of a training's clips: from files, or estimated once for all of them and kept.

Source: UDASS specification (video) 2.4.
"""

from __future__ import annotations

from pathlib import Path

import torch

from nolabel.data.flow_source import EstimatedFlow, FlowFiles, fill_cache
from nolabel.data.video_clips import VideoClips
from nolabel.data.video_layouts import VideoFrame
from nolabel.engine.motion_estimators import open_estimator
from nolabel.engine.progress import Progress
from nolabel.errors import DataError
from nolabel.methods.quadmix.video_settings import FlowConfig

__all__ = ["attach_flow"]


def attach_flow(
    clips: VideoClips,
    folder: Path | None,
    cache: Path,
    config: FlowConfig,
    *,
    what: str,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> None:
    """Give clips their flow; what no folder holds is estimated now, before a training waits for it.

    Args:
        clips: a data set; its ``flow`` is set.
        folder: with flow files; None: estimate.
        cache: where estimated flow is kept; what lies there is not estimated again.
        config: settings.
        what: of which domain, for the progress.
        device: where the estimator computes.
        progress: show progress.

    Raises:
        DataError: a flow file is missing in ``folder``.
    """
    pairs = [pair for index in range(len(clips)) for pair in clips.flow_pairs_of(index)]
    if folder is None and not _complete(cache, pairs, clips):
        source = EstimatedFlow(open_estimator(config.estimator, device), cache, device)
        with Progress(f"flow of the {what}", len(clips), unit="clips", enabled=progress) as bar:
            for _ in fill_cache(clips, source):
                bar.advance()
    files = FlowFiles(cache if folder is None else folder)
    files.check(pairs, clips.layout)
    clips.flow = files


def _complete(cache: Path, pairs: list[tuple[VideoFrame, VideoFrame]], clips: VideoClips) -> bool:
    if not cache.is_dir():
        return False
    try:
        FlowFiles(cache).check(pairs, clips.layout)
    except DataError:
        return False
    return True
