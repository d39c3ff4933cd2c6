"""Clips of a video data set: a frame, earlier frames, their labels and the flow between them.

Source: spec ``udass_video.md`` 2.1 to 2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from nolabel.data.files import examples, read_image_bytes
from nolabel.data.flow_source import FlowSource
from nolabel.data.labelled import find_space, look_up
from nolabel.data.resizing import resize_image, resize_labels
from nolabel.data.video_layouts import VIDEO_LAYOUTS, VideoFrame, find_video_layout, without_ego_vehicle
from nolabel.errors import ConfigError, DataError
from nolabel.labels import LabelSpace, raw_table
from nolabel.structures import ClipSample

__all__ = ["SOURCE_OFFSETS", "TARGET_FLOWS", "VideoClips", "target_offsets"]

SOURCE_OFFSETS = (0, -1)
"""Frames of a source clip: the current and the key frame."""
TARGET_FLOWS = ((0, 1), (0, 2), (0, 3), (2, 3))
"""Pairs of a target clip (d, c, b, a) between which flow is needed: d to c, d to b, d to a, b to a."""


def target_offsets(interval: int = 1) -> tuple[int, ...]:
    """Return the frames (d, c, b, a) of a target clip: t, t - 1, t - interval, t - interval - 1."""
    if interval < 1:
        raise ConfigError(f"interval={interval} must be at least 1", hint="1 is what UDASS trains with")
    return (0, -1, -interval, -interval - 1)


class VideoClips(Dataset[ClipSample]):
    """Clips in one of the layouts of :data:`~nolabel.data.video_layouts.VIDEO_LAYOUTS`.

    Args:
        root: the data set's folder.
        dataset: the layout; found by looking by default.
        split: as the data set calls it.
        offsets: frames of a clip relative to its first one, which the clip is named after.
        labelled: that many leading frames come with labels.
        flow: where flow comes from; None: samples have none.
        flow_pairs: places in ``offsets``: flow goes from the first of a pair to the second, on the grid of the first.
        entries: text file that lists the clips (``001/001_00010.jpg``); by default those of the benchmark.
        space: label space or its name; the layout's by default.
        size: (height, width) to resize pictures (bicubic) and labels (nearest) to; ``"published"`` is the layout's;
            None: as stored.
        bottom: rows cut off below after resizing; by default the layout's, with its published size only.
        native_labels: leave labels as stored, neither resized nor cut, as evaluation needs them.

    Raises:
        DataError: frames, labels or flow files of the clips are missing.
        ConfigError: the layout or the space is unknown.
    """

    def __init__(
        self,
        root: str | Path,
        dataset: str | None = None,
        split: str = "train",
        *,
        offsets: Sequence[int] = SOURCE_OFFSETS,
        labelled: int = 0,
        flow: FlowSource | None = None,
        flow_pairs: Sequence[tuple[int, int]] = ((0, 1),),
        entries: str | Path | None = None,
        space: LabelSpace | str | None = None,
        size: tuple[int, int] | Literal["published"] | None = "published",
        bottom: int | None = None,
        native_labels: bool = False,
    ) -> None:
        self.root, self.split = Path(root), split
        name = dataset if dataset is not None else find_video_layout(self.root)
        if name not in VIDEO_LAYOUTS:
            raise ConfigError(
                f"no video data set is called {name!r}", hint=f"known: {', '.join(VIDEO_LAYOUTS)}"
            )
        self.layout = layout = VIDEO_LAYOUTS[name]
        self.space = find_space(space if space is not None else layout.space)
        self.table = raw_table(layout.table, self.space)
        self.size = layout.size if size == "published" else size
        self.bottom = (layout.bottom if size == "published" else 0) if bottom is None else bottom
        self.labelled, self.native_labels = labelled, native_labels
        self.flow, self.flow_pairs = flow, tuple(flow_pairs)
        frames = layout.frames(self.root, split)
        chosen = layout.annotated(frames) if entries is None else self._listed(frames, Path(entries))
        if not chosen:
            raise DataError(
                f"{self.root} holds no annotated frame with a frame before it (split {split!r})",
                hint=layout.source,
            )
        if layout.whole_only and entries is None:
            chosen = self._whole(frames, chosen, tuple(offsets))
        self.clips = self._complete(frames, chosen, tuple(offsets))
        if flow is not None:
            flow.check([(clip[i], clip[j]) for clip in self.clips for i, j in self.flow_pairs], layout)

    def _listed(self, frames: list[VideoFrame], entries: Path) -> list[VideoFrame]:
        try:
            wanted = [Path(line.strip()).stem for line in entries.read_text().splitlines() if line.strip()]
        except OSError as error:
            raise DataError(f"cannot read the list {entries}: {error.strerror}") from error
        by_name = {frame.name: frame for frame in frames}
        missing = [name for name in wanted if name not in by_name]
        if missing or not wanted:
            raise DataError(
                f"{entries} lists {len(wanted)} frames, of which {self.root} lacks {len(missing)}: {examples(missing)}",
                hint=self.layout.source,
            )
        return [by_name[name] for name in wanted]

    def _whole(
        self, frames: list[VideoFrame], chosen: list[VideoFrame], offsets: tuple[int, ...]
    ) -> list[VideoFrame]:
        there = {(frame.clip, frame.number) for frame in frames}
        whole = [f for f in chosen if all((f.clip, f.number + offset) in there for offset in offsets)]
        if not whole:
            raise DataError(
                f"{self.root}: none of {len(chosen)} frames (split {self.split!r}) has all of the frames around it that "
                f"a sample needs: {', '.join(f'{offset:+d}' for offset in sorted(set(offsets)) if offset)}",
                hint=self.layout.source,
            )
        return whole

    def _complete(
        self, frames: list[VideoFrame], chosen: list[VideoFrame], offsets: tuple[int, ...]
    ) -> list[list[VideoFrame]]:
        there = {(frame.clip, frame.number): frame for frame in frames}
        clips = [[there.get((first.clip, first.number + offset)) for offset in offsets] for first in chosen]
        missing = [
            f"{first.name} {offset:+d}"
            for first, clip in zip(chosen, clips, strict=True)
            for offset, frame in zip(offsets, clip, strict=True)
            if frame is None
        ]
        if missing:
            raise DataError(
                f"{self.root}: {len(missing)} frames before (or after) the {len(chosen)} chosen ones are missing: "
                f"{examples(missing)}",
                hint=self.layout.source,
            )
        whole = [[frame for frame in clip if frame is not None] for clip in clips]
        unlabelled = [frame.name for clip in whole for frame in clip[: self.labelled] if frame.label is None]
        if unlabelled:
            raise DataError(
                f"{self.root}: {len(unlabelled)} of {len(whole) * self.labelled} frames have no label map: "
                f"{examples(unlabelled)}",
                hint=self.layout.source,
            )
        return whole

    @property
    def names(self) -> list[str]:
        """The samples' names, in order: those of their first frames."""
        return [clip[0].name for clip in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> ClipSample:
        clip = self.clips[index]
        read: dict[str, Tensor] = {}  # with an interval of 1 two of the four frames are the same
        for frame in clip:
            if frame.name not in read:
                read[frame.name] = self.read_frame(frame)
        try:
            frames = torch.stack([read[frame.name] for frame in clip])
        except RuntimeError:
            raise DataError(f"the frames around {clip[0].image} differ in size") from None
        sample: ClipSample = {"name": clip[0].name, "frames": tv_tensors.Image(frames)}
        if self.labelled:
            maps = [self._labels(frame).long() for frame in clip[: self.labelled]]
            sample["labels"] = tv_tensors.Mask(torch.stack(maps))
        if self.flow is not None:
            flows = [self.flow.read(clip[i], clip[j], self) for i, j in self.flow_pairs]
            sample["flow"] = torch.stack(flows)
        return sample

    def read_frame(self, frame: VideoFrame) -> Tensor:
        """Return a picture (3, H, W) in [0, 1], resized and cut."""
        return self.read_frame_bytes(frame).float() / 255

    def read_frame_bytes(self, frame: VideoFrame) -> Tensor:
        """Return a picture (3, H, W) uint8, resized and cut."""
        image = read_image_bytes(frame.image)
        if self.size is not None:
            image = resize_image(image, self.size, "bicubic")
        return image[..., : image.shape[-2] - self.bottom, :]

    def read_labels(self, index: int) -> Tensor:
        """Return the classes (H, W) uint8 of a sample's first frame as samples have them, without reading its image."""
        frame = self.clips[index][0]
        if frame.label is None:
            raise DataError(f"{frame.image} has no label map", hint=self.layout.source)
        return self._labels(frame)

    def _labels(self, frame: VideoFrame) -> Tensor:
        assert frame.label is not None
        raw = self.layout.read_label(frame.label)
        if self.size is not None and not self.native_labels:
            raw = resize_labels(torch.from_numpy(raw), self.size).numpy()
        if self.layout.ego_vehicle is not None:
            raw = without_ego_vehicle(raw, self.layout.ego_vehicle)
        labels = torch.from_numpy(np.ascontiguousarray(look_up(self.table, raw)))
        return labels if self.native_labels else labels[: len(labels) - self.bottom]

    def flow_pairs_of(self, index: int) -> list[tuple[VideoFrame, VideoFrame]]:
        """Return the pairs of frames between which a sample needs flow."""
        clip = self.clips[index]
        return [(clip[i], clip[j]) for i, j in self.flow_pairs]

    def __repr__(self) -> str:
        facts: dict[str, Any] = {"clips": len(self), "layout": self.layout.name, "split": self.split}
        return f"VideoClips({self.root}, " + ", ".join(f"{k}={v}" for k, v in facts.items()) + ")"
