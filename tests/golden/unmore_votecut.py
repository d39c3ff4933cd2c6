"""VoteCut and MaskCut: cuts, clusters, votes, CRF, and the largest mask of each image (golden unmore/*)."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.methods.unmore.kmeans import cluster_numbers
from nolabel.methods.unmore.label_files import read_label_file
from nolabel.methods.unmore.maskcut import mask_cuts
from nolabel.methods.unmore.proposals import proposals_of_labels, to_grid
from nolabel.methods.unmore.refine import refine_mask
from nolabel.methods.unmore.spectral import FeatureGraph, smallest_vectors, smallest_vectors_dense
from nolabel.methods.unmore.top_one import top_one_mask
from nolabel.methods.unmore.votecut import vote_masks
from nolabel.methods.unmore.votecut_settings import (
    CrfSettings,
    CutSettings,
    MaskCutSettings,
    PseudoMaskConfig,
    VoteSettings,
)
from nolabel.methods.unmore.voting import cluster_proposals, pairwise_iou, vote_mask
from nolabel.models.dense_crf import binary_dense_crf

VECTORS = 1e-5  # the README's tolerances
CRF_IOU, VOTE_IOU = 0.99, 0.98


def iou(first, second) -> float:
    first, second = np.asarray(first) > 0, np.asarray(second) > 0
    union = (first | second).sum()
    return float((first & second).sum() / union) if union else 1.0


def picture(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)


@pytest.mark.golden
@pytest.mark.parametrize("solve", [smallest_vectors, smallest_vectors_dense])
@pytest.mark.parametrize("path", case_parameters("unmore", "ncut"))
def test_ncut(path, solve):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    for name, features in given.items():
        expected = recorded[f"{name}_eigvec_sign_fixed"]
        graph = FeatureGraph.of(torch.from_numpy(features)[None], CutSettings().tau)
        values, vectors = solve(graph, expected.shape[1])
        np.testing.assert_allclose(values[0].numpy(), recorded[f"{name}_eigval"], atol=VECTORS)
        np.testing.assert_allclose(vectors[0].numpy(), expected, atol=VECTORS)


@pytest.mark.golden
@pytest.mark.parametrize("path", case_parameters("unmore", "maskcut"))
def test_maskcut(path):
    recorded = load_npz(path / "output.npz")
    taus = [match[1] for name in recorded if (match := re.fullmatch(r"tau(.*)_masks_stride8", name))]
    assert taus
    for tau in taus:
        masks, vectors = recorded[f"tau{tau}_masks_stride8"], recorded[f"tau{tau}_eigvecs_sign_fixed"]
        side = masks.shape[-1]
        features = torch.from_numpy(load_npz(path.parent / "ncut" / "input.npz")[f"feats{side}"])
        cut = CutSettings(tau=float(tau))
        found = mask_cuts(features.T.reshape(-1, side, side), MaskCutSettings(masks=len(masks)), cut)
        np.testing.assert_array_equal(found.masks.numpy(), masks > 0)
        ours = found.vectors.flatten(1).numpy()
        ours = ours * np.sign((ours * vectors).sum(1, keepdims=True))
        np.testing.assert_allclose(ours, vectors, atol=VECTORS)
        if f"affinity_tau{tau}" in recorded:
            graph = FeatureGraph.of(features[None], cut.tau)
            np.testing.assert_array_equal(graph.neighbours[0].numpy() > 0, recorded[f"affinity_tau{tau}"] > 0)
            np.testing.assert_allclose(graph.degrees[0].numpy(), recorded[f"degree_tau{tau}"])


@pytest.mark.golden
@pytest.mark.parametrize("path", case_parameters("unmore", "crf"))
def test_crf(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    found = binary_dense_crf(torch.from_numpy(given["mask"])[None] > 0, picture(given["image"]))[0] > 0.5
    assert iou(found, recorded["refined"]) >= CRF_IOU


def squares(values: np.ndarray, labels: np.ndarray) -> float:
    """Sum of squared distances to the means of the labels."""
    return sum(((values[labels == k] - values[labels == k].mean()) ** 2).sum() for k in np.unique(labels))


@pytest.mark.golden
@pytest.mark.parametrize("path", case_parameters("unmore", "votecut"))
def test_votecut_clusters(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    maps = [given[f"eig_{i}"] for i in range(sum(name.startswith("eig_") for name in given))]
    runs = [(values, k) for values in maps for k in VoteSettings().clusters]
    for number, (values, clusters) in enumerate(runs):
        theirs = recorded[f"kmeans_{number}"].reshape(-1)
        ours = cluster_numbers(torch.from_numpy(values).reshape(1, -1), clusters)[0].numpy()
        if len(set(zip(ours.tolist(), theirs.tolist(), strict=True))) == clusters:
            continue  # the same up to the names of the labels
        # Lloyd's iteration stopped short of the optimum, which is found here: better, and nearly the same.
        values = values.reshape(-1)
        assert squares(values, ours) < squares(values, theirs)
        order = np.argsort([values[theirs == k].mean() for k in range(clusters)]).argsort()
        assert (order[theirs] == ours).mean() > 0.98

    proposals = [
        to_grid(proposals_of_labels(torch.from_numpy(recorded[f"kmeans_{number}"]).long()), side)
        for number, side in ((n, recorded["proposals60"].shape[-1]) for n in range(len(runs)))
    ]
    found = sorted(mask.numpy().tobytes() for mask in torch.cat(proposals))
    assert found == sorted((mask > 0).tobytes() for mask in recorded["proposals60"])


@pytest.mark.golden
@pytest.mark.parametrize("path", case_parameters("unmore", "votecut"))
def test_votecut_votes(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    proposals = torch.from_numpy(recorded["proposals60"]) > 0
    overlap = pairwise_iou(proposals)
    np.testing.assert_allclose(overlap.numpy(), recorded["iou"], atol=1e-6)
    clusters = cluster_proposals(overlap, VoteSettings().alike, reference_compat=True)
    found = {(c.pivot, tuple(c.members.tolist())): vote_mask(proposals, c).numpy() for c in clusters}
    expected = {
        (int(pivot), tuple(np.flatnonzero(recorded["cluster_of"] == number).tolist())): number
        for number, pivot in enumerate(recorded["pivots"])
    }
    assert found.keys() == expected.keys()

    finals = recorded["final_bit"] > 0
    assert {mask.tobytes() for mask in found.values()} >= {mask.tobytes() for mask in finals}
    image = picture(given["image"])
    for cells, mask, success in zip(finals, recorded["final_mask"], recorded["final_crf"], strict=True):
        refined = refine_mask(torch.from_numpy(cells), image, CrfSettings())
        assert refined.refined == bool(success)
        assert iou(refined.mask, mask) >= VOTE_IOU


@pytest.mark.golden
@pytest.mark.parametrize("path", case_parameters("unmore", "votecut"))
def test_votecut_from_vectors_to_masks(path):
    # With the exact clusters in the place of Lloyd's the whole still finds the recorded objects.
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    vectors = [
        torch.from_numpy(given[f"eig_{i}"]) for i in range(sum(name.startswith("eig_") for name in given))
    ]
    found = vote_masks(vectors, picture(given["image"]), PseudoMaskConfig())
    assert found.columns["cluster_size"] == sorted(found.columns["cluster_size"], reverse=True)
    sizes = recorded["final_size"]
    for mask, size in zip(recorded["final_mask"], sizes, strict=True):
        if size == 1:
            continue  # a lone proposal may differ with the cells in question
        best = max(range(len(found.masks)), key=lambda i: iou(found.masks[i], mask))
        assert iou(found.masks[best], mask) >= 0.95
        assert found.columns["cluster_size"][best] == size


@pytest.mark.golden
@pytest.mark.parametrize("path", case_parameters("unmore", "jsons/top1_masks*.npz"))
def test_top_one_masks(path):
    recorded = load_npz(path)
    images = {
        image.file_name.split("/")[-1].split(".")[0]: image
        for image in read_label_file(path.parent / "votecut.json")
    }
    for name, mask in recorded.items():
        np.testing.assert_array_equal(top_one_mask(images[name]).numpy(), mask > 0)
