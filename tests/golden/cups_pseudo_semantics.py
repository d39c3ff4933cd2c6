"""Golden: dense CRF, DepthG, the depth-guided mixture and the fusion of the original CUPS pseudo-labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from golden.support import case_parameters, fill_layout, load_npz
from nolabel.methods.cups.fusion import align_semantic_to_instances, clear_border_columns
from nolabel.methods.cups.semantics import (
    nearness,
    semantic_log_probabilities,
    window_log_probabilities,
)
from nolabel.methods.cups.statistics import PseudoClassStatistics, split_things_and_stuff
from nolabel.models.dense_crf import crf_image, dense_crf
from nolabel.models.features.depthg import DepthG, ProbeClassifier, network_arguments
from nolabel.weights.layouts import depthg as layout

pytestmark = pytest.mark.golden

# Tolerances of golden/cups_pseudo/README.md
RELATIVE, ARGMAX_SHARE, CRF_ABSOLUTE = 1e-4, 0.999, 2e-3
BORDER_COLUMNS = 32  # spec 9.1


def assert_relative(actual: torch.Tensor, expected: np.ndarray, tolerance: float) -> None:
    assert np.abs(actual.numpy() - expected).max() <= tolerance * np.abs(expected).max()


def depthg_network(case: Path) -> DepthG:
    state = layout.to_network(fill_layout(next(case.glob("layout*.json"))))
    network = DepthG(**network_arguments(state))
    network.load_state_dict(state)
    return network.eval()


@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "crf*"))
def test_dense_crf(case: Path) -> None:
    given, expected = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    image = crf_image(torch.from_numpy(given["image"])[0].float() / 255, reference_compat=True)
    np.testing.assert_array_equal(image.flip(0).permute(1, 2, 0).numpy(), expected["bgr8"])
    probabilities = dense_crf(torch.from_numpy(given["logits"].astype(np.float32))[0], image)
    assert np.abs(probabilities.numpy() - expected["probabilities"].astype(np.float32)).max() <= CRF_ABSOLUTE
    assert (probabilities.argmax(0).numpy() == expected["argmax"]).mean() >= ARGMAX_SHARE


@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "depthg_vit*"))
def test_depthg_network(case: Path) -> None:
    given, expected = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    network = depthg_network(case)
    with torch.inference_mode():
        for name, image in given.items():
            features, code = network.features_and_code(torch.from_numpy(image).float() / 255)
            assert_relative(features, expected[f"{name}_features"], RELATIVE)
            assert_relative(code, expected[f"{name}_code"], RELATIVE)
            assert_relative(network.probe.log_probabilities(code), expected[f"{name}_log_probs"], RELATIVE)
            loss, assigned = network.probe.loss(code)
            assert float(loss) == pytest.approx(float(expected[f"{name}_cluster_loss"]), rel=RELATIVE)
            agreement = (assigned.argmax(1).numpy() == expected[f"{name}_argmax"]).mean()
            assert agreement >= ARGMAX_SHARE


@pytest.mark.slow
@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "depthg_mix*"))
def test_depth_guided_mixture(case: Path) -> None:
    given, expected = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    network = depthg_network(case)
    classifier = ProbeClassifier(network)
    image = torch.from_numpy(given["image"])[0].float() / 255
    disparity = torch.from_numpy(given["disparity"])[0]
    depth = float(given["fb"]) / (disparity.abs() + 1e-10) * disparity.sign()
    weight = nearness(depth, reference_compat=True)
    assert_relative(weight[None], expected["weight"], RELATIVE)
    with torch.inference_mode():
        windows = window_log_probabilities(image, network, classifier)[None]
    combined = semantic_log_probabilities(image, network, classifier, depth=depth, reference_compat=True)[
        None
    ]
    step = windows.shape[-1] // expected["sliding"].shape[-1]
    assert_relative(windows[..., ::step, ::step], expected["sliding"], RELATIVE)
    assert_relative(combined[..., ::step, ::step], expected["combined_s4"], RELATIVE)
    assert (combined.argmax(1).numpy() == expected["argmax"]).mean() >= ARGMAX_SHARE


@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "fusion*"))
def test_fusion_and_split(case: Path) -> None:
    given, expected = load_npz(case / "input.npz"), load_npz(case / "output.npz")
    num_classes = len(expected["all_pixels"])
    statistics = PseudoClassStatistics.zeros(num_classes)
    for i, (semantic, instances) in enumerate(
        zip(torch.from_numpy(given["semantic"]), torch.from_numpy(given["instances"]), strict=True)
    ):
        instances = clear_border_columns(instances, BORDER_COLUMNS)
        fused = align_semantic_to_instances(semantic, instances, num_classes, reference_compat=True)
        np.testing.assert_array_equal(fused.numpy(), expected["fused_semantic"][i])
        np.testing.assert_array_equal(instances.numpy(), expected["fused_instances"][i])
        statistics.update(fused, instances)
    np.testing.assert_array_equal(statistics.all_pixels.numpy(), expected["all_pixels"])
    np.testing.assert_array_equal(statistics.inside_proposals.numpy(), expected["pixels_in_proposals"])
    np.testing.assert_array_equal(statistics.per_proposal.numpy(), expected["per_proposal"])
    for name in expected:
        if name.startswith("things_"):
            threshold = name.removeprefix("things_")
            split = split_things_and_stuff(statistics, float(threshold), reference_compat=True)
            assert split.things == tuple(expected[name].tolist())
            stuff = expected[f"stuff_{threshold}"]
            # Order counts except among equal ratios (all of them zero).
            assert set(split.stuff) == set(stuff.tolist())
            ratios = np.array(split.ratios)
            np.testing.assert_array_equal(ratios[list(split.stuff)], ratios[stuff])
