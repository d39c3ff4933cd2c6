"""SceneDINO's cameras, rays and grids (golden scenedino)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.geometry import (
    camera_rays,
    depth_from_distance,
    distance_from_depth,
    fisheye_grid,
    invert,
    normalised_fisheye,
    normalised_intrinsics,
    pixel_fisheye,
    pixel_intrinsics,
    project_fisheye_normalised,
    project_normalised,
    regular_points,
    sample_fisheye,
    transform,
)
from nolabel.metrics.completion import ssc_field_of_view, ssc_voxel_centres

pytestmark = pytest.mark.golden
EDGES = 0.5  # the originals' pixel coordinates begin at the edge of the image


def case(path):
    return [
        {
            name: torch.from_numpy(np.asarray(values))
            for name, values in load_npz(path / f"{part}.npz").items()
        }
        for part in ("input", "output")
    ]


def close(ours, recorded, tolerance):
    recorded = recorded.double()
    assert ours.shape == recorded.shape
    assert float((ours.double() - recorded).abs().max()) <= tolerance * float(recorded.abs().max())


def each_view(function, matrices, sizes):
    """Apply a function of (matrix, height, width) to every view of a batch."""
    flat = [
        function(matrix, int(height), int(width), EDGES)
        for matrix, (width, height) in zip(matrices.flatten(0, 1), sizes.flatten(0, 1), strict=True)
    ]
    return torch.stack(flat).view(matrices.shape)


@pytest.mark.parametrize("path", case_parameters("scenedino", "pinhole_projection"))
def test_pinhole_projection(path):
    given, recorded = case(path)
    points, to_camera = given["pts"][:, None], invert(given["poses_c2w"])
    close(transform(to_camera, points).mT, recorded["pts_cam"], 1e-5)
    image, depth, outside = project_normalised(points, given["K"], to_camera)
    # Points at the plane of the camera are divided by next to nothing: their error is relative to themselves.
    torch.testing.assert_close(image, recorded["xy"], rtol=1e-4, atol=1e-5)
    close(depth[..., None], recorded["z"], 1e-5)
    assert torch.equal(outside[..., None], recorded["outside"])
    close(each_view(normalised_intrinsics, given["K_px"], given["img_sizes"]), recorded["K_norm"], 1e-5)
    close(each_view(pixel_intrinsics, recorded["K_norm"], given["img_sizes"]), recorded["K_back"], 1e-5)


@pytest.mark.parametrize("path", case_parameters("scenedino", "fisheye_projection"))
def test_fisheye_projection(path):
    given, recorded = case(path)
    image, cosine, outside = project_fisheye_normalised(given["pts"], recorded["calib_norm"])
    close(image, recorded["xy"], 1e-5)
    close(cosine[..., None], recorded["z"], 1e-5)
    assert torch.equal(outside[..., None], recorded["outside"])
    close(each_view(normalised_fisheye, given["calib_px"], given["img_sizes"]), recorded["calib_norm"], 1e-5)
    close(each_view(pixel_fisheye, recorded["calib_norm"], given["img_sizes"]), recorded["calib_back"], 1e-5)


@pytest.mark.parametrize("path", case_parameters("scenedino", "fisheye_resampler"))
def test_fisheye_resampler(path):
    given, recorded = case(path)
    size = tuple(given["size"].tolist())
    grid = fisheye_grid(given["K"], given["rot"], given["params"], size, reference_compat=True)
    close(grid[None], recorded["grid"], 1e-5)
    close(sample_fisheye(given["image"], grid, reference_compat=True), recorded["resampled"], 1e-5)


def of_four_numbers(matrices):
    """Rays use fx, fy, cx, cy of the matrix alone, whatever its last entry is."""
    result = torch.zeros_like(matrices)
    result[..., :2, :] = matrices[..., :2, :]
    result[..., 2, 2] = 1
    return result


@pytest.mark.parametrize("path", case_parameters("scenedino", "rays_and_depth_geometry"))
def test_rays_and_depth(path):
    given, recorded = case(path)
    height, width = given["size"].tolist()
    pixels = pixel_intrinsics(of_four_numbers(given["K"]), height, width)
    for name, unit in (("rays", True), ("rays_not_normalised", False)):
        origins, directions = camera_rays(pixels, height, width, given["poses"], unit)
        close(torch.cat([origins, directions], dim=-1), recorded[name][..., :6], 1e-6)
    # The original converts depths on pixels whose first and last centres lie at -1 and 1.
    spread = torch.tensor([[2 / (width - 1), 0, -1], [0, 2 / (height - 1), -1], [0, 0, 1]])
    matrices = torch.linalg.inv(spread.double()) @ given["K"].double()
    depth = given["depth"].double()
    close(depth_from_distance(depth, matrices), recorded["z_from_distance"], 1e-6)
    close(distance_from_depth(depth, matrices), recorded["distance_from_z"], 1e-6)
    corners = [recorded["grid"][place].tolist() for place in ((0, 0, 0), (-1, -1, -1))]
    close(regular_points(*corners, recorded["grid"].shape[:3]), recorded["grid"], 1e-6)


@pytest.mark.parametrize("path", case_parameters("scenedino", "ssc_grid"))
def test_scene_completion_grid(path):
    recorded = {k: torch.from_numpy(np.asarray(v)) for k, v in load_npz(path / "output.npz").items()}
    points = ssc_voxel_centres()
    close(points.reshape(-1, 3)[recorded["index"]], recorded["points"], 1e-5)
    close(points.sum((0, 1, 2)), recorded["point_sum"], 1e-5)
    visible = np.unpackbits(recorded["fov_packed"].numpy())[: points[..., 0].numel()].astype(bool)
    assert (ssc_field_of_view().reshape(-1).numpy() != visible).sum() <= 10
