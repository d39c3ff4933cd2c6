"""Data sets over files in their official layouts and over everyone's own folders; see docs/data.md."""

from nolabel.data.cityscapes import CityscapesStereoVideo
from nolabel.data.folder import FolderImages, FolderStereoVideo
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.data.label_layouts import CityscapesPanoptic, open_labelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.stereo import StereoVideoDataset, StereoVideoOptions

__all__ = [
    "CityscapesPanoptic",
    "CityscapesStereoVideo",
    "FolderImages",
    "FolderStereoVideo",
    "KittiRawStereoVideo",
    "LabelledDataset",
    "StereoVideoDataset",
    "StereoVideoOptions",
    "open_labelled",
]
