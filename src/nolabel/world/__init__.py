"""A procedural driving world: two image domains from one scene graph, with exact truth for all that is estimated."""

from nolabel.world.parts import Material, Shape, Trajectory
from nolabel.world.render import Renderer, Rig, WorldFrame, render
from nolabel.world.scenes import Layout, Scene, Weather, generate_scene
from nolabel.world.styles import STYLES, Style
from nolabel.world.truth import (
    StereoVideoTruth,
    exact_flow,
    frame_points,
    instance_motions,
    relate,
    render_stereo_video,
    rigid_motions,
)
from nolabel.world.voxels import voxel_labels
from nolabel.world.writers import WorldSettings, write_cityscapes, write_folder, write_world

__all__ = [
    "STYLES",
    "Layout",
    "Material",
    "Renderer",
    "Rig",
    "Scene",
    "Shape",
    "StereoVideoTruth",
    "Style",
    "Trajectory",
    "Weather",
    "WorldFrame",
    "WorldSettings",
    "exact_flow",
    "frame_points",
    "generate_scene",
    "instance_motions",
    "relate",
    "render",
    "render_stereo_video",
    "rigid_motions",
    "voxel_labels",
    "write_cityscapes",
    "write_folder",
    "write_world",
]
