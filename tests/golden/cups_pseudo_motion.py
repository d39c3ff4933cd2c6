"""Golden ``cups_pseudo``: motion network, validity, rigid motions and object proposals of CUPS (spec 3 to 6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.support import case_parameters, fill_layout, load_npz, unpack_masks
from nolabel.geometry.warp import backward_warp
from nolabel.methods.cups.proposals import ObjectProposalConfig, object_proposals
from nolabel.methods.cups.sf2se3 import clean_up, ensembling
from nolabel.methods.cups.sf2se3.clusters import fit_clusters
from nolabel.methods.cups.sf2se3.noise import estimate_noise, truncated_std
from nolabel.methods.cups.sf2se3.refinement import refine_motions
from nolabel.methods.cups.sf2se3.run import MotionSegmenter, MovingObjects, connected_parts, rotation_value
from nolabel.methods.cups.sf2se3.sampling import resize_nearest
from nolabel.methods.cups.sf2se3.validity import build_scene_flow
from nolabel.models.motion import RaftMotion, StereoMotion
from nolabel.models.motion.raft import smurf_network
from nolabel.structures import StereoCalibration
from nolabel.weights.layouts import raft_smurf

pytestmark = pytest.mark.golden

FOLDER = "cups_pseudo"
# The recorded runs used the CPU path of the original, which is 4-connected (README of the folder).
CONFIG = ObjectProposalConfig(reference_compat=True, connectivity=4)
each = pytest.mark.parametrize


def load(case: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return load_npz(case / "input.npz"), load_npz(case / "output.npz")


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(array))


def assert_relative(actual: Tensor, expected: np.ndarray, tolerance: float, name: str = "") -> None:
    """Compare relative to the largest absolute value of the expected array."""
    wanted = tensor(expected).double()
    assert actual.shape == wanted.shape, name
    worst = (actual.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1e-12)
    assert worst <= tolerance, (name, float(worst))


def assert_mostly_equal(actual: Tensor, expected: np.ndarray, share: float, name: str = "") -> None:
    equal = (actual == tensor(expected).to(actual.dtype)).float().mean()
    assert equal >= share, (name, float(equal))


class Tape:
    """The recorded random numbers as a stream, then any others."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = tensor(numbers)
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, count: int) -> Tensor:
        taken, self.numbers = self.numbers[:count], self.numbers[count:]
        return torch.cat([taken, torch.rand(count - len(taken), generator=self.generator)])


def sample(inputs: dict[str, np.ndarray]) -> tuple[StereoMotion, StereoCalibration, Tensor]:
    motion = StereoMotion(
        flow_forward=tensor(inputs["optical_flow_l_forward"]),
        flow_backward=tensor(inputs["optical_flow_l_backward"]),
        disparity_0=tensor(inputs["disparity_1_forward"]),
        disparity_1=tensor(inputs["disparity_2_forward"]),
        disparity_right_0=tensor(inputs["disparity_1_backward"]),
        disparity_right_1=tensor(inputs["disparity_2_backward"]),
    )
    k = inputs["intrinsics"][0].astype(float)
    camera = StereoCalibration(k[0, 0], k[1, 1], k[0, 2], k[1, 2], float(inputs["baseline"][0]))
    return motion, camera, tensor(inputs["valid_pixels"])[0, 0]


def segmenter(inputs: dict[str, np.ndarray]) -> MotionSegmenter:
    motion, camera, allowed = sample(inputs)
    scene_flow, _ = build_scene_flow(motion, camera, allowed, CONFIG)
    return MotionSegmenter(scene_flow, estimate_noise(motion, CONFIG), CONFIG)


# --- motion network -------------------------------------------------------------------------------------------


def smurf(case: Path, updates: int, negated: bool = False) -> RaftMotion:
    head = "raft.update_block.flow_head.conv2."
    scale = {head + "weight": -0.3 if negated else 0.3, head + "bias": 0.0}
    state = raft_smurf.to_network(fill_layout(case / "layout.json", scale=scale))
    network = smurf_network()
    network.load_state_dict(state)
    return RaftMotion(network, updates=updates)


