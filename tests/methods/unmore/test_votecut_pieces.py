"""VoteCut's pieces against their definitions: cuts, exact clusters, components, voting, refinement."""

from __future__ import annotations

import itertools

import pytest
import torch

from nolabel.errors import ConfigError, DataError
from nolabel.methods.unmore import spectral
from nolabel.methods.unmore.kmeans import cluster_numbers
from nolabel.methods.unmore.proposals import connected_components, corners_inside, proposals_of_labels
from nolabel.methods.unmore.refine import enlarged_box, fill_holes, refine_mask
from nolabel.methods.unmore.spectral import (
    FeatureGraph,
    generalised,
    smallest_vectors,
    smallest_vectors_dense,
)
from nolabel.methods.unmore.votecut_settings import CrfSettings
from nolabel.methods.unmore.voting import cluster_proposals, pairwise_iou, vote_mask
from nolabel.models.dense_crf import binary_dense_crf, dense_crf


def features(seed: int, cells: int, batch: int = 2) -> torch.Tensor:
    """Noisy members of five groups."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(batch, 5, 12, generator=draw)
    group = torch.randint(5, (batch, cells), generator=draw)
    noise = 0.5 * torch.randn(batch, cells, 12, generator=draw)
    return centres.gather(1, group[..., None].expand(-1, -1, 12)) + noise


class TestSpectral:
    def test_the_fast_vectors_are_the_dense_ones(self, monkeypatch):
        graph = FeatureGraph.of(features(0, 300))
        expected = smallest_vectors_dense(graph, 2)
        products = []
        monkeypatch.setattr(
            FeatureGraph,
            "product",
            lambda self, x, real=FeatureGraph.product: (products.append(1), real(self, x))[1],
        )
        values, vectors = smallest_vectors(graph, 2)
        assert 0 < len(products) < 60  # it was the fast way
        torch.testing.assert_close(values, expected[0], atol=1e-12, rtol=0)
        torch.testing.assert_close(vectors, expected[1], atol=1e-8, rtol=0)

    def test_a_vector_does_not_depend_on_its_batch(self):
        both = FeatureGraph.of(features(1, 300))
        alone = FeatureGraph.of(features(1, 300)[1:])
        torch.testing.assert_close(
            smallest_vectors(both)[1][1:], smallest_vectors(alone)[1], atol=1e-8, rtol=0
        )

    def test_what_does_not_converge_is_solved_densely(self, monkeypatch):
        monkeypatch.setattr(spectral, "MOST_PRODUCTS", spectral.CHECK_EVERY)
        graph = FeatureGraph.of(features(2, 300, batch=1))
        torch.testing.assert_close(smallest_vectors(graph)[1], smallest_vectors_dense(graph)[1])

    def test_generalised_vectors_solve_their_problem(self):
        graph = FeatureGraph.of(features(3, 280, batch=1))
        values, vectors = smallest_vectors(graph, 2)
        x, a, d = generalised(graph, vectors)[0], graph.affinity[0], graph.degrees[0]
        torch.testing.assert_close(d[:, None] * x - a @ x, values[0] * d[:, None] * x, atol=1e-8, rtol=0)
        torch.testing.assert_close((x.square() * d[:, None]).sum(0), torch.ones(2).double())

    def test_a_blank_image_gives_something_finite(self):
        _, vectors = smallest_vectors(FeatureGraph.of(torch.ones(1, 400, 3)))
        assert vectors.isfinite().all()
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(1, 1).double())

    def test_two_apart_are_told_apart(self):
        two = torch.zeros(1, 300, 2)
        two[:, :100, 0], two[:, 100:, 1] = 1, 1
        _, vectors = smallest_vectors(FeatureGraph.of(two))
        side = vectors[0, :, 0] > 0
        assert side[:100].all() != side[100:].all()
        assert len(side[:100].unique()) == len(side[100:].unique()) == 1

    def test_zero_features_are_like_nothing(self):
        given = features(0, 20, 1)
        given[:, 3] = 0
        assert FeatureGraph.of(given).neighbours[0, 3].sum() == 0

    def test_features_that_are_not_finite_are_refused(self):
        with pytest.raises(DataError, match="finite"):
            FeatureGraph.of(torch.full((1, 4, 2), float("nan")))


class TestClusterNumbers:
    @pytest.mark.parametrize("clusters", [1, 2, 3, 4])
    def test_no_partition_is_better(self, clusters):
        values = torch.randn(3, 9, generator=torch.Generator().manual_seed(clusters)).double()
        labels = cluster_numbers(values, clusters)
        for row, found in zip(values, labels, strict=True):
            ordered = row.sort().values
            best = min(
                sum(
                    float((part - part.mean()).square().sum())
                    for part in torch.tensor_split(ordered, torch.tensor(cuts, dtype=torch.long))
                )
                for cuts in itertools.combinations(range(1, 9), clusters - 1)
            )
            ours = sum(
                float((row[found == k] - row[found == k].mean()).square().sum()) for k in range(clusters)
            )
            assert ours == pytest.approx(best, abs=1e-12)

    def test_labels_rise_with_the_values(self):
        values = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
        labels = cluster_numbers(values, 3)
        assert (labels.gather(1, values.argsort(1)).diff(dim=1) >= 0).all()
        assert labels.unique().tolist() == [0, 1, 2]

    def test_equal_values_stay_together(self):
        assert cluster_numbers(torch.tensor([[1.0, 5, 1, 5, 5]]), 3).unique().numel() == 2

    def test_too_many_clusters_are_refused(self):
        with pytest.raises(ConfigError):
            cluster_numbers(torch.zeros(1, 2), 3)


class TestProposals:
    def test_components_are_those_of_each_map(self):
        maps = torch.tensor(
            [[[1, 0, 1], [1, 0, 0], [0, 1, 1]], [[0, 0, 0]] * 3, [[1, 1, 1]] * 3], dtype=torch.bool
        )
        parts, counts = connected_components(maps)
        assert counts.tolist() == [3, 0, 1]
        assert parts[0].tolist() == [[1, 0, 2], [1, 0, 0], [0, 3, 3]]  # corners do not connect
        assert parts[2].unique().tolist() == [1]
        assert connected_components(maps[:0])[1].shape == (0,)

    def test_background_noise_and_crumbs_are_no_objects(self):
        labels = torch.zeros(20, 20, dtype=torch.long)
        labels[3:9, 4:6] = 1  # tall enough
        labels[12:16, 12:16] = 1  # a crumb: under 5 both ways
        (mask,) = proposals_of_labels(labels)
        assert torch.equal(mask, (labels == 1) & (torch.arange(20)[:, None] < 10))
        checks = (torch.arange(20)[:, None] + torch.arange(20)) % 2
        assert len(proposals_of_labels(checks)) == 0
        labels[0, 0] = labels[19, 19] = 1
        assert corners_inside((labels == 1)[None]).tolist() == [2]
        assert len(proposals_of_labels(labels)) == 0


class TestVoting:
    def test_iou(self):
        masks = torch.zeros(3, 4, 4, dtype=torch.bool)
        masks[0, :2], masks[1, 1:3] = True, True
        torch.testing.assert_close(
            pairwise_iou(masks), torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 0]])
        )

    def test_two_objects_make_two_clusters(self):
        masks = torch.zeros(5, 10, 10, dtype=torch.bool)
        for index, right in enumerate((5, 6, 7)):
            masks[index, :4, :right] = True
        masks[3:, 6:, 5:] = True
        clusters = cluster_proposals(pairwise_iou(masks))
        assert [(cluster.pivot, cluster.members.tolist()) for cluster in clusters] == [
            (1, [0, 1, 2]),
            (3, [3, 4]),
        ]
        assert torch.equal(vote_mask(masks, clusters[0], 0.2), masks[2])
        assert torch.equal(vote_mask(masks, clusters[0], 0.5), masks[1])

    def test_nothing_to_vote_on(self):
        assert cluster_proposals(pairwise_iou(torch.zeros(0, 4, 4, dtype=torch.bool))) == []


class TestRefinement:
    @pytest.fixture
    def picture(self):
        image = torch.full((3, 60, 80), 40, dtype=torch.uint8)
        disc = (torch.arange(60)[:, None] - 30).square() + (torch.arange(80) - 40).square() < 15**2
        image[:, disc] = 220
        return image, disc

    def test_the_mask_snaps_to_the_colours(self, picture):
        image, disc = picture
        cells = torch.nn.functional.max_pool2d(disc[None].float(), 5)[0] > 0
        refined = refine_mask(cells, image, CrfSettings())
        assert refined.refined
        assert ((refined.mask & disc).sum() / (refined.mask | disc).sum()) > 0.97

    def test_a_lost_object_is_kept_unrefined(self, picture):
        image, _ = picture
        cells = torch.zeros(12, 16, dtype=torch.bool)
        cells[::3, ::3] = True  # crumbs on one colour: the CRF clears them away
        plain = torch.full_like(image, 40)
        refined = refine_mask(cells, plain, CrfSettings())
        assert not refined.refined
        assert refined.mask.sum() == cells.sum() * 25

    def test_two_classes_in_half_the_work(self, picture):
        image, disc = picture
        masks = torch.stack([disc, torch.roll(disc, 7, 1)])
        both = binary_dense_crf(masks, image)
        for mask, found in zip(masks, both, strict=True):
            scores = torch.stack([~mask, mask]).float()
            full = dense_crf(
                scores, image, gaussian_sxy=3, gaussian_strength=7, bilateral_sxy=50, bilateral_srgb=5,
                bilateral_strength=10,
            )  # fmt: skip
            torch.testing.assert_close(found, full[1], atol=1e-3, rtol=0)

    def test_boxes_and_holes(self):
        mask = torch.zeros(20, 30, dtype=torch.bool)
        mask[5:11, 0:7] = True
        assert enlarged_box(mask) == (0, 3, 9, 13)
        ring = mask.clone()
        ring[7, 3] = False
        assert torch.equal(fill_holes(ring), mask)
