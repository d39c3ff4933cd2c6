"""Which layout a folder has, and opening it without saying so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torchvision.transforms import v2

from nolabel.data.cityscapes import CityscapesStereoVideo
from nolabel.data.files import VIDEO_SUFFIXES, examples, list_images
from nolabel.data.folder import STEREO_HELP, FolderImages, FolderStereoVideo
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.data.own_labels import find_coco
from nolabel.data.stereo import StereoVideoDataset
from nolabel.data.video import VideoFrames
from nolabel.data.video_layouts import CAMVID_SEQUENCES
from nolabel.errors import ConfigError, DataError
from nolabel.structures import StereoCalibration

__all__ = ["CAMVID_SEQUENCES", "Layout", "find_layout", "open_images", "open_stereo_video"]

Layout = Literal[
    "cityscapes", "kitti360", "rig", "kitti_raw", "stereo", "labelled", "camvid", "coco", "video", "images"
]


def find_layout(root: str | Path) -> Layout:
    """Tell a folder's or file's layout by the names in it.

    Raises:
        DataError: nothing is there, or nothing that is known.
    """
    root = Path(root)
    if root.is_file():
        return "video" if root.suffix.lower() in VIDEO_SUFFIXES else "images"
    if not root.is_dir():
        raise DataError(f"there is no file or folder {root}", hint="check the path")
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    if folders & {"leftImg8bit_sequence", "leftImg8bit", "gtFine"}:
        return "cityscapes"
    if "data_2d_raw" in folders:
        return "kitti360"
    if (root / "rig.yaml").is_file():
        return "rig"
    if any(root.glob("*/*_sync")):
        return "kitti_raw"
    if folders & {"left", "right"}:
        return "stereo"
    if any(root.glob(f"labels/{CAMVID_SEQUENCES}")) or any(f"{name}annot" in folders for name in folders):
        return "camvid"
    if {"images", "labels"} <= folders:
        return "labelled"
    if find_coco(root) is not None:
        return "coco"
    videos = [path for path in root.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        raise DataError(
            f"{root} is a folder of videos: {examples(p.name for p in videos)}", hint="name one of the files"
        )
    if next(iter(list_images(root)), None) is None:
        raise DataError(f"{root} holds no images in any known layout", hint="see `nolabel datasets`")
    return "images"


def open_stereo_video(
    root: str | Path,
    *,
    split: str = "train",
    calibration: str | Path | StereoCalibration | None = None,
    **options: Any,
) -> StereoVideoDataset:
    """Open stereo video in whichever layout it has: Cityscapes, KITTI raw, or left/ right/ calibration.yaml.

    Args:
        root: the folder.
        split: for Cityscapes.
        calibration: file or values, for folders without a calibration.yaml.
        options: fields of :class:`~nolabel.data.stereo.StereoVideoOptions`; each layout has its own defaults.

    Raises:
        DataError: the folder is no stereo video, or files are missing.
        ConfigError: an unknown option, or a calibration for a layout that brings its own.
    """
    layout = find_layout(root)
    if layout == "stereo":
        return FolderStereoVideo(root, calibration, **options)
    if layout in {"images", "video"}:
        raise DataError(
            f"{root} holds one view only; moving objects are found from stereo video",
            hint="with one camera, predict with a network that was trained on stereo footage; otherwise "
            + STEREO_HELP,
        )
    if layout not in {"cityscapes", "kitti_raw"}:
        raise DataError(f"{root} is no stereo video (it looks like: {layout})", hint=STEREO_HELP)
    if calibration is not None:
        raise ConfigError(
            f"{root} is in the {layout} layout, which brings its own calibration",
            hint="leave `calibration` out",
        )
    if layout == "cityscapes":
        return CityscapesStereoVideo(root, split, **options)
    return KittiRawStereoVideo(root, **options)


def open_images(
    source: str | Path | Sequence[str | Path], transform: v2.Transform | None = None
) -> FolderImages | VideoFrames:
    """Open pictures: an image, a video, several files, or a folder (of a data set: its camera images only).

    Raises:
        DataError: nothing that can be read is there.
    """
    if not isinstance(source, str | Path):
        return FolderImages(source, transform)
    root = Path(source)
    layout = find_layout(root)
    if layout == "video":
        return VideoFrames(root, transform)
    if layout == "coco":
        found = find_coco(root)
        assert found is not None
        return FolderImages(found[1], transform)
    places = {
        "cityscapes": ("leftImg8bit_sequence", "leftImg8bit"),
        "stereo": ("left",),
        "labelled": ("images",),
        "camvid": ("images",),
    }
    inner = next((root / name for name in places.get(layout, ()) if (root / name).is_dir()), root)
    if layout == "kitti_raw":
        return FolderImages([path for path in list_images(root) if "image_02" in path.parts], transform)
    if layout == "kitti360":
        left = [path for path in list_images(root / "data_2d_raw") if "image_00" in path.parts]
        published = [path for path in left if path.parent.name == "data_rect"]
        return FolderImages(published or left, transform)
    if layout == "camvid" and inner == root:
        pictures = [path for path in list_images(root) if not path.parent.name.endswith("annot")]
        return FolderImages(pictures, transform)
    return FolderImages(inner, transform)
