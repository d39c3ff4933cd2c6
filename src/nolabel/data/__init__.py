"""Data sets over files in their official layouts and over everyone's own folders; see docs/data.md."""

from nolabel.data.any_image import to_image
from nolabel.data.cityscapes import CityscapesStereoVideo
from nolabel.data.doctor_run import DoctorReport, Finding, doctor
from nolabel.data.files import read_image
from nolabel.data.folder import FolderImages, FolderStereoVideo
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.data.known import KnownDataset, catalogue, found_in
from nolabel.data.label_layouts import LAYOUTS, CityscapesPanoptic, open_labelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.labelled_opening import LABELLED, find_labelled, open_labels
from nolabel.data.opening import find_layout, open_images, open_stereo_video
from nolabel.data.own_labels import CocoPanoptic, FolderLabelled
from nolabel.data.semantic_layouts import ListedLabelled, read_list
from nolabel.data.stereo import StereoVideoDataset, StereoVideoOptions
from nolabel.data.unlabelled import open_unlabelled
from nolabel.data.video import VideoFrames
from nolabel.data.waymo import WaymoScene, convert_waymo, convert_waymo_scene, waymo_records

__all__ = [
    "LABELLED",
    "LAYOUTS",
    "CityscapesPanoptic",
    "CityscapesStereoVideo",
    "CocoPanoptic",
    "DoctorReport",
    "Finding",
    "FolderImages",
    "FolderLabelled",
    "FolderStereoVideo",
    "KittiRawStereoVideo",
    "KnownDataset",
    "LabelledDataset",
    "ListedLabelled",
    "StereoVideoDataset",
    "StereoVideoOptions",
    "VideoFrames",
    "WaymoScene",
    "catalogue",
    "convert_waymo",
    "convert_waymo_scene",
    "doctor",
    "find_labelled",
    "find_layout",
    "found_in",
    "open_images",
    "open_labelled",
    "open_labels",
    "open_stereo_video",
    "open_unlabelled",
    "read_image",
    "read_list",
    "to_image",
    "waymo_records",
]