@each("case", case_parameters(FOLDER, "raft_smurf*"))
def test_raft_smurf_flow(case: Path) -> None:
    inputs, outputs = load(case)
    first, second = (tensor(inputs[k]).float() / 255 for k in ("image_1", "image_2"))
    for name in (n for n in outputs if n.startswith("flow_")):
        updates = int(name.removeprefix("flow_"))
        actual = smurf(case, updates).flow(first, second)
        assert_relative(actual, outputs[name], 1e-3 if updates > 4 else 1e-4, name)


@each("case", case_parameters(FOLDER, "raft_smurf*"))
def test_raft_smurf_disparity(case: Path) -> None:
    inputs, outputs = load(case)
    first, second = (tensor(inputs[k]).float() / 255 for k in ("image_1", "image_2"))
    forward = smurf(case, 16).disparity(first, second)
    assert_relative(forward, outputs["disparity_forward"], 1e-3)
    # The recorded call had the pair (image_2, image_1); right as reference matches its first to its second.
    estimator = smurf(case, 4, negated=True)
    left = estimator.disparity(second, first, reference="left")
    right = estimator.disparity(first, second, reference="right")
    assert_relative(left, outputs["negated_disparity_forward"], 1e-4)
    assert_relative(right, outputs["negated_disparity_backward"], 1e-4)


@each("case", case_parameters(FOLDER, "raft_smurf*"))
def test_raft_smurf_parts(case: Path) -> None:
    inputs, outputs = load(case)
    first, second = (tensor(inputs[k]).float() / 255 for k in ("image_1", "image_2"))
    estimator = smurf(case, 1)
    features, context = estimator.features(first), estimator.context(first)
    assert_relative(features[:, ::2], outputs["feature_1"], 1e-4)
    assert_relative(context[:, ::2], outputs["context"], 1e-4)
    read = estimator.correlation(features, estimator.features(second)).windows(
        tensor(outputs["lookup_coords"])
    )
    # Our network enumerates the window with y fastest and permutes its weights instead.
    window = read.view(
        read.shape[0], raft_smurf.LEVELS, raft_smurf.WINDOW, raft_smurf.WINDOW, *read.shape[2:]
    )
    assert_relative(window.transpose(2, 3).reshape(read.shape), outputs["corr_lookup"], 1e-4)


# --- noise and validity ---------------------------------------------------------------------------------------


@each("case", case_parameters(FOLDER, "estimate_std*"))
def test_estimate_std(case: Path) -> None:
    inputs, outputs = load(case)
    limits = (CONFIG.min_noise * 2**0.5, CONFIG.max_noise * 2**0.5, CONFIG.min_valid_fraction)
    for name, expected in outputs.items():
        actual = truncated_std(tensor(inputs[f"dev_{name}"])[0], tensor(inputs[f"valid_{name}"])[0], *limits)
        assert_relative(actual[None], expected, 1e-4, name)


