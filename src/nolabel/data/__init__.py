"""Data sets over files in their official layouts and over everyone's own folders; see docs/data.md."""

from nolabel.data.cityscapes import CityscapesStereoVideo
from nolabel.data.files import read_image
from nolabel.data.folder import FolderImages, FolderStereoVideo
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.data.label_layouts import LAYOUTS, CityscapesPanoptic, open_labelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.opening import find_layout, open_images, open_stereo_video
from nolabel.data.own_labels import CocoPanoptic, FolderLabelled
from nolabel.data.stereo import StereoVideoDataset, StereoVideoOptions
from nolabel.data.video import VideoFrames

__all__ = [
    "LAYOUTS",
    "CityscapesPanoptic",
    "CityscapesStereoVideo",
    "CocoPanoptic",
    "FolderImages",
    "FolderLabelled",
    "FolderStereoVideo",
    "KittiRawStereoVideo",
    "LabelledDataset",
    "StereoVideoDataset",
    "StereoVideoOptions",
    "VideoFrames",
    "find_layout",
    "open_images",
    "open_labelled",
    "open_stereo_video",
    "read_image",
]
