"""Images to learn from without labels: everyone's own pictures and videos, or the training part of a data set."""

from __future__ import annotations

from pathlib import Path

from torchvision.transforms import v2

from nolabel.data.cityscapes import list_frames
from nolabel.data.clips import pairs_in
from nolabel.data.folder import FolderImages
from nolabel.data.kitti import KITTI_RAW_SOURCE, usable_clips
from nolabel.data.opening import find_layout, open_images
from nolabel.data.video import VideoFrames
from nolabel.errors import DataError

__all__ = ["open_unlabelled"]


def open_unlabelled(
    source: str | Path, *, split: str = "train", transform: v2.Transform | None = None
) -> FolderImages | VideoFrames:
    """Open the images of a folder, a video or a data set, without those that its evaluation needs.

    Cityscapes: all left frames of ``split`` (of ``leftImg8bit_sequence``, or of ``leftImg8bit`` where that is all there
    is). KITTI raw: the left frames of :class:`~nolabel.data.kitti.KittiRawStereoVideo`, that is without the
    surroundings of the validation frames; right frames and calibrations need not be there. Everything else as
    :func:`~nolabel.data.opening.open_images` opens it. Source: spec cups_model, 5.1 and 7.3.

    Raises:
        DataError: nothing that can be read is there.
    """
    root = Path(source)
    layout = find_layout(root)
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
    return open_images(root, transform)
