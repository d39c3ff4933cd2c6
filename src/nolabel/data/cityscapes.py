"""Cityscapes: stereo video for motion (``*_sequence``, ``camera``) and its labelled images.

The same reader takes any data written in this layout: other image sizes, and clips shorter than 30 frames.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nolabel.data.clips import pairs_in, runs
from nolabel.data.files import examples, read_json
from nolabel.data.stereo import StereoPair, StereoVideoDataset
from nolabel.errors import DataError
from nolabel.structures import StereoCalibration

__all__ = ["CITYSCAPES_SOURCE", "CityscapesFrame", "CityscapesStereoVideo", "list_frames", "read_camera"]

CITYSCAPES_SOURCE = (
    "get leftImg8bit_sequence, rightImg8bit_sequence, camera and gtFine from https://www.cityscapes-dataset.com"
    " (registration) and unpack them into one folder"
)
SNIPPET = 30
"""Frames of an official snippet; several cities put all their snippets under one sequence number."""
_CAMERA_REACH = 20
_FRAMES_PER_SECOND = 17.0


@dataclass(frozen=True, order=True)
class CityscapesFrame:
    """One file ``<city>_<sequence>_<frame>_<kind>.<suffix>``."""

    city: str
    sequence: str
    number: int
    path: Path

    @property
    def key(self) -> tuple[str, str, int]:
        """What the files of one moment share."""
        return self.city, self.sequence, self.number


class CityscapesStereoVideo(StereoVideoDataset):
    """Cityscapes stereo video (spec cups_pseudo 2.1).

    ::

        root/leftImg8bit_sequence/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png
        root/rightImg8bit_sequence/<split>/<city>/<city>_<sequence>_<frame>_rightImg8bit.png
        root/camera/<split>/<city>/<city>_<sequence>_<frame>_camera.json

    Pairs are made inside snippets of 30 frames, or, where a sequence has another length, inside runs of
    frames without gaps. By default images are scaled by 0.625 and cropped to 640x1280.

    Args:
        root: the folder above.
        split: ``train``, ``val``, ...
        options: fields of :class:`~nolabel.data.stereo.StereoVideoOptions`.

    Raises:
        DataError: folders, right frames or camera files are missing.
        ConfigError: an unknown option or an impossible value.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "scale": 0.625,
        "crop": (640, 1280),
        "top_band": 0.05,
        "bottom_band": 0.2,
        "side_band": 96 / 2048,
    }

    def __init__(self, root: str | Path, split: str = "train", **options: Any) -> None:
        root = Path(root)
        chosen = self.make_options(options)
        left = list_frames(root, "leftImg8bit_sequence", split, "_leftImg8bit.png")
        right = {
            f.key: f.path for f in list_frames(root, "rightImg8bit_sequence", split, "_rightImg8bit.png")
        }
        cameras = _CameraFiles(list_frames(root, "camera", split, "_camera.json"))
        single = [frame.path.name for frame in left if frame.key not in right]
        if single:
            raise DataError(
                f"{root}: {len(single)} of {len(left)} left frames have no right frame: {examples(single)}",
                hint=CITYSCAPES_SOURCE,
            )
        pairs, lonely = [], []
        for piece in _pieces(left):
            for first, second in pairs_in(piece, chosen.stride):
                camera = cameras.nearest(first)
                if camera is None:
                    lonely.append(first.path.name)
                    continue
                pairs.append(
                    StereoPair(
                        first.path.stem, first.path, right[first.key], second.path, right[second.key], camera
                    )
                )
        if lonely:
            raise DataError(
                f"{root}: {len(lonely)} frames have no camera file of their sequence within {_CAMERA_REACH - 1} "
                f"frames: {examples(lonely)}",
                hint=CITYSCAPES_SOURCE,
            )
        super().__init__(root, pairs, read_camera, chosen)


def list_frames(root: Path, folder: str, split: str, suffix: str) -> list[CityscapesFrame]:
    """List the files of one kind and split, sorted by city, sequence and frame number.

    Raises:
        DataError: the folder is missing, empty, or holds files of another naming.
    """
    place = root / folder / split
    if not place.is_dir():
        there = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        raise DataError(
            f"there is no folder {place}" + (f" ({root} holds {examples(there, 6)})" if there else ""),
            hint=CITYSCAPES_SOURCE,
        )
    frames, strange = [], []
    for path in (path for city in place.iterdir() if city.is_dir() for path in city.iterdir()):
        if not path.name.endswith(suffix):
            continue
        parts = path.name.removesuffix(suffix).rsplit("_", 2)
        if len(parts) == 3 and parts[2].isdigit():
            frames.append(CityscapesFrame(parts[0], parts[1], int(parts[2]), path))
        else:
            strange.append(path.name)
    if strange:
        raise DataError(
            f"{place}: {len(strange)} files are not named <city>_<sequence>_<frame>{suffix}: {examples(strange)}"
        )
    if not frames:
        raise DataError(f"{place} holds no <city>/*{suffix}", hint=CITYSCAPES_SOURCE)
    return sorted(frames)


def read_camera(path: Path) -> StereoCalibration:
    """Read a Cityscapes camera file: ``intrinsic.{fx,fy,u0,v0}`` in pixels, ``extrinsic.baseline`` in metres.

    Raises:
        DataError: the file is missing or lacks a value.
    """
    content = read_json(path)
    try:
        inner, outer = content["intrinsic"], content["extrinsic"]
        fx, fy, cx, cy = (float(inner[key]) for key in ("fx", "fy", "u0", "v0"))
        baseline = float(outer["baseline"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} is no Cityscapes camera file: {type(error).__name__} {error}",
            hint="it needs intrinsic.fx, fy, u0, v0 and extrinsic.baseline",
        ) from None
    try:
        return StereoCalibration(fx=fx, fy=fy, cx=cx, cy=cy, baseline=baseline, fps=_FRAMES_PER_SECOND)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from None


def _pieces(frames: list[CityscapesFrame]) -> list[list[CityscapesFrame]]:
    clips: dict[tuple[str, str], list[CityscapesFrame]] = defaultdict(list)
    for frame in frames:
        clips[frame.city, frame.sequence].append(frame)
    pieces: list[list[CityscapesFrame]] = []
    for clip in clips.values():
        if len(clip) % SNIPPET == 0:
            pieces += [clip[i : i + SNIPPET] for i in range(0, len(clip), SNIPPET)]
        else:
            pieces += runs(clip, [frame.number for frame in clip])
    return pieces


class _CameraFiles:
    """Finds the camera file of a frame: the only one of its sequence, else the nearest in time."""

    def __init__(self, files: list[CityscapesFrame]) -> None:
        self._of_clip: dict[tuple[str, str], list[CityscapesFrame]] = defaultdict(list)
        for file in files:
            self._of_clip[file.city, file.sequence].append(file)

    def nearest(self, frame: CityscapesFrame) -> Path | None:
        found = self._of_clip.get((frame.city, frame.sequence), [])
        if len(found) == 1:
            return found[0].path
        place = bisect.bisect_left(found, frame.number, key=lambda file: file.number)
        near = min(
            found[max(0, place - 1) : place + 1], key=lambda f: abs(f.number - frame.number), default=None
        )
        if near is None or abs(near.number - frame.number) >= _CAMERA_REACH:
            return None
        return near.path
