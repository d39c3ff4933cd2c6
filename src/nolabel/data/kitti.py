"""KITTI raw as stereo video (spec cups_pseudo 2.2)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from nolabel.data.clips import pairs_in
from nolabel.data.files import examples, natural_key
from nolabel.data.stereo import StereoPair, StereoVideoDataset
from nolabel.errors import DataError
from nolabel.structures import StereoCalibration

__all__ = ["KITTI_RAW_SOURCE", "KittiRawStereoVideo", "excluded", "read_kitti_calibration", "usable_clips"]

KITTI_RAW_SOURCE = (
    "get the synced+rectified drives and their calibration from https://www.cvlibs.net/datasets/kitti/raw_data.php "
    "(registration): <date>/<drive>_sync/image_02, image_03 and <date>/calib_cam_to_cam.txt"
)
_VALIDATION_REACH = 5
_FRAMES_PER_SECOND = 10.0


class KittiRawStereoVideo(StereoVideoDataset):
    """KITTI raw, without static drives and without the surroundings of KITTI's panoptic validation frames.

    ::

        root/<date>/<date>_drive_<nnnn>_sync/image_02/data/<10 digits>.png     left
        root/<date>/<date>_drive_<nnnn>_sync/image_03/data/<10 digits>.png     right
        root/<date>/calib_cam_to_cam.txt

    By default frames become their top-left 368x1104 part, as published.

    Args:
        root: the folder above.
        options: fields of :class:`~nolabel.data.stereo.StereoVideoOptions`.

    Raises:
        DataError: drives, right frames or calibration files are missing.
        ConfigError: an unknown option or an impossible value.
    """

    defaults: ClassVar[dict[str, Any]] = {
        "crop": (368, 1104),
        "crop_place": "top_left",
        "top_band": 0.05,
        "bottom_band": 0.2,
    }

    def __init__(self, root: str | Path, **options: Any) -> None:
        root = Path(root)
        chosen = self.make_options(options)
        pairs, missing = [], []
        for clip, left, pieces in usable_clips(root):
            folder = clip / "image_03" / "data"
            there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            missing += [folder / path.name for path in left if path.name not in there]
            calibration = clip.parent / "calib_cam_to_cam.txt"
            if left and not calibration.is_file():
                missing.append(calibration)
            for piece in pieces:
                for first, second in pairs_in(piece, chosen.stride):
                    name = f"{clip.name}_{first.stem}"
                    right = folder / first.name, folder / second.name
                    pairs.append(StereoPair(name, first, right[0], second, right[1], calibration))
        if missing:
            raise DataError(
                f"{root}: {len(missing)} files are missing: {examples(p.relative_to(root) for p in missing)}",
                hint=KITTI_RAW_SOURCE,
            )
        if not pairs:
            raise DataError(f"{root} holds no usable <date>/*_sync drive", hint=KITTI_RAW_SOURCE)
        super().__init__(root, pairs, read_kitti_calibration, chosen)


def usable_clips(root: Path) -> Iterator[tuple[Path, list[Path], list[list[Path]]]]:
    """Yield the drives that are not left out: folder, left frames, and the pieces of these between held-out frames."""
    drives, held_out = excluded()
    for clip in sorted(root.glob("*/*_sync")):
        if clip.name.removesuffix("_sync") not in drives:
            left = sorted((clip / "image_02" / "data").glob("*.png"), key=natural_key)
            yield clip, left, _without_surroundings(left, held_out.get(clip.name, frozenset()))


def read_kitti_calibration(path: Path) -> StereoCalibration:
    """Read the rectified colour cameras of ``calib_cam_to_cam.txt``: baseline = P2[3]/P2[0] - P3[3]/P3[0].

    Raises:
        DataError: the file is missing or lacks a projection.
    """
    try:
        lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
        second, third = ([float(v) for v in lines[key].split()] for key in ("P_rect_02", "P_rect_03"))
        baseline = second[3] / second[0] - third[3] / third[0]
        fx, fy, cx, cy = second[0], second[5], second[2], second[6]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", hint=KITTI_RAW_SOURCE) from None
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"{path} is no KITTI camera calibration: {type(error).__name__} {error}",
            hint="it needs lines P_rect_02 and P_rect_03 of twelve numbers each",
        ) from None
    try:
        return StereoCalibration(fx=fx, fy=fy, cx=cx, cy=cy, baseline=baseline, fps=_FRAMES_PER_SECOND)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", hint=error.hint) from None


@cache
def excluded() -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    """Return the drives left out, and the validation frames' file names by clip folder."""
    content = json.loads((resources.files("nolabel.data") / "kitti_lists.json").read_text())
    frames: dict[str, set[str]] = defaultdict(set)
    for entry in content["panoptic_validation_frames"]:
        _, clip, *_, name = entry.split("/")
        frames[clip].add(name)
    return frozenset(content["ignored_drives"]), {clip: frozenset(names) for clip, names in frames.items()}


def _without_surroundings(frames: list[Path], held_out: frozenset[str]) -> list[list[Path]]:
    """Cut [i - 5, i + 5) around every held-out frame i; the pieces between the cuts keep their order."""
    taken = {
        near
        for index, path in enumerate(frames)
        if path.name in held_out
        for near in range(index - _VALIDATION_REACH, index + _VALIDATION_REACH)
    }
    pieces: list[list[Path]] = [[]]
    for index, path in enumerate(frames):
        if index not in taken:
            pieces[-1].append(path)
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]