@each("case", case_parameters(FOLDER, "geometry*"))
def test_geometry(case: Path) -> None:
    inputs, outputs = load(case)
    motion, camera, allowed = sample(inputs)
    scene_flow, validity = build_scene_flow(motion, camera, allowed, CONFIG)
    noise = estimate_noise(motion, CONFIG)
    assert_relative(torch.tensor([noise.disparity]), outputs["std_disparity"], 1e-4)
    assert_relative(torch.tensor([noise.flow_x, noise.flow_y]), outputs["std_flow"], 1e-4)
    assert_relative(scene_flow.depth[None, None], outputs["depth_1"], 1e-4)
    assert_relative(scene_flow.points_0[None, :, ::4, ::4], outputs["points_0"], 1e-4)
    moved = torch.isclose(
        scene_flow.points_1[None, :, ::4, ::4], tensor(outputs["points_1_warped"]), 1e-3, 1e-3
    )
    assert moved.float().mean() >= 0.9995
    assert_mostly_equal(validity.flow_visible[None, None], outputs["visible_flow"], 0.9995)
    assert_mostly_equal(validity.disparity_visible[None, None], outputs["visible_d1"], 0.9995)
    assert_mostly_equal(validity.not_edge[None, None], outputs["not_edge_1"], 0.9995)
    assert_mostly_equal(scene_flow.valid[None, None], outputs["valid"], 0.9995)
    warped, inside = backward_warp(motion.flow_backward, motion.flow_forward, reference_compat=True)
    assert_relative(warped[..., ::2, ::2], outputs["warped_backward_flow"], 1e-3)
    assert_mostly_equal(inside, outputs["warp_valid"], 0.9995)


# --- rigid motions --------------------------------------------------------------------------------------------


@each("case", case_parameters(FOLDER, "se3_fit*"))
def test_se3_fit(case: Path) -> None:
    inputs, outputs = load(case)
    points_0, points_1 = (tensor(inputs[k]).flatten(1).T for k in ("points_0", "points_1"))
    masks = tensor(inputs["masks"]).flatten(1)
    members = torch.full((len(masks), int(masks.sum(dim=1).max())), -1)
    for row, mask in zip(members, masks, strict=True):
        row[: int(mask.sum())] = mask.nonzero()[:, 0]
    assert (fit_clusters(points_0, points_1, members) - tensor(outputs["kabsch"])).abs().max() <= 1e-3
    height, width = inputs["points_0"].shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows]).flatten(1).T
    targets = pixels + tensor(inputs["flow"]).flatten(1).T
    previous, matrix = tensor(inputs["previous"]), tensor(inputs["projection"])
    refined = refine_motions(previous, points_0, targets, masks, matrix)
    assert (refined - tensor(outputs["pnp"])).abs().max() <= 5e-3
    for name in ("resize_down", "resize_up"):
        resized = resize_nearest(tensor(inputs["points_0"]), outputs[name].shape[1:])
        assert torch.equal(resized, tensor(outputs[name])), name
    assert_relative(rotation_value(previous), outputs["rotation_value"], 1e-3)


@each("case", case_parameters(FOLDER, "sf2se3_steps*"))
def test_sf2se3_grid_and_motions(case: Path) -> None:
    inputs, outputs = load(case)
    run = segmenter(inputs)
    points, shape = run.grid_points, run.grid
    assert_relative(points.points_0.T.view(3, *shape), outputs["grid_points_0"], 1e-3)
    assert_relative(points.points_1.T.view(3, *shape), outputs["grid_points_1"], 1e-3)
    assert_relative(points.flow.T.view(2, *shape), outputs["grid_flow"], 1e-3)
    assert torch.equal(points.valid.view(1, *shape), tensor(outputs["grid_valid"]))
    members = run.propose_clusters(None, Tape(inputs["draws"]))
    assert members is not None
    clusters = torch.zeros(len(members), shape[0] * shape[1] + 1, dtype=torch.bool)
    clusters.scatter_(1, members % clusters.shape[1], True)  # -1 lands in the extra last column
    assert torch.equal(clusters[:, :-1].view(-1, *shape), tensor(outputs["clusters"]))
    motions = fit_clusters(points.points_0, points.points_1, members)
    sure = tensor(outputs["motion_well_conditioned"])
    assert (motions - tensor(outputs["motions"])).abs()[sure].max() <= 1e-3 * float(motions[sure].abs().max())
    consensus = run.motion_consensus(points, tensor(outputs["motions"]))
    assert_relative(consensus.soft.view(-1, *shape), outputs["motion_soft"], 1e-3)
    assert_log_likelihood(consensus.log_likelihood.view(-1, *shape), outputs["motion_log_likelihood"])


