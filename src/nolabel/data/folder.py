"""Everyone's own data: folders of images, images with label maps, stereo video with a calibration file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch.utils.data import Dataset
from torchvision.transforms import v2

from nolabel.data.clips import clips_of, pairs_in, runs
from nolabel.data.files import IMAGE_SUFFIXES, examples, list_images, read_image
from nolabel.data.stereo import StereoPair, StereoVideoDataset
from nolabel.errors import DataError
from nolabel.structures import ImageSample, StereoCalibration

__all__ = [
    "FolderImages",
    "FolderStereoVideo",
    "find_calibration",
    "flat_name",
    "stereo_clips",
    "stereo_frames",
]

STEREO_HELP = (
    "lay the views into left/ and right/ with equal file names (one subfolder for each clip, if there are several) "
    "and fx, fy, cx, cy (pixels), baseline (metres), fps into calibration.yaml"
)


class FolderImages(Dataset[ImageSample]):
    """Images of a folder and its subfolders, in natural order; or given files.

    Args:
        source: a folder, one image file, or a sequence of files.
        transform: applied to each sample.

    Raises:
        DataError: nothing is there.
    """

    def __init__(
        self, source: str | Path | Sequence[str | Path], transform: v2.Transform | None = None
    ) -> None:
        if isinstance(source, str | Path):
            root = Path(source)
            if not root.exists():
                raise DataError(f"there is no file or folder {root}", hint="check the path")
            self.paths = list_images(root) if root.is_dir() else [root]
            base = root if root.is_dir() else root.parent
        else:
            self.paths = [Path(path) for path in source]
            # Files from several folders: their stems are the names unless two are equal.
            unique = len({path.stem for path in self.paths}) == len(self.paths)
            base = Path(os.path.commonpath([path.parent for path in self.paths])) if not unique else Path()
        if not self.paths:
            raise DataError(
                f"{source} holds no images", hint=f"known kinds: {', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        names = [path.stem if base == Path() else flat_name(path, base) for path in self.paths]
        self.names = _unique(names, self.paths)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImageSample:
        sample: ImageSample = {"name": self.names[index], "image": read_image(self.paths[index])}
        if self.transform is not None:
            sample = self.transform(sample)
        return sample


class FolderStereoVideo(StereoVideoDataset):
    """Own stereo video (rectified).

    ::

        root/left/[clip/]<frame>.png
        root/right/[clip/]<frame>.png
        root/calibration.yaml                fx, fy, cx, cy (pixels), baseline (metres), fps

    Frames are sorted naturally; two consecutive ones make a pair, but never across a missing frame number. Clips may
    also lie in one folder and differ in the text before the number (``a_00, a_01, b_00``).

    Args:
        root: the folder above.
        calibration: another calibration file, or the values; for folders that cannot be written to.
        options: fields of :class:`~nolabel.data.stereo.StereoVideoOptions`.

    Raises:
        DataError: a folder, partner frames or the calibration are missing.
        ConfigError: an unknown option or an impossible value.
    """

    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, root: str | Path, calibration: str | Path | StereoCalibration | None = None, **options: Any
    ) -> None:
        root = Path(root)
        chosen = self.make_options(options)
        left, right = stereo_frames(root)
        for side, other, frames, partners in (("left", "right", left, right), ("right", "left", right, left)):
            single = [name for name in frames if name not in partners]
            if single:
                raise DataError(
                    f"{root}: {len(single)} of {len(frames)} {side} frames have no {other} frame: {examples(single)}",
                    hint="add the missing frames or take their partners away; " + STEREO_HELP,
                )
        values = find_calibration(root, calibration)
        pairs = [
            StereoPair(
                first.replace("/", "_"), left[first], right[first], left[second], right[second], values
            )
            for names, numbers in stereo_clips(left).values()
            for piece in runs(names, numbers)
            for first, second in pairs_in(piece, chosen.stride)
        ]
        super().__init__(root, pairs, StereoCalibration.from_yaml, chosen)


def stereo_frames(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """List left and right frames by their path below ``left/`` and ``right/`` without suffix, in natural order.

    Raises:
        DataError: a folder is missing or empty.
    """
    sides = []
    for side in ("left", "right"):
        folder = root / side
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}", hint=STEREO_HELP)
        frames = {path.relative_to(folder).with_suffix("").as_posix(): path for path in list_images(folder)}
        if not frames:
            raise DataError(f"{folder} holds no images", hint=STEREO_HELP)
        sides.append(frames)
    return sides[0], sides[1]


def stereo_clips(names: Iterable[str]) -> dict[str, tuple[list[str], list[int | None]]]:
    """Group frame names (``folder/stem``) into clips: by folder, and inside one by the text before the number.

    Returns:
        clip -> (names, frame numbers), in order.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folders[name.rpartition("/")[0]].append(name)
    clips = {}
    for folder, inside in folders.items():
        for prefix, places, numbers in clips_of([name.rpartition("/")[2] for name in inside]):
            clips[f"{folder}/{prefix}".strip("/_") or "left"] = ([inside[place] for place in places], numbers)
    return clips


def find_calibration(
    root: Path, calibration: str | Path | StereoCalibration | None = None
) -> StereoCalibration:
    """Return the given calibration, or that of a given file, or that of ``root/calibration.yaml``.

    Raises:
        DataError: there is none, or it is wrong.
    """
    if isinstance(calibration, StereoCalibration):
        return calibration
    path = root / "calibration.yaml" if calibration is None else Path(calibration)
    if not path.is_file():
        raise DataError(
            f"there is no calibration file {path}",
            hint="write one (fx, fy, cx, cy in pixels, baseline in metres, fps); it may lie elsewhere: "
            "give its path as `calibration`",
        )
    return StereoCalibration.from_yaml(path)


def flat_name(path: Path, root: Path) -> str:
    """Name a file by its path below ``root`` without suffix, folders joined by ``_``: usable as a file name."""
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return "_".join(relative.with_suffix("").parts)


def _unique(names: list[str], paths: Sequence[Path]) -> list[str]:
    """Where ``a.png`` and ``a.jpg`` share a name, keep their suffixes; ids for what still collides."""
    seen: dict[str, int] = defaultdict(int)
    for name in names:
        seen[name] += 1
    kept = [
        name if seen[name] == 1 else f"{name}_{path.suffix[1:].lower()}"
        for name, path in zip(names, paths, strict=True)
    ]
    if len(set(kept)) < len(kept):
        kept = [f"{index:06d}_{name}" for index, name in enumerate(kept)]
    return kept
