"""Data sets over files in their official layouts and over everyone's own folders; see docs/data.md."""

from nolabel.data.any_image import to_image
from nolabel.data.cityscapes import CityscapesStereoVideo
from nolabel.data.class_mapping import ClassMapping, read_mapping
from nolabel.data.class_statistics import class_statistics
from nolabel.data.doctor_run import DoctorReport, Finding, doctor
from nolabel.data.domains import JoinedLabelled, LabelledEntry, UnlabelledEntry, open_domain
from nolabel.data.driving_views import DrivingViews
from nolabel.data.files import read_image
from nolabel.data.flow_source import EstimatedFlow, FlowFiles, FlowSource, NoFlow, fill_cache
from nolabel.data.folder import FolderImages, FolderStereoVideo
from nolabel.data.kitti import KittiRawStereoVideo
from nolabel.data.kitti360 import Kitti360Views
from nolabel.data.known import KnownDataset, catalogue, found_in
from nolabel.data.label_layouts import LAYOUTS, CityscapesPanoptic, open_labelled
from nolabel.data.labelled import LabelledDataset
from nolabel.data.labelled_opening import LABELLED, find_labelled, open_labels
from nolabel.data.opening import find_layout, open_images, open_stereo_video
from nolabel.data.own_labels import CocoPanoptic, FolderLabelled
from nolabel.data.posed_opening import POSED, open_posed_views
from nolabel.data.posed_views import PosedBatch, PosedSample, collate_posed
from nolabel.data.realestate import RealEstateViews
from nolabel.data.rig_folder import RigFolderViews
from nolabel.data.sampling import ClassStatistics
from nolabel.data.semantic_layouts import ListedLabelled, read_list
from nolabel.data.sscbench import SscbenchFrames, SscFrame
from nolabel.data.stereo import StereoVideoDataset, StereoVideoOptions
from nolabel.data.unlabelled import UNLABELLED, open_unlabelled
from nolabel.data.video import VideoFrames
from nolabel.data.video_clips import SOURCE_OFFSETS, TARGET_FLOWS, VideoClips, target_offsets
from nolabel.data.video_layouts import VIDEO_LAYOUTS, VideoFrame, find_video_layout
from nolabel.data.waymo import WaymoScene, convert_waymo, convert_waymo_scene, waymo_records

__all__ = [
    "LABELLED",
    "LAYOUTS",
    "POSED",
    "SOURCE_OFFSETS",
    "TARGET_FLOWS",
    "UNLABELLED",
    "VIDEO_LAYOUTS",
    "CityscapesPanoptic",
    "CityscapesStereoVideo",
    "ClassMapping",
    "ClassStatistics",
    "CocoPanoptic",
    "DoctorReport",
    "DrivingViews",
    "EstimatedFlow",
    "Finding",
    "FlowFiles",
    "FlowSource",
    "FolderImages",
    "FolderLabelled",
    "FolderStereoVideo",
    "JoinedLabelled",
    "Kitti360Views",
    "KittiRawStereoVideo",
    "KnownDataset",
    "LabelledDataset",
    "LabelledEntry",
    "ListedLabelled",
    "NoFlow",
    "PosedBatch",
    "PosedSample",
    "RealEstateViews",
    "RigFolderViews",
    "SscFrame",
    "SscbenchFrames",
    "StereoVideoDataset",
    "StereoVideoOptions",
    "UnlabelledEntry",
    "VideoClips",
    "VideoFrame",
    "VideoFrames",
    "WaymoScene",
    "catalogue",
    "class_statistics",
    "collate_posed",
    "convert_waymo",
    "convert_waymo_scene",
    "doctor",
    "fill_cache",
    "find_labelled",
    "find_layout",
    "find_video_layout",
    "found_in",
    "open_domain",
    "open_images",
    "open_labelled",
    "open_labels",
    "open_posed_views",
    "open_stereo_video",
    "open_unlabelled",
    "read_image",
    "read_list",
    "read_mapping",
    "target_offsets",
    "to_image",
    "waymo_records",
]