def assert_log_likelihood(actual: Tensor, expected: np.ndarray) -> None:
    wanted = tensor(expected)
    compared = wanted > -1e3
    assert torch.allclose(actual[compared], wanted[compared], rtol=2e-3, atol=2e-3)


@each("case", case_parameters(FOLDER, "sf2se3_steps*"))
def test_sf2se3_objects(case: Path) -> None:
    inputs, outputs = load(case)
    run = segmenter(inputs)
    shape = run.grid
    recorded = {name: tensor(value) for name, value in outputs.items()}
    soft = run.motion_consensus(run.grid_points, recorded["motions"]).soft
    best = run._select(soft, None, max_count=1)
    assert_relative(recorded["motions"][best], outputs["selected_motion"], 1e-3)
    assert_relative(soft[best].view(-1, *shape), outputs["selected_soft"], 1e-3)

    components = run.split(recorded["selected_soft"].flatten(), None)
    masks = recorded["component_masks"]
    assert len(components) == len(masks)
    order = [int((components == mask).flatten(1).all(dim=1).nonzero()[0, 0]) for mask in masks]
    assert sorted(order) == list(range(len(masks)))

    objects = run.evaluate(recorded["selected_motion"].expand(len(masks), 4, 4), masks)
    assert_relative(objects.consensus.soft.view(-1, *shape), outputs["joint_soft"], 1e-3)
    assert_log_likelihood(objects.consensus.log_likelihood.view(-1, *shape), outputs["joint_log_likelihood"])
    chosen = objects.pick(run._select(objects.consensus.soft, None, max_count=CONFIG.max_new_objects))
    assert_relative(chosen.motions, outputs["selected3_motion"], 1e-3)
    assert torch.equal(chosen.hard.view(-1, *shape), recorded["selected3_hard"])

    refined = run.refine(chosen)
    assert (refined.motions - recorded["refined_motion"]).abs().max() <= 5e-3
    again = run.evaluate(recorded["refined_motion"], chosen.cells)
    assert_relative(again.consensus.soft.view(-1, *shape), outputs["refined_soft"], 1e-3)
    assert torch.equal(again.cells, recorded["refined_assignment"])


