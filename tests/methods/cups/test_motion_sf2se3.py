import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.geometry.rigid import se3_exp, transform
from nolabel.methods.cups.sf2se3.clean_up import fill_holes, frontal_surface, paint, triangulated_surface
from nolabel.methods.cups.sf2se3.clusters import RigidPairs, fit_clusters, grow_clusters
from nolabel.methods.cups.sf2se3.consensus import gaussian_tail
from nolabel.methods.cups.sf2se3.ensembling import matrix_nms, mean_votes
from nolabel.methods.cups.sf2se3.noise import truncated_std
from nolabel.methods.cups.sf2se3.refinement import refine_motions
from nolabel.methods.cups.sf2se3.sampling import nearest_indices
from nolabel.methods.cups.sf2se3.selection import select_motions, soft_iou
from nolabel.methods.cups.sf2se3.spatial import RADIUS, NeighbourGraph, SpatialModel
from nolabel.methods.cups.sf2se3.validity import depth_edges
from nolabel.structures import StereoCalibration

CAMERA = StereoCalibration(200.0, 210.0, 63.5, 31.5, 0.5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_truncated_std_undoes_the_truncation() -> None:
    deviation = 4 * torch.randn(1, 300, 300, generator=generator())
    everything = torch.ones(300, 300, dtype=torch.bool)
    cut = truncated_std(deviation, everything, 0.1, 5.0, 0.1)
    assert abs(float(cut) - 4) < 0.4
    assert float(deviation[deviation.abs() < 5].std()) < 3  # what it corrects
    assert float(truncated_std(deviation, ~everything, 0.5, 5.0, 0.1)) == 0.5


def test_depth_edges_lie_at_the_jump_only() -> None:
    disparity = torch.full((40, 60), 10.0)
    disparity[:, 30:] = 20.0
    edges = depth_edges(disparity, 0.2, 5)
    columns = edges.any(dim=0).nonzero()[:, 0]
    assert columns.min() >= 26 and columns.max() <= 33 and edges[:, 29:31].all()
    compat = depth_edges(disparity, 0.2, 5, reference_compat=True)
    assert compat[:2].all() and compat[:, -2:].all() and not edges[0, 0]
    assert not compat[10, 29] and edges[10, 29]  # a tie of two maxima is lost in the original


@given(st.integers(2, 60), st.integers(2, 60))
@settings(max_examples=50, deadline=None)
def test_nearest_indices_are_the_nearest(source: int, target: int) -> None:
    indices = nearest_indices(source, target)
    exact = ((torch.arange(target, dtype=torch.float64) + 0.5) * source / target - 0.5).clamp(0, source - 1)
    assert ((indices - exact).abs() <= 0.5 + 1e-4).all()


def rigid_scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two groups of 20 points with different motions; point 0 is invalid."""
    points_0 = torch.rand(40, 3, generator=generator()) * 2 + torch.tensor([0.0, 0.0, 10.0])
    motions = se3_exp(torch.tensor([[0.5, 0.0, 0.0, 0.0, 0.1, 0.0], [0.0, 0.0, -1.0, 0.3, 0.0, 0.0]]))
    points_1 = torch.cat([transform(motions[0], points_0[:20]), transform(motions[1], points_0[20:])])
    usable = torch.ones(40, dtype=torch.bool)
    usable[0] = False
    return points_0, points_1, usable, motions


def test_clusters_hold_rigid_usable_points_and_give_their_motion() -> None:
    points_0, points_1, usable, motions = rigid_scene()
    pairs = RigidPairs(points_0, points_1, 5.0, 1e-4, torch.zeros(40))
    stream = generator()
    members = grow_clusters(pairs, usable, lambda n: torch.rand(n, generator=stream), 50, 5)
    assert members is not None
    group = torch.where(members >= 0, members // 20, -1)
    for row, ids in zip(members, group, strict=True):
        present = ids[ids >= 0]
        assert (present == present[0]).all()
        assert len(row[row >= 0].unique()) == len(present) >= 2
        assert usable[row[row >= 0]].all()
    whole = (members >= 0).all(dim=1)
    fitted = fit_clusters(points_0, points_1, members[whole])
    torch.testing.assert_close(fitted, motions[group[whole, 0]], atol=1e-3, rtol=1e-3)


def test_no_clusters_without_partners() -> None:
    points_0, points_1, usable, _ = rigid_scene()
    pairs = RigidPairs(points_0, points_1, 5.0, 1e-4, torch.zeros(40))
    assert grow_clusters(pairs, torch.zeros_like(usable), lambda n: torch.rand(n), 10, 5) is None


def test_depth_error_widens_the_tolerance() -> None:
    points = torch.tensor([[0.0, 0.0, 10.0], [1.0, 0.0, 10.0]])
    stretched = torch.tensor([[0.0, 0.0, 10.0], [1.1, 0.0, 10.0]])
    assert not RigidPairs(points, stretched, 5.0, 0.03, torch.zeros(2)).rigid[0, 1]
    assert RigidPairs(points, stretched, 5.0, 0.03, torch.full((2,), 0.1)).rigid[0, 1]


def test_selection_takes_what_explains_most_then_what_is_new() -> None:
    soft = torch.zeros(3, 100)
    soft[0, :60], soft[1, :50], soft[2, 60:80] = 1, 1, 1
    valid = torch.ones(100, dtype=torch.bool)
    assert select_motions(soft, None, valid, 3, 0.0015, 0.15) == [0, 2]
    assert select_motions(soft, soft[:1], valid, 3, 0.0015, 0.15) == [2]
    assert select_motions(soft, None, torch.zeros(100, dtype=torch.bool), 3, 0.0015, 0.15) == []
    assert abs(float(soft_iou(soft[:1], soft[1:2])) - 50 / 60) < 1e-6


def test_refinement_finds_the_motion_from_a_rough_start() -> None:
    points = torch.rand(80, 3, generator=generator()) * torch.tensor([8.0, 3.0, 20.0]) + torch.tensor(
        [-4.0, -1, 6]
    )
    truth = se3_exp(torch.tensor([[0.4, 0.05, -0.9, 0.02, -0.05, 0.01], [0.0, 0.0, 0.7, 0.0, 0.03, 0.0]]))
    start = se3_exp(torch.zeros(3, 6))
    moved = transform(truth, points.expand(2, -1, -1))
    uv = torch.stack(
        [200 * moved[..., 0] / moved[..., 2] + 63.5, 210 * moved[..., 1] / moved[..., 2] + 31.5], -1
    )
    targets = torch.cat([uv[0, :40], uv[1, 40:]])
    inliers = torch.zeros(3, 80, dtype=torch.bool)
    inliers[0, :40], inliers[1, 40:], inliers[2, :3] = True, True, True
    refined = refine_motions(start, points, targets, inliers, CAMERA.matrix())
    torch.testing.assert_close(refined[:2], truth, atol=1e-4, rtol=1e-4)
    assert torch.equal(refined[2], torch.eye(4))  # three points are too few


def test_separable_support_equals_the_search_over_81_cells() -> None:
    size, grid, sigma = (64, 128), (8, 16), 0.05
    model = SpatialModel(size, grid, CAMERA, sigma)
    cells = torch.rand(2, *grid, generator=generator()) < 0.15
    rows, columns = torch.meshgrid(torch.arange(0, 64, 5), torch.arange(0, 128, 7), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    support = model.at_pixels(cells, rows, columns)
    centre_v, centre_u = nearest_indices(64, 8), nearest_indices(128, 16)
    home_v, home_u = nearest_indices(8, 64)[rows], nearest_indices(16, 128)[columns]
    dv = (rows[:, None] - centre_v).abs() / CAMERA.fy / sigma
    du = (columns[:, None] - centre_u).abs() / CAMERA.fx / sigma
    window = ((torch.arange(8) - home_v[:, None]).abs() <= RADIUS)[:, :, None]
    window = window & ((torch.arange(16) - home_u[:, None]).abs() <= RADIUS)[:, None]
    closeness = gaussian_tail(dv)[:, :, None] * gaussian_tail(du)[:, None] * window
    for k in range(2):
        expected = (closeness * cells[k]).flatten(1).amax(dim=1)
        torch.testing.assert_close(support.soft[k], expected)
    reached = model.reach(cells[0], rows, columns)
    assert set((support.soft[0] > 0).nonzero()[:, 0].tolist()) <= set(reached.tolist())


@pytest.mark.parametrize(("compat", "objects"), [(False, 2), (True, 1)])
def test_components_and_the_bridge_of_the_original(compat: bool, objects: int) -> None:
    # Three points in a row, each near the next; the middle one comes last in raster order and is an outlier.
    # The original asks only the earlier point of a pair, so that the outlier joins both sides.
    points = torch.tensor([[0.0, 0.0, 1.0], [0.12, 0.0, 1.0], [0.06, 0.01, 1.0]])
    graph = NeighbourGraph(points, 0.05, 0.0455)
    soft = torch.tensor([1.0, 1.0, 0.0])
    nothing = torch.zeros(3, dtype=torch.bool)
    found = graph.components(soft, nothing, ~nothing, reference_compat=compat)
    assert len(found) == objects
    assert not found[:, 2].any()
    assert len(graph.components(soft, ~nothing, ~nothing)) == 0


def test_matrix_nms_decays_the_worse_of_two_equal_masks() -> None:
    masks = torch.zeros(3, 10, 10, dtype=torch.bool)
    masks[0, :5], masks[1, :5], masks[2, 6:] = True, True, True
    scores = torch.tensor([0.8, 0.9, 0.7])
    kept = matrix_nms(masks, scores, 2.0, 0.6)
    assert kept.indices.tolist() == [1, 2]
    torch.testing.assert_close(kept.scores, torch.tensor([0.9, 0.7]))
    decayed = matrix_nms(masks, scores, 2.0, 0.0)
    assert abs(float(decayed.scores[2]) - 0.8 * math.exp(-2)) < 1e-6
    assert mean_votes(masks).tolist() == [2, 2, 1]
    assert len(matrix_nms(masks[:0], scores[:0], 2.0, 0.6).indices) == 0


def test_holes_and_painting() -> None:
    ring = torch.zeros(12, 12, dtype=torch.bool)
    ring[2:8, 2:8] = True
    ring[4:6, 4:6] = False
    assert int(fill_holes(ring, 8).sum()) == 36
    whole = torch.ones(4, 4, dtype=torch.bool)
    assert fill_holes(whole, 8).all()
    large = torch.ones(12, 12, dtype=torch.bool)
    large[0] = False
    assert torch.equal(fill_holes(large, 8), large)
    assert int(fill_holes(large, 8, reference_compat=True).sum()) == 12  # the original's inversion
    small = torch.zeros_like(ring)
    small[3:5, 3:5] = True
    image, order = paint(torch.stack([ring, small]), 8)
    assert order.tolist() == [0, 1] and int((image == 2).sum()) == 4
    covered, _ = paint(torch.stack([ring, small]), 8, reference_compat=True)
    assert covered.unique().tolist() == [0, 2]


def test_surfaces_of_a_square_facing_the_camera() -> None:
    mask = torch.zeros(64, 128, dtype=torch.bool)
    mask[10:31, 20:41] = True
    depth = torch.full((64, 128), 10.0)
    v, u = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    points = torch.stack([(u - CAMERA.cx) / CAMERA.fx * depth, (v - CAMERA.cy) / CAMERA.fy * depth, depth])
    between_centres = 20 * 20 * 100 / (CAMERA.fx * CAMERA.fy)
    assert abs(triangulated_surface(mask, points) - between_centres) < 1e-4
    assert abs(frontal_surface(mask, depth, CAMERA) - 21 * 21 * 100 / (CAMERA.fx * CAMERA.fy)) < 1e-4


def test_a_line_of_pixels_has_no_surface() -> None:
    mask = torch.zeros(10, 80, dtype=torch.bool)
    mask[3, :70] = True
    assert triangulated_surface(mask, torch.rand(3, 10, 80)) == 0
    assert frontal_surface(mask, torch.zeros(10, 80), CAMERA) == 0
