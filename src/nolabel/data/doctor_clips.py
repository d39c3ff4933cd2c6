"""Checks of one camera's video with labels: the frames before each sample, label maps, sizes, flow files."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np

from nolabel.data.doctor_report import Request
from nolabel.data.flow_source import missing_flow
from nolabel.data.motion_files import read_flow
from nolabel.data.video_layouts import ANNOTATED_EVERY, VIDEO_LAYOUTS, VideoFrame, VideoLayout
from nolabel.errors import DataError
from nolabel.structures.flow_tenths import TENTHS

__all__ = ["check_clips"]

LARGEST_ID = {"viper": 31, "synthia_seq": 15, "cityscapes_seq": 33, "folder": 18, "camvid": 11}
VOID_IDS = (-1, 255)
SAME_SHAPE = 0.02  # flow files may be smaller than the frames, and round their sides


def check_clips(request: Request, name: str, split: str, flow: Path | None = None) -> None:
    """Check a video data set as trainings use it.

    Args:
        request: where and how.
        name: of :data:`~nolabel.data.video_layouts.VIDEO_LAYOUTS`.
        split: part of the data set.
        flow: folder of flow files; by default ``flow/<split>`` where the data set has it.
    """
    layout = VIDEO_LAYOUTS[name]
    frames = layout.frames(request.path, split)
    clips = {frame.clip for frame in frames}
    request.facts.update({"split": split, "clips": len(clips), "frames": len(frames)})
    samples = _check_neighbours(request, layout, frames)
    request.facts["samples"] = len(samples)
    sizes = _check_sizes(request, frames)
    _check_maps(request, layout, [f for f in frames if f.label is not None], sizes)
    there = request.path / "flow" / split
    folder = flow if flow is not None else there if there.is_dir() else None
    if folder is not None:
        _check_flow(request, layout, folder, samples)


def _check_neighbours(
    request: Request, layout: VideoLayout, frames: list[VideoFrame]
) -> list[tuple[VideoFrame, VideoFrame]]:
    """Return the samples with the frame before them; note what benchmarks have and this folder has not."""
    there = {(frame.clip, frame.number): frame for frame in frames}
    wanted = layout.annotated(frames)
    if layout.name == "viper":  # a frame without its predecessor is silently no sample when it is opened
        wanted = [frame for frame in frames if frame.number % ANNOTATED_EVERY == 0]
    pairs, alone = [], []
    for frame in wanted:
        before = there.get((frame.clip, frame.number - 1))
        if before is None:
            alone.append(request.shown(frame.image))
        else:
            pairs.append((frame, before))
    kind = "frames at the beginning of a clip" if layout.whole_only else "frames without the one before"
    request.findings.add(kind, *alone)
    if not pairs:
        request.findings.add("clips without a pair", request.shown(frames[0].image))
    if layout.name in ("viper", "synthia_seq"):
        unlabelled = [request.shown(frame.image) for frame, _ in pairs if frame.label is None]
        request.findings.add("frames without label map", *unlabelled, remedy=layout.source)
        keys = [request.shown(before.image) for _, before in pairs if before.label is None]
        request.findings.add("key frames without label map", *keys)
    return pairs


def _check_sizes(request: Request, frames: list[VideoFrame]) -> dict[str, tuple[int, int]]:
    """Decode some frames; return the size of each."""
    sizes: dict[str, tuple[int, int]] = {}
    of_clip: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for frame in request.some(frames):
        size = request.size(frame.image)
        if size is None:
            continue
        sizes[frame.name] = size
        if of_clip[frame.clip] and size not in of_clip[frame.clip]:
            request.findings.add(
                "images of another size", f"{request.shown(frame.image)}: {size[0]}x{size[1]}"
            )
        of_clip[frame.clip].add(size)
    found = sorted(set(sizes.values()))
    request.facts["size"] = ", ".join(f"{height}x{width}" for height, width in found)
    return sizes


def _check_maps(
    request: Request,
    layout: VideoLayout,
    labelled: list[VideoFrame],
    sizes: dict[str, tuple[int, int]],
) -> None:
    request.facts["labelled frames"] = len(labelled)
    unknown: dict[int, str] = {}
    for frame in request.some(labelled):
        assert frame.label is not None
        shown = request.shown(frame.label)
        try:
            raw = layout.read_label(frame.label)
        except DataError as error:
            request.findings.add("unreadable files", error.message)
            continue
        size = sizes.get(frame.name)
        if size is not None and raw.shape != size:
            request.findings.add("labels of another size", f"{shown}: {raw.shape}, {size}")
        for number in np.unique(raw):
            if number not in VOID_IDS and not 0 <= number <= LARGEST_ID[layout.name]:
                unknown.setdefault(int(number), shown)
    found = (f"{number} (first in {place})" for number, place in sorted(unknown.items()))
    request.findings.add("unknown label ids", *found)


def _check_flow(
    request: Request, layout: VideoLayout, folder: Path, pairs: list[tuple[VideoFrame, VideoFrame]]
) -> None:
    """Check the flow of every sample to the frame before it."""
    missing = set(missing_flow(folder, pairs, layout))
    request.findings.add("missing flow files", *sorted(stem + TENTHS for stem in missing))
    complete = [pair for pair in pairs if layout.flow_name(*pair) not in missing]
    request.facts["flow files"] = len(complete)
    for pair in request.some(complete):
        stem = layout.flow_name(*pair)
        path = next(folder.glob(f"{stem}*"))
        size = request.size(pair[0].image)
        try:
            flow = read_flow(path)
        except DataError:
            request.findings.add("unreadable files", request.shown(path))
            continue
        height, width = flow.shape[-2:]
        if size is not None and abs(height * size[1] / (width * size[0]) - 1) > SAME_SHAPE:
            request.findings.add("flow of another shape", f"{request.shown(path)}: {height}x{width}")
