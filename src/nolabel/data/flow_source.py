"""Where the flow between two frames of a video comes from: files of any network, or an estimator with a cache.

Flow lies on the grid of the current frame and points into the reference: current(p) looks like reference(p + flow(p)).
Source: spec ``udass_video.md`` 2.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from nolabel.data.files import examples
from nolabel.data.motion_files import read_flow
from nolabel.data.video_layouts import VideoFrame, VideoLayout
from nolabel.errors import DataError
from nolabel.models.motion import MotionEstimator
from nolabel.structures.files import write_bytes
from nolabel.structures.flow_tenths import TENTHS, encode_tenths, tenths

if TYPE_CHECKING:
    from nolabel.data.video_clips import VideoClips

__all__ = ["EstimatedFlow", "FlowFiles", "FlowSource", "NoFlow", "fill_cache", "missing_flow"]

ENDINGS = (TENTHS, ".npy", ".flo", ".png")


class FlowSource(Protocol):
    """Flow between frames of a data set, in pixels of its own grid."""

    def check(self, pairs: Sequence[tuple[VideoFrame, VideoFrame]], layout: VideoLayout) -> None:
        """Raise DataError where flow that cannot be made is missing."""
        ...

    def read(self, current: VideoFrame, reference: VideoFrame, clips: VideoClips) -> Tensor:
        """Return the flow (2, h, w) from one frame to another."""
        ...


def missing_flow(
    folder: Path, pairs: Sequence[tuple[VideoFrame, VideoFrame]], layout: VideoLayout
) -> list[str]:
    """Return the stems of the flow files of pairs of frames that a folder lacks, sorted."""
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    stems = {layout.flow_name(*pair) for pair in pairs}
    return sorted(stem for stem in stems if not any(stem + ending in there for ending in ENDINGS))


class FlowFiles:
    """Flow of a folder, in the original's names: ``<current><reference>_int16_x10.npy`` as the layout writes it.

    ``.npy`` of floats, ``.flo`` and KITTI's ``.png`` are read as well; unknown flow is 0.

    Args:
        folder: where the files lie.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(f"there is no folder of flow {self.folder}", hint="estimate flow first")

    def check(self, pairs: Sequence[tuple[VideoFrame, VideoFrame]], layout: VideoLayout) -> None:
        """Raise DataError where a pair has no file."""
        missing = missing_flow(self.folder, pairs, layout)
        if missing:
            count = len({layout.flow_name(*pair) for pair in pairs})
            raise DataError(
                f"{self.folder} lacks {len(missing)} of {count} flow files: "
                f"{examples(stem + TENTHS for stem in missing)}",
                hint="estimate flow for this data set and interval, or let it be estimated while training",
            )

    def read(self, current: VideoFrame, reference: VideoFrame, clips: VideoClips) -> Tensor:
        """Return the flow (2, h, w) in pixels of the file's grid."""
        stem = clips.layout.flow_name(current, reference)
        for ending in ENDINGS:
            path = self.folder / (stem + ending)
            if path.is_file():
                return read_flow(path).nan_to_num(0.0)
        raise DataError(f"{self.folder} lacks the flow file {stem}{TENTHS}", hint="estimate flow first")


class EstimatedFlow:
    """Flow by an estimator, at the size of the clips' pictures.

    Args:
        estimator: see :func:`nolabel.models.motion.build_motion`.
        folder: keeps what was estimated, in the original's format and names, so that it is estimated once; None: every
            time anew. Flow is rounded to tenths of a pixel in both cases, so that the two agree.
        device: where the estimator computes.
    """

    def __init__(
        self,
        estimator: MotionEstimator,
        folder: str | Path | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.estimator, self.device = estimator, torch.device(device)
        self.folder = None if folder is None else Path(folder)

    def check(self, pairs: Sequence[tuple[VideoFrame, VideoFrame]], layout: VideoLayout) -> None:
        """Nothing can be missing."""

    @torch.no_grad()
    def read(self, current: VideoFrame, reference: VideoFrame, clips: VideoClips) -> Tensor:
        """Return the flow (2, H, W) from the cache, or estimate it."""
        path = None
        if self.folder is not None:
            path = self.folder / (clips.layout.flow_name(current, reference) + TENTHS)
            if path.is_file():
                return read_flow(path)
        first, second = (clips.read_frame(frame)[None].to(self.device) for frame in (current, reference))
        flow = self.estimator.flow(first, second)[0].float().cpu().nan_to_num(0.0)
        if path is not None:
            write_bytes(path, encode_tenths(flow))
        return tenths(flow)


class NoFlow:
    """Nothing moves: for pictures that do not follow each other, and as a baseline."""

    def check(self, pairs: Sequence[tuple[VideoFrame, VideoFrame]], layout: VideoLayout) -> None:
        """Nothing can be missing."""

    def read(self, current: VideoFrame, reference: VideoFrame, clips: VideoClips) -> Tensor:
        """Return zeros (2, H, W)."""
        return torch.zeros(2, *clips.read_frame(current).shape[-2:])


def fill_cache(clips: VideoClips, source: EstimatedFlow) -> Iterable[str]:
    """Estimate all flow that the clips need and the cache lacks, yielding the name of each clip as it is done."""
    for index, name in enumerate(clips.names):
        for current, reference in clips.flow_pairs_of(index):
            source.read(current, reference, clips)
        yield name
