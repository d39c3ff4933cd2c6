"""Cameras, warps, flow and disparity, rigid motions, rays and voxel grids: pure functions on tensors.

Everything is batched, differentiable where that makes sense, works on every device, and computes in float32 or
float64: half-precision inputs are brought up.
"""

from nolabel.geometry.cameras import FisheyeCamera, PinholeCamera
from nolabel.geometry.census import census_difference, census_transform
from nolabel.geometry.fisheye import (
    fisheye_grid,
    normalised_fisheye,
    pixel_fisheye,
    project_fisheye_normalised,
    sample_fisheye,
)
from nolabel.geometry.flow import (
    depth_from_disparity,
    disparity_as_flow,
    disparity_from_depth,
    flip_flow,
    forward_backward_visible,
    resize_flow,
    scene_flow,
)
from nolabel.geometry.homography import move_points
from nolabel.geometry.normalised import normalised_intrinsics, pixel_intrinsics, project_normalised
from nolabel.geometry.occlusion import range_map
from nolabel.geometry.rays import camera_rays, depth_from_distance, distance_from_depth
from nolabel.geometry.rigid import (
    compose,
    fit_rigid,
    from_rotation_translation,
    invert,
    se3_exp,
    se3_log,
    transform,
)
from nolabel.geometry.voxels import VoxelGrid, regular_points
from nolabel.geometry.warp import backward_warp, pixel_grid, sample

__all__ = [
    "FisheyeCamera",
    "PinholeCamera",
    "VoxelGrid",
    "backward_warp",
    "camera_rays",
    "census_difference",
    "census_transform",
    "compose",
    "depth_from_disparity",
    "depth_from_distance",
    "disparity_as_flow",
    "disparity_from_depth",
    "distance_from_depth",
    "fisheye_grid",
    "fit_rigid",
    "flip_flow",
    "forward_backward_visible",
    "from_rotation_translation",
    "invert",
    "move_points",
    "normalised_fisheye",
    "normalised_intrinsics",
    "pixel_fisheye",
    "pixel_grid",
    "pixel_intrinsics",
    "project_fisheye_normalised",
    "project_normalised",
    "range_map",
    "regular_points",
    "resize_flow",
    "sample",
    "sample_fisheye",
    "scene_flow",
    "se3_exp",
    "se3_log",
    "transform",
]
