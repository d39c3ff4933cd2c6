"""The samples of a training on video: a labelled source clip in the colours of a target clip, and that target clip.

Source: UDASS specification (video) 2.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from nolabel.data.colour_transfer import match_histograms
from nolabel.data.domain_images import DataPart
from nolabel.data.video_clips import SOURCE_OFFSETS, VideoClips, target_offsets
from nolabel.engine.seeding import generator_of
from nolabel.errors import ConfigError
from nolabel.geometry import resize_flow
from nolabel.methods.quadmix.clip import Clip
from nolabel.methods.quadmix.video_iteration import TargetClips
from nolabel.methods.quadmix.video_settings import FramesConfig, VideoConfig
from nolabel.structures import ClipSample

__all__ = [
    "JoinedClips",
    "VideoPair",
    "VideoPairs",
    "collate_pairs",
    "open_evaluation",
    "open_source",
    "open_target",
    "target_flows",
]


class VideoPair(NamedTuple):
    """A source and a target clip; as a batch with a first axis B.

    Attributes:
        frames: (2, 3, H, W) RGB in [0, 1] of the source.
        labels: (2, H, W) int64, 255 void; (1, H, W), of the first frame alone, where nothing is mixed.
        flow: (2, H, W) from the first of them to the second.
        target: (4, 3, h, w), see :class:`~nolabel.methods.quadmix.video_iteration.TargetClips`; None without one.
        target_flow: (2, h, w) each.
    """

    frames: Tensor
    labels: Tensor
    flow: Tensor
    target: Tensor | None
    target_flow: dict[str, Tensor]

    def source(self) -> Clip:
        """Return the source of a batch."""
        return Clip(self.frames, self.labels, flow=self.flow[:, None])

    def target_clips(self) -> TargetClips | None:
        """Return the target of a batch."""
        return None if self.target is None else TargetClips(self.target, self.target_flow)


def collate_pairs(samples: list[VideoPair]) -> VideoPair:
    """Make a batch."""
    frames, labels, flow, target, target_flow = zip(*samples, strict=True)
    return VideoPair(
        torch.stack(frames),
        torch.stack(labels),
        torch.stack(flow),
        None if target[0] is None else torch.stack(target),
        default_collate(list(target_flow)),
    )


class JoinedClips(Sequence[ClipSample]):
    """One or several video data sets in a row; also the frames that patches are cut out of."""

    def __init__(self, parts: Sequence[VideoClips]) -> None:
        self.parts = list(parts)
        self.ends = list(accumulate(len(part) for part in self.parts))
        self.names = [name for part in self.parts for name in part.names]

    @property
    def identity(self) -> str:
        """A hash of its clips' names and of what their labels mean."""
        digest = hashlib.sha256("\n".join(self.names).encode())
        for part in self.parts:
            digest.update(part.table.tobytes() + part.space.name.encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> ClipSample:  # type: ignore[override]
        part, place = self._place(index)
        return part[place]

    def labels(self, index: int) -> Tensor:
        """Return the classes (H, W) uint8 of a clip's current frame."""
        part, place = self._place(index)
        return part.read_labels(place)

    def image(self, index: int) -> Tensor:
        """Return the picture (3, H, W) uint8 of a clip's current frame."""
        part, place = self._place(index)
        return part.read_frame_bytes(part.clips[place][0])

    def _place(self, index: int) -> tuple[VideoClips, int]:
        which = bisect_right(self.ends, index)
        return self.parts[which], index - (self.ends[which - 1] if which else 0)


class VideoPairs(Dataset[VideoPair]):
    """As many samples as a training takes; each depends on nothing but the seed and its index.

    Args:
        source: labelled clips with flow.
        target: clips to adapt to, with the flow of :func:`target_flows`; None: the source alone.
        config: settings.
        count: number of samples: steps, times batch, times processes.
    """

    def __init__(
        self, source: JoinedClips, target: JoinedClips | None, config: VideoConfig, count: int
    ) -> None:
        self.source, self.target, self.config, self.count = source, target, config, count
        self.names = list(target_flows(config))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> VideoPair:
        sample = self.source[self._drawn("source clip", index, len(self.source))]
        frames = torch.as_tensor(sample["frames"])
        flow = self._fitted(sample["flow"], frames)[0]
        labels = torch.as_tensor(sample["labels"]).long()
        if self.target is None:
            return VideoPair(frames, labels, flow, None, {})
        clip = self.target[self._drawn("target clip", index, len(self.target))]
        target = torch.as_tensor(clip["frames"])
        if self.config.match_colours:
            frames = torch.stack([match_histograms(frame, target[0]) for frame in frames])
        flows = dict(zip(self.names, self._fitted(clip["flow"], target), strict=True))
        flows.setdefault("db", flows["dc"])
        return VideoPair(frames, labels, flow, target, flows)

    def _drawn(self, what: str, index: int, count: int) -> int:
        """Return the place of sample ``index`` in an endless stream of shuffled passes over ``count`` clips."""
        turn, place = divmod(index, count)
        return int(torch.randperm(count, generator=generator_of(self.config.fit.seed, what, turn))[place])

    def _fitted(self, flow: Tensor, frames: Tensor) -> Tensor:
        """Bring flow (n, 2, h, w) to the size of frames (..., H, W)."""
        size = (frames.shape[-2], frames.shape[-1])
        flow = torch.as_tensor(flow)
        return (
            flow if tuple(flow.shape[-2:]) == size else resize_flow(flow, size, self.config.reference_compat)
        )


def target_flows(config: VideoConfig) -> dict[str, tuple[int, int]]:
    """Return between which frames of a target clip (d, c, b, a) a training needs flow: places by name.

    With an interval of 1 frames c and b are one, so that ``db`` is ``dc``.
    """
    pairs = {"dc": (0, 1), "ba": (2, 3)}
    if config.class_vectors is not None and config.class_vectors.both_pairs:
        pairs["da"] = (0, 3)
    if config.temporal is not None and config.temporal.interval > 1:
        pairs |= {"db": (0, 2), "cb": (1, 2)}
    return pairs


def open_source(config: VideoConfig) -> JoinedClips:
    """Open the labelled clips, without flow yet. Only mixing needs the labels of their key frames.

    Raises:
        ConfigError: a root is not given.
        DataError: files are missing.
    """
    labelled = 1 if config.mixing is None or config.temporal is None else 2
    return JoinedClips(
        [
            _open(part, config, config.source_frames, "source", SOURCE_OFFSETS, [(0, 1)], labelled=labelled)
            for part in config.source
        ]
    )


def open_target(config: VideoConfig) -> JoinedClips | None:
    """Open the clips to adapt to; None where the training uses none."""
    if config.temporal is None and not config.match_colours:
        return None
    offsets = target_offsets(1 if config.temporal is None else config.temporal.interval)
    pairs = list(target_flows(config).values())
    frames = config.target_frames
    return JoinedClips([_open(part, config, frames, "target", offsets, pairs) for part in config.target])


def open_evaluation(
    part: DataPart, space: str, frames: FramesConfig, *, what: str = "validation"
) -> VideoClips:
    """Open labelled frames with the two before them; labels have their own size."""
    config = VideoConfig(space=space)
    return _open(part, config, frames, what, (0, -1, -2), [(0, 1), (1, 2)], labelled=1, native=True)


def _open(
    part: DataPart,
    config: VideoConfig,
    frames: FramesConfig,
    what: str,
    offsets: Sequence[int],
    pairs: Sequence[tuple[int, int]],
    *,
    labelled: int = 0,
    native: bool = False,
) -> VideoClips:
    if part.root is None:
        raise ConfigError(
            f"no folder of the {what} is given", hint=f"--{what.replace('validation', 'validate')} FOLDER"
        )
    return VideoClips(
        part.root,
        part.dataset,
        part.split or ("val" if native else "train"),
        offsets=offsets,
        labelled=labelled,
        flow_pairs=pairs,
        entries=frames.entries,
        space=config.space,
        size=frames.size,
        bottom=frames.bottom,
        native_labels=native,
    )