@each("case", case_parameters(FOLDER, "sf2se3_steps*"))
def test_sf2se3_labels(case: Path) -> None:
    inputs, outputs = load(case)
    run = segmenter(inputs)
    motions, cells = tensor(outputs["refined_motion"]), tensor(outputs["refined_assignment"])
    objects = MovingObjects(motions, cells, run.evaluate(motions, cells).consensus, cells.flatten(1))
    labels, _ = run.label_pixels(objects)
    assert_mostly_equal(run._image(labels)[None], outputs["full_label"], 0.999)

    columns, rows = run.pixels.pixels.long().unbind(1)
    support = run.spatial.at_pixels(cells, rows, columns)
    by_motion = run.motion_consensus(run.pixels, motions)
    even = (columns % 2 == 0) & (rows % 2 == 0)  # the recorded maps hold every second pixel
    place = (slice(None), rows[even] // 2, columns[even] // 2)
    soft = (by_motion.soft * support.soft)[:, even]
    assert_relative(soft, outputs["full_soft_s2"][place], 1e-3)
    density = (by_motion.log_likelihood + support.log_likelihood)[:, even]
    assert_log_likelihood(density, outputs["full_log_likelihood_s2"][place])


def best_iou(mask: Tensor, others: Tensor) -> tuple[float, int]:
    both = (mask & others).flatten(1).sum(dim=1).float()
    either = (mask | others).flatten(1).sum(dim=1).clamp(min=1)
    value, index = (both / either).max(dim=0)
    return float(value), int(index)


@each("case", case_parameters(FOLDER, "sf2se3_run*"))
def test_sf2se3_run(case: Path) -> None:
    inputs, outputs = load(case)
    proposals = segmenter(inputs).run(Tape(inputs["draws"])).proposals
    masks, scores = tensor(outputs["masks"]), tensor(outputs["scores"])
    assert len(proposals.masks) == len(masks)
    for mask, score in zip(masks, scores, strict=True):
        iou, index = best_iou(mask, proposals.masks)
        assert iou >= 0.9
        assert abs(float(proposals.scores[index] - score)) <= 0.05


@each("case", case_parameters(FOLDER, "sf2se3_full*"))
def test_sf2se3_full(case: Path) -> None:
    inputs, outputs = load(case)
    motion, camera, allowed = sample(inputs)
    result = object_proposals(motion, camera, allowed, CONFIG, draws=Tape(inputs["draws"]))
    expected = tensor(outputs["instances"]).long()
    ids = [i for i in expected.unique().tolist() if i]
    assert result.count == len(ids)
    ours = torch.stack([result.instances == i for i in range(1, result.count + 1)])
    for index in ids:
        assert best_iou(expected == index, ours)[0] >= 0.9
    recorded = tensor(
        unpack_masks(outputs["run_masks"], (*outputs["run_masks"].shape[:2], expected.shape[1]))
    )
    agreed = ensembling.mean_votes(recorded) >= CONFIG.min_agreement * CONFIG.runs
    kept = ensembling.matrix_nms(
        recorded[agreed], tensor(outputs["run_scores"])[agreed], CONFIG.nms_sigma, CONFIG.nms_threshold
    )
    painted, _ = clean_up.paint(recorded[agreed][kept.indices], CONFIG.connectivity, reference_compat=True)
    scene_flow, _ = build_scene_flow(motion, camera, allowed, CONFIG)
    final = clean_up.drop_small_objects(
        painted, scene_flow.points_0, camera, CONFIG.min_pixels, CONFIG.min_surface, reference_compat=True
    )
    assert_mostly_equal(final, outputs["instances"], 1.0)


# --- clean-up -------------------------------------------------------------------------------------------------


@each("case", case_parameters(FOLDER, "cleanup*"))
def test_cleanup(case: Path) -> None:
    inputs, outputs = load(case)
    masks, scores = tensor(inputs["masks"]), tensor(inputs["scores"])
    assert_relative(ensembling.mean_votes(masks), outputs["agreement"], 1e-5)
    kept = ensembling.matrix_nms(masks, scores, CONFIG.nms_sigma, CONFIG.nms_threshold)
    assert kept.indices.tolist() == outputs["nms_keep"].tolist()
    assert (kept.scores - tensor(outputs["nms_scores"])).abs().max() <= 1e-5
    holes = tensor(inputs["hole_masks"])
    filled = torch.stack([clean_up.fill_holes(mask, 4, reference_compat=True) for mask in holes])
    assert torch.equal(filled, tensor(outputs["holes_filled"]))
    unused = StereoCalibration(1.0, 1.0, 0.0, 0.0, 1.0)  # the triangulated surface needs the points alone
    sized = clean_up.drop_small_objects(
        tensor(inputs["objects"]),
        tensor(inputs["points"]),
        unused,
        CONFIG.min_pixels,
        float(inputs["min_size"]),
        reference_compat=True,
    )
    assert torch.equal(sized, tensor(outputs["size_filtered"]).long())


@each("case", case_parameters(FOLDER, "cleanup*"))
@each("key", ["components_4", "components_4_ge120"])
def test_components(case: Path, key: str) -> None:
    inputs, outputs = load(case)
    connectivity, _, least = key.removeprefix("components_").partition("_ge")
    parts = connected_parts(tensor(inputs["objects"]) > 0, int(connectivity), int(least or 1))
    expected = outputs[key]
    found = {tuple(part.flatten().nonzero()[:, 0].tolist()) for part in parts}
    wanted = {tuple(np.flatnonzero(expected == i)) for i in np.unique(expected) if i}
    assert found == wanted
