"""Images to learn from without labels: everyone's own pictures and videos, or the training part of a data set."""

from __future__ import annotations

from pathlib import Path

from torchvision.transforms import v2

from nolabel.data.cityscapes import list_frames
from nolabel.data.clips import pairs_in
from nolabel.data.files import IMAGE_SUFFIXES, natural_key
from nolabel.data.folder import FolderImages
from nolabel.data.kitti import KITTI_RAW_SOURCE, usable_clips
from nolabel.data.label_layouts import LAYOUTS
from nolabel.data.opening import CAMVID_SEQUENCES, find_layout, open_images
from nolabel.data.semantic_layouts import MAPILLARY_SPLITS, read_list
from nolabel.data.video import VideoFrames
from nolabel.errors import ConfigError, DataError

__all__ = ["UNLABELLED", "open_unlabelled"]

# Where the pictures of a split lie; of several places the first that holds any counts.
_PICTURES = {
    "gta5": ("images/*.png",),
    "synthia": ("RGB/*.png",),
    "synscapes": ("img/rgb/*.png",),
    "mapillary": ("{split}/images/*.jpg",),
    "bdd_semantic": ("images/10k/{split}/*.jpg", "seg/images/{split}/*.jpg"),
    "acdc": ("rgb_anon/*/{split}/**/*_rgb_anon.png", "rgb_anon/{split}/**/*_rgb_anon.png"),
    "dark_zurich": ("rgb_anon/{split}/night/**/*_rgb_anon.png",),
    "camvid": ("images/{split}/**/*.*", "{split}/*.png"),
    "folder": ("images/{split}/**/*.*", "images/**/*.*"),
}
# What only this layout has. ACDC has fog; the pictures of GTA5 look like anyone's.
_SIGNS = {
    "synthia": ("RGB",),
    "synscapes": ("img/rgb",),
    "mapillary": ("training/images",),
    "bdd_semantic": ("images/10k", "seg/images"),
    "acdc": ("rgb_anon/fog", "rgb_anon/*/fog"),
    "dark_zurich": ("rgb_anon/*/twilight",),
    "camvid": ("*annot", f"images/{CAMVID_SEQUENCES}"),
    "folder": ("images",),
}
UNLABELLED = ("cityscapes", "kitti_raw", *_PICTURES, "images")
"""Names of the layouts that :func:`open_unlabelled` knows; ``images`` is any folder, list or video."""


def open_unlabelled(
    source: str | Path,
    dataset: str | None = None,
    *,
    split: str = "train",
    transform: v2.Transform | None = None,
) -> FolderImages | VideoFrames:
    """Open the images of a folder, a list, a video or a data set, without those that its evaluation needs.

    Cityscapes: all left frames of ``split`` (of ``leftImg8bit_sequence``, or of ``leftImg8bit`` where that is all there
    is). KITTI raw: the left frames of :class:`~nolabel.data.kitti.KittiRawStereoVideo`, that is without the
    surroundings of the validation frames; right frames and calibrations need not be there. Dark Zurich: the nights.
    ACDC: all conditions. A part of a data set (one condition, one sequence) is opened by the path of its folder. A text
    file is a list with one path a line. Everything else as :func:`~nolabel.data.opening.open_images` opens it. Source:
    spec cups_model, 5.1 and 7.3; semseg_metrics_and_datasets, 3.

    Args:
        source: the folder or file.
        dataset: one of ``UNLABELLED``; found by looking by default.
        split: of data sets that have splits.
        transform: applied to each sample.

    Raises:
        ConfigError: no such layout.
        DataError: nothing that can be read is there; the hint says where to get the data set.
    """
    root = Path(source)
    if dataset is not None and dataset not in UNLABELLED:
        raise ConfigError(
            f"no layout of images is called {dataset!r}", hint=f"known: {', '.join(UNLABELLED)}"
        )
    if root.is_file() and root.suffix.lower() == ".txt":
        return FolderImages(read_list(root), transform)
    layout = dataset or _layout_of(root)
    if layout == "cityscapes":
        folders = ("leftImg8bit_sequence", "leftImg8bit")
        folder = next((name for name in folders if (root / name).is_dir()), folders[0])
        frames = list_frames(root, folder, split, "_leftImg8bit.png")
        return FolderImages([frame.path for frame in frames], transform)
    if layout == "kitti_raw":
        pieces = [piece for _, _, clip in usable_clips(root) for piece in clip]
        # As published: the first frame of each pair, so the last one of a piece is left out.
        usable = [first for piece in pieces for first, _ in pairs_in(piece, 1)]
        if not usable:
            raise DataError(f"{root} holds no usable <date>/*_sync drive", hint=KITTI_RAW_SOURCE)
        return FolderImages(usable, transform)
    if layout in _PICTURES:
        return FolderImages(_pictures(root, layout, split), transform)
    return open_images(root, transform)


def _layout_of(root: Path) -> str:
    for name, signs in _SIGNS.items():
        if root.is_dir() and any(next(root.glob(sign), None) is not None for sign in signs):
            return name
    return find_layout(root)


def _pictures(root: Path, layout: str, split: str) -> list[Path]:
    """List the pictures of a split, naturally sorted."""
    split = MAPILLARY_SPLITS.get(split, split) if layout == "mapillary" else split
    patterns = [pattern.format(split=split) for pattern in _PICTURES[layout]]
    for pattern in patterns:
        found = [path for path in root.glob(pattern) if path.suffix.lower() in IMAGE_SUFFIXES]
        if found:
            return sorted(found, key=natural_key)
    source = LAYOUTS[layout].source if layout in LAYOUTS else "lay the pictures into images/"
    raise DataError(f"{root} holds no {' nor '.join(patterns)}", hint=source)
