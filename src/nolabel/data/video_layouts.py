"""Video data sets: which frames there are, which of them are annotated, and what belongs to each.

Source: spec ``udass_video.md`` 2.1 to 2.4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from nolabel.data.cityscapes import CITYSCAPES_SOURCE, SNIPPET, list_frames
from nolabel.data.clips import frame_step, is_gap
from nolabel.data.files import examples, list_images, natural_key
from nolabel.data.folder import flat_name, stereo_clips
from nolabel.data.label_files import find_files, read_channels
from nolabel.data.labelled import IdMap, LabelledLayout, LabelledRecord
from nolabel.errors import DataError

__all__ = [
    "ANNOTATED_EVERY",
    "CAMVID_SEQUENCES",
    "VIDEO_LAYOUTS",
    "VIDEO_STILLS",
    "VideoFrame",
    "VideoLayout",
    "find_video_layout",
    "without_ego_vehicle",
]

_VIPER = (
    "get the images and the class labels of VIPER from https://playing-for-benchmarks.org (registration), the labels of "
    "the frames ending in 9 and in 0: train/img/<sequence>/*.jpg, train/cls/<sequence>/*.png"
)
_SYNTHIA_SEQ = (
    "get SYNTHIA-SEQS-04-DAWN from https://synthia-dataset.net and lay the pictures and labels of one camera into rgb/ "
    "and label/"
)
_FOLDER = "lay the frames into images/[clip/] and, where there are any, label maps of equal names into labels/[clip/]"
_CAMVID = (
    "lay the frames and labels of CamVid's SegNet version into images/<split>/<sequence>/ and labels/<split>/<sequence>/; "
    "its label maps have frames between them in one part alone (0016E5, 15 Hz)"
)
CAMVID_SEQUENCES = "*/[0-9][0-9][0-9][0-9][A-Z0-9][A-Z0-9]"
"""Pattern of CamVid's sequences (0001TP, 0016E5) below images/ or labels/."""
ANNOTATED_EVERY = 10
"""VIPER's benchmark takes every tenth frame."""
_CITYSCAPES_ANNOTATED = 19  # of the 30 frames of a snippet
EGO_VEHICLE = 24  # VIPER's raw id of cars


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video data set.

    Attributes:
        name: unique, safe as a file name stem.
        clip: frames of one clip follow each other by number.
        number: position in time; consecutive frames differ by 1.
        image: the picture.
        label: its map of raw ids, where it has one.
    """

    name: str
    clip: str
    number: int
    image: Path
    label: Path | None = None


@dataclass(frozen=True)
class VideoLayout:
    """What the reader has to know about a video data set's files.

    Attributes:
        name: of the data set.
        table: raw-id table, see :func:`nolabel.labels.raw_table`.
        space: default label space.
        frames: lists all frames of a root and split; raises DataError where there are none.
        annotated: the frames of those that are samples where no list says so.
        read_label: reads a map of raw ids.
        size: (height, width) to which the published systems resize pictures; None: as stored.
        bottom: rows cut off below after resizing.
        flow_name: stem of the flow file from one frame to another.
        ego_vehicle: raw id of which the part at the middle of the lowest row is the recording car, to be void.
        source: where to get it.
        whole_only: annotated frames that lack a frame before them (beginnings, gaps) are no samples; elsewhere they are
            an error, for the benchmark has them.
    """

    name: str
    table: str
    space: str
    frames: Callable[[Path, str], list[VideoFrame]]
    annotated: Callable[[list[VideoFrame]], list[VideoFrame]]
    read_label: Callable[[Path], IdMap]
    size: tuple[int, int] | None
    bottom: int
    flow_name: Callable[[VideoFrame, VideoFrame], str]
    source: str
    ego_vehicle: int | None = None
    whole_only: bool = False


def find_video_layout(root: str | Path) -> str:
    """Tell which of :data:`VIDEO_LAYOUTS` a folder has.

    Raises:
        DataError: none of them.
    """
    root = Path(root)
    if (root / "leftImg8bit_sequence").is_dir():
        return "cityscapes_seq"
    if any(root.glob("*/img/*")):
        return "viper"
    if _synthia_folder(root) is not None:
        return "synthia_seq"
    if any(root.glob(f"labels/{CAMVID_SEQUENCES}")):
        return "camvid"
    if (root / "images").is_dir():
        return "folder"
    there = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    raise DataError(
        f"{root} holds no video in a known layout"
        + (f" (it holds {examples(there, 6)})" if there else " (it is missing or empty)"),
        hint=f"known: {', '.join(VIDEO_LAYOUTS)}; own frames: {_FOLDER}",
    )


def without_ego_vehicle(raw: IdMap, vehicle: int) -> IdMap:
    """Return raw ids (H, W) with 0 for the recording car.

    Args:
        raw: ids at the size at which they are used.
        vehicle: id of cars; the connected part (8 neighbours) that holds the middle of the lowest row is taken out.
    """
    row, column = raw.shape[0] - 1, raw.shape[1] // 2
    if raw[row, column] != vehicle:
        return raw
    _, parts = cv2.connectedComponents((raw == vehicle).astype(np.uint8), connectivity=8)
    return np.where(parts == parts[row, column], 0, raw)


# --- where the files lie ---------------------------------------------------------------------------------


def _labels_below(folder: Path, pattern: str, ending: str) -> dict[str, Path]:
    return {path.name.removesuffix(ending): path for path in folder.glob(pattern)}


def _viper_frames(root: Path, split: str) -> list[VideoFrame]:
    images = find_files(root, f"{split}/img/*/*.jpg", _VIPER)
    labels = _labels_below(root / split / "cls", "*/*.png", ".png")
    frames = []
    for image in images:
        sequence, _, number = image.stem.rpartition("_")
        if not (sequence and number.isdigit()):
            raise DataError(f"{image} is not named <sequence>_<frame>.jpg", hint=_VIPER)
        frames.append(VideoFrame(image.stem, sequence, int(number), image, labels.get(image.stem)))
    return frames


def _synthia_folder(root: Path) -> Path | None:
    places = [root, *sorted(path for path in root.glob("SEQS-*") if path.is_dir())]
    return next((path for path in places if (path / "rgb").is_dir()), None)


def _synthia_frames(root: Path, split: str) -> list[VideoFrame]:
    folder = _synthia_folder(root) or root
    images = find_files(folder, "rgb/*.png", _SYNTHIA_SEQ)
    labels = _labels_below(folder / "label", "*.png", ".png")
    strange = [image.name for image in images if not image.stem.isdigit()]
    if strange:
        raise DataError(f"{folder}/rgb: not named <frame>.png: {examples(strange)}", hint=_SYNTHIA_SEQ)
    return [
        VideoFrame(image.stem, folder.name, int(image.stem), image, labels.get(image.stem))
        for image in images
    ]


def _cityscapes_frames(root: Path, split: str) -> list[VideoFrame]:
    ending = "_gtFine_labelIds.png"
    labels = _labels_below(root / "gtFine" / split, f"*/*{ending}", ending)
    return [
        VideoFrame(
            frame.path.stem,
            f"{frame.city}_{frame.sequence}",
            frame.number,
            frame.path,
            labels.get(frame.path.stem.removesuffix("_leftImg8bit")),
        )
        for frame in list_frames(root, "leftImg8bit_sequence", split, "_leftImg8bit.png")
    ]


def _folder_frames(root: Path, split: str) -> list[VideoFrame]:
    """Frames are counted by their place in the clip; a missing frame number leaves a gap."""
    pictures, maps = (root / kind / split for kind in ("images", "labels"))
    pictures, maps = (place if place.is_dir() else place.parent for place in (pictures, maps))
    images = {path.relative_to(pictures).with_suffix("").as_posix(): path for path in list_images(pictures)}
    labels = {path.relative_to(maps).with_suffix("").as_posix(): path for path in list_images(maps)}
    if not images:
        raise DataError(f"{pictures} holds no images", hint=_FOLDER)
    frames = []
    for clip, (names, numbers) in stereo_clips(images).items():
        for name, place in zip(names, _places(numbers), strict=True):
            stem = flat_name(images[name], pictures)
            frames.append(VideoFrame(stem, clip, place, images[name], labels.get(name)))
    return frames


def _places(numbers: list[int | None]) -> list[int]:
    step = frame_step(numbers)
    places = list(range(len(numbers)))
    if step is None:
        return places
    known = [number for number in numbers if number is not None]
    gaps = np.cumsum([0, *(is_gap(before, after, step) for before, after in pairwise(known))])
    return [place + int(gap) for place, gap in zip(places, gaps, strict=True)]


# --- which frames are samples ----------------------------------------------------------------------------


def _followers(frames: list[VideoFrame]) -> list[VideoFrame]:
    """The frames whose predecessor is there."""
    there = {(frame.clip, frame.number) for frame in frames}
    return [frame for frame in frames if (frame.clip, frame.number - 1) in there]


def _every_tenth(frames: list[VideoFrame]) -> list[VideoFrame]:
    return [frame for frame in _followers(frames) if frame.number % ANNOTATED_EVERY == 0]


def _annotated(frames: list[VideoFrame]) -> list[VideoFrame]:
    """The labelled frames; where labels are not there, those that are labelled in official snippets."""
    labelled = [frame for frame in frames if frame.label is not None]
    if labelled:
        return labelled
    clips: dict[str, list[VideoFrame]] = defaultdict(list)
    for frame in frames:
        clips[frame.clip].append(frame)
    return [
        frame
        for clip in clips.values()
        for place, frame in enumerate(sorted(clip, key=lambda frame: frame.number))
        if place % SNIPPET == _CITYSCAPES_ANNOTATED
    ]


def _labelled_or_all(frames: list[VideoFrame]) -> list[VideoFrame]:
    followers = _followers(frames)
    return [frame for frame in followers if frame.label is not None] or followers


# --- how the files are coded -----------------------------------------------------------------------------


def _read_classes(path: Path) -> IdMap:
    return read_channels(path, 1)


def _read_red(path: Path) -> IdMap:
    return read_channels(path, 3)[..., 0]


def _name_of_pair(current: VideoFrame, reference: VideoFrame) -> str:
    return f"{current.name.removesuffix('_leftImg8bit')}_{reference.number:06d}"


_CITYSCAPES_SIZE = (512, 1024)

VIDEO_LAYOUTS: dict[str, VideoLayout] = {
    "viper": VideoLayout(
        "viper",
        "viper",
        "viper_15",
        _viper_frames,
        _every_tenth,
        _read_classes,
        (720, 1280),
        0,
        lambda current, reference: f"{current.name}{reference.number:05d}",
        _VIPER,
        EGO_VEHICLE,
    ),
    "synthia_seq": VideoLayout(
        "synthia_seq",
        "synthia_seq",
        "synthia_seq_12",
        _synthia_frames,
        _followers,
        _read_red,
        (760, 1280),
        120,
        lambda current, reference: current.name,
        _SYNTHIA_SEQ,
    ),
    "cityscapes_seq": VideoLayout(
        "cityscapes_seq",
        "cityscapes",
        "viper_15",
        _cityscapes_frames,
        _annotated,
        _read_classes,
        _CITYSCAPES_SIZE,
        0,
        _name_of_pair,
        CITYSCAPES_SOURCE,
    ),
    "folder": VideoLayout(
        "folder",
        "cityscapes_train_ids",
        "cityscapes_19",
        _folder_frames,
        _labelled_or_all,
        _read_classes,
        None,
        0,
        _name_of_pair,
        _FOLDER,
        whole_only=True,
    ),
    "camvid": VideoLayout(
        "camvid",
        "camvid",
        "camvid_11",
        _folder_frames,
        _labelled_or_all,
        _read_classes,
        None,
        0,
        _name_of_pair,
        _CAMVID,
        whole_only=True,
    ),
}
"""Name -> layout of every video data set."""


def _stills(layout: VideoLayout) -> LabelledLayout:
    """The labelled frames one by one."""

    def records(root: Path, split: str) -> list[LabelledRecord]:
        frames: Iterable[VideoFrame] = layout.frames(root, split)
        found = [LabelledRecord(f.name, f.image, f.label) for f in frames if f.label is not None]
        if not found:
            raise DataError(f"{root} holds no labelled frames of split {split!r}", hint=layout.source)
        return sorted(found, key=lambda record: natural_key(record.name))

    return LabelledLayout(
        layout.table,
        records,
        lambda record: _decode_still(layout, record),
        None,
        "centre",
        layout.space,
        layout.source,
    )


def _decode_still(layout: VideoLayout, record: LabelledRecord) -> tuple[IdMap, IdMap]:
    raw = layout.read_label(record.label)
    if layout.ego_vehicle is not None:
        raw = without_ego_vehicle(raw, layout.ego_vehicle)
    return raw, np.zeros_like(raw)


VIDEO_STILLS = {name: _stills(VIDEO_LAYOUTS[name]) for name in ("viper", "synthia_seq")}
"""Layouts of the synthetic sets' labelled frames as single images."""
