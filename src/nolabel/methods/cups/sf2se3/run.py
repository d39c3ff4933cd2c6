"""One SF2SE3 run: motions found greedily on the coarse grid, then every pixel labelled (spec 5.8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy import ndimage
from torch import Tensor

from nolabel.methods.cups.sf2se3.clusters import Draws, RigidPairs, fit_clusters, grow_clusters
from nolabel.methods.cups.sf2se3.config import ObjectProposalConfig
from nolabel.methods.cups.sf2se3.consensus import Consensus, motion_consensus
from nolabel.methods.cups.sf2se3.refinement import refine_motions
from nolabel.methods.cups.sf2se3.scene_flow import Noise, PointFlow, SceneFlow
from nolabel.methods.cups.sf2se3.selection import select_motions
from nolabel.methods.cups.sf2se3.spatial import NeighbourGraph, SpatialModel

NEIGHBOURHOODS = {4: ndimage.generate_binary_structure(2, 1), 8: ndimage.generate_binary_structure(2, 2)}


@dataclass
class MovingObjects:
    """Objects with their rigid motions, evaluated on the grid of h x w = N points.

    Attributes:
        motions: (K, 4, 4) from t0 to t1.
        cells: (K, h, w) bool, grid cells that belong to the object.
        consensus: soft inliers and log-likelihoods (K, N), motion and spatial model together.
        hard: (K, N) bool, hard inliers.
    """

    motions: Tensor
    cells: Tensor
    consensus: Consensus
    hard: Tensor

    def __len__(self) -> int:
        return len(self.motions)

    def pick(self, indices: list[int]) -> MovingObjects:
        """Return some of the objects, in the given order."""
        consensus = Consensus(*(x[indices] for x in self.consensus))
        return MovingObjects(self.motions[indices], self.cells[indices], consensus, self.hard[indices])

    def joined(self, other: MovingObjects) -> MovingObjects:
        """Return these objects followed by others."""
        consensus = Consensus(
            *(torch.cat(pair) for pair in zip(self.consensus, other.consensus, strict=True))
        )
        return MovingObjects(
            torch.cat([self.motions, other.motions]),
            torch.cat([self.cells, other.cells]),
            consensus,
            torch.cat([self.hard, other.hard]),
        )


class Proposals(NamedTuple):
    """Objects of one run.

    Attributes:
        masks: (P, H, W) bool, disjoint.
        scores: (P,) mean posterior of the object's label over its mask.
    """

    masks: Tensor
    scores: Tensor


class SegmentedMotion(NamedTuple):
    """Outcome of one run.

    Attributes:
        labels: (H, W) int64, index of the motion of each pixel; 0 = background or unknown.
        motions: (K, 4, 4), the background's first; K may be 0.
        proposals: connected moving objects.
    """

    labels: Tensor
    motions: Tensor
    proposals: Proposals


class MotionSegmenter:
    """What the runs on one image share: grid, distances, neighbours, valid pixels.

    Args:
        scene_flow: scene flow of the image.
        noise: its standard deviations.
        config: settings already scaled to the image.
    """

    def __init__(self, scene_flow: SceneFlow, noise: Noise, config: ObjectProposalConfig) -> None:
        self.config = config
        self.noise = noise
        self.size = scene_flow.size
        self.pixels = scene_flow.at_valid_pixels()
        self.grid_points, self.grid = scene_flow.on_grid(config.grid_scale)
        points = self.grid_points
        self.pairs = RigidPairs(
            points.points_0,
            points.points_1,
            config.cluster_radius,
            config.rigid_tolerance,
            self._depth_error(points),
        )
        self.neighbours = NeighbourGraph(points.points_0, config.neighbour_sigma, config.inlier_threshold)
        device = points.valid.device
        self.spatial = SpatialModel(
            self.size, self.grid, scene_flow.camera, config.neighbour_sigma, device=device
        )

    def run(self, draws: Draws) -> SegmentedMotion:
        """Segment the image by motion, from one stream of random numbers."""
        objects = self.find_objects(draws)
        if objects is None:
            empty = torch.zeros(self.size, dtype=torch.int64, device=self.pixels.valid.device)
            nothing = Proposals(empty.bool()[None][:0], empty.new_zeros(0, dtype=torch.float32))
            return SegmentedMotion(empty, self.pixels.points_0.new_zeros(0, 4, 4), nothing)
        labels, posterior = self.label_pixels(objects)
        if self.config.reference_compat:
            labels_kept = self.drop_turning(labels, objects.motions)
            proposals = self.connected_proposals(labels_kept, posterior)
        else:
            proposals = self.drop_static(self.connected_proposals(labels, posterior), objects.motions[0])
        return SegmentedMotion(self._image(labels), objects.motions, proposals)

    def find_objects(self, draws: Draws) -> MovingObjects | None:
        """Search motions greedily; return them by decreasing gain (the first is the dominant motion) or None."""
        config = self.config
        found: MovingObjects | None = None
        failed = False
        for _ in range(config.cycles):
            members = self.propose_clusters(found, draws)
            if members is None:
                continue
            motions = fit_clusters(self.grid_points.points_0, self.grid_points.points_1, members)
            soft = self.motion_consensus(self.grid_points, motions).soft
            best = self._select(soft, found, max_count=1)
            if not best:
                if failed:
                    break
                failed = True
                continue
            components = self.split(soft[best[0]], found)
            if not len(components):
                continue
            candidates = self.evaluate(motions[best].expand(len(components), 4, 4), components)
            chosen = self._select(candidates.consensus.soft, found, max_count=config.max_new_objects)
            if not chosen:
                continue
            objects = self.refine(candidates.pick(chosen))
            found = objects if found is None else found.joined(objects)
        if found is None:
            return None
        order = self._select(found.consensus.soft, None, max_count=config.max_objects)
        return found.pick(order) if order else None

    def propose_clusters(self, found: MovingObjects | None, draws: Draws) -> Tensor | None:
        """Return random rigid clusters among the points that no motion explains yet."""
        config = self.config
        usable = self.grid_points.valid & ~self._explained(found)
        return grow_clusters(
            self.pairs, usable, draws, config.clusters, config.max_cluster_points, config.reference_compat
        )

    def motion_consensus(self, points: PointFlow, motions: Tensor) -> Consensus:
        """Return how well the motions explain points, without the spatial model."""
        return motion_consensus(points, motions, self.noise, self.config.reference_compat)

    def split(self, soft: Tensor, found: MovingObjects | None) -> Tensor:
        """Return the connected objects (K, h, w) bool among the inliers of a motion."""
        valid = self.grid_points.valid
        components = self.neighbours.components(
            soft, self._explained(found), valid, self.config.reference_compat
        )
        return components.view(-1, *self.grid)

    def evaluate(self, motions: Tensor, cells: Tensor) -> MovingObjects:
        """Score objects on the grid and give them the cells that are hard inliers now."""
        support = self.spatial.on_grid(cells)
        by_motion = self.motion_consensus(self.grid_points, motions)
        consensus = Consensus(
            by_motion.soft * support.soft, by_motion.log_likelihood + support.log_likelihood
        )
        hard = consensus.soft > self.config.inlier_threshold
        cells = (hard & self.grid_points.valid).view(-1, *self.grid)
        return MovingObjects(motions, cells, consensus, hard)

    def refine(self, objects: MovingObjects) -> MovingObjects:
        """Fit the motions to all hard inliers and score the objects again."""
        points, camera = self.grid_points, self.grid_points.camera
        motions = refine_motions(
            objects.motions,
            points.points_0,
            points.pixels + points.flow,
            objects.hard,
            camera.matrix().to(points.points_0.device),
        )
        return self.evaluate(motions, objects.cells)

    def label_pixels(self, objects: MovingObjects) -> tuple[Tensor, Tensor]:
        """Return the label (N,) of every valid pixel and its posterior (N,) in [0, 1].

        Only the pixels near an object's cells are evaluated: elsewhere its soft inliers are exactly 0.
        """
        pixels = self.pixels
        columns, rows = pixels.pixels.long().unbind(1)
        count = len(columns)
        likelihood = pixels.points_0.new_full((len(objects), count), self.spatial.unsupported)
        supported = torch.zeros(count, dtype=torch.bool, device=columns.device)
        for k in range(len(objects)):
            near = self.spatial.reach(objects.cells[k], rows, columns)
            support = self.spatial.at_pixels(objects.cells[k][None], rows[near], columns[near])
            by_motion = self.motion_consensus(pixels[near], objects.motions[k][None])
            likelihood[k, near] = (by_motion.log_likelihood + support.log_likelihood)[0]
            supported[near] |= (by_motion.soft * support.soft)[0] > 0
        best, labels = likelihood.max(dim=0)
        posterior = (best - likelihood.logsumexp(dim=0)).exp()
        return torch.where(supported, labels, 0), posterior

    def drop_turning(self, labels: Tensor, motions: Tensor) -> Tensor:
        """Return the labels with the objects set to 0 that turn against the background.

        The original's background filter (``reference_compat`` only): it compares rotations alone, and keeps
        objects that move as the background does.
        """
        turns = rotation_value(motions) >= self.config.max_turn
        return torch.where(turns[labels], 0, labels)

    def drop_static(self, proposals: Proposals, background: Tensor) -> Proposals:
        """Drop proposals whose pixels the background's motion (4, 4) explains, too.

        A static part of the scene that is cut off by depth edges has its own spatial support and a slightly
        different fit, so it comes out as an object of its own.
        """
        soft = self.motion_consensus(self.pixels, background[None]).soft[0]
        explained = self._image(soft > self.config.inlier_threshold)
        masks = proposals.masks
        share = (masks & explained).flatten(1).sum(dim=1) / masks.flatten(1).sum(dim=1).clamp(min=1)
        moving = share <= self.config.max_background_share
        return Proposals(masks[moving], proposals.scores[moving])

    def connected_proposals(self, labels: Tensor, posterior: Tensor) -> Proposals:
        """Split the labels (N,) of the valid pixels into connected masks; small ones are dropped."""
        image = self._image(labels)
        posteriors = self._image(posterior)
        masks, scores = [], []
        for label in labels.unique().tolist():
            if label == 0:
                continue
            same = image == label
            for part in connected_parts(same, self.config.connectivity, self.config.min_component):
                masks.append(part)
                scores.append(posteriors[part].mean())
        if not masks:
            return Proposals(image.bool()[None][:0], posterior[:0])
        return Proposals(torch.stack(masks), torch.stack(scores))

    def _depth_error(self, points: PointFlow) -> Tensor:
        """Return the depth error (N,) in metres that the disparity jitter makes at each point."""
        if self.config.reference_compat:
            return torch.zeros_like(points.points_0[:, 2])
        camera = points.camera
        return points.points_0[:, 2].square() * (self.config.disparity_jitter / (camera.fx * camera.baseline))

    def _select(self, soft: Tensor, found: MovingObjects | None, max_count: int) -> list[int]:
        previous = None if found is None else found.consensus.soft
        config = self.config
        return select_motions(
            soft, previous, self.grid_points.valid, max_count, config.min_gain, config.max_overlap
        )

    def _explained(self, found: MovingObjects | None) -> Tensor:
        return torch.zeros_like(self.grid_points.valid) if found is None else found.hard.any(dim=0)

    def _image(self, values: Tensor) -> Tensor:
        """Spread values of the valid pixels over an image, 0 elsewhere."""
        image = values.new_zeros(self.size)
        columns, rows = self.pixels.pixels.long().unbind(1)
        image[rows, columns] = values
        return image


def rotation_value(motions: Tensor) -> Tensor:
    """Return half the angle in radians (K,) by which motions (K, 4, 4) turn against the first, 0 for itself.

    NaN, which compares as small, where rounding brings the cosine above 1.
    """
    cosine = ((motions[0, :3, :3] * motions[:, :3, :3]).sum(dim=(1, 2)) - 1) / 2
    value = 0.5 * torch.arccos(cosine)
    value[0] = 0
    return value


def connected_parts(mask: Tensor, connectivity: int, min_pixels: int) -> list[Tensor]:
    """Return the connected components of a mask (H, W) with at least ``min_pixels`` pixels, in raster order."""
    parts, count = ndimage.label(mask.cpu().numpy(), structure=NEIGHBOURHOODS[connectivity])
    labels = torch.from_numpy(parts).to(mask.device)
    sizes = labels.flatten().bincount(minlength=count + 1)
    return [labels == k for k in range(1, count + 1) if sizes[k] >= min_pixels]
