"""Golden: DepthG's correlation losses, cluster loss and farthest-point sampling (cups_pseudo/depthg_losses)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.support import case_parameters, load_npz
from nolabel.methods.cups.depthg.losses import CorrelationLosses, Shifts, correlation_losses
from nolabel.methods.cups.depthg.sampling import farthest_coordinates
from nolabel.models.features.depthg import ClusterProbe

pytestmark = pytest.mark.golden

RELATIVE = 1e-5  # README of the folder
SHIFTS = Shifts(intra=0.39, inter=0.25, negative=0.26, depth=0.03)  # README of the folder


def load(case: Path) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    given = {name: torch.from_numpy(value) for name, value in load_npz(case / "input.npz").items()}
    return given, load_npz(case / "output.npz")


def assert_relative(actual: Tensor, expected: np.ndarray, name: str) -> None:
    assert tuple(actual.shape) == expected.shape, name
    worst = np.abs(actual.numpy().astype(np.float64) - expected).max() / np.abs(expected).max()
    assert worst <= RELATIVE, (name, worst)


def losses(given: dict[str, Tensor], pointwise: bool) -> CorrelationLosses:
    return correlation_losses(
        (given["feats"], given["feats_pos"]),
        (given["code"], given["code_pos"]),
        given["depth"],
        (given["coords1"], given["coords2"]),
        given["perms"],
        SHIFTS,
        pointwise=pointwise,
        reference_compat=True,
    )


@pytest.mark.parametrize("prefix", ["", "pointwise_"])
@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "depthg_losses*"))
def test_correlation_losses(case: Path, prefix: str) -> None:
    given, recorded = load(case)
    computed = losses(given, pointwise=bool(prefix))
    named = {"intra": computed.intra, "inter": computed.inter, "neg": computed.negative}
    for name, term in {**named, "depth": computed.depth}.items():
        assert term is not None
        assert_relative(term.loss.mean(), recorded[f"{prefix}{name}_loss"], name)
        assert_relative(term.correlation.mean(), recorded[f"{prefix}{name}_cd"], name)
    every = recorded[f"{prefix}neg_loss_all"]
    assert_relative(computed.negative.loss[: len(every)], every, "neg_loss_all")


@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "depthg_losses*"))
def test_cluster_loss(case: Path) -> None:
    given, recorded = load(case)
    probe = ClusterProbe(*given["clusters"].shape)
    probe.load_state_dict({"clusters": given["clusters"]})
    with torch.inference_mode():
        loss, assigned = probe.loss(given["code"])
        np.testing.assert_array_equal(assigned.argmax(1).numpy(), recorded["cluster_argmax"])
        assert_relative(loss, recorded["cluster_loss"], "cluster_loss")
        soft, probabilities = probe.loss(given["code"], sharpness=3.0)
    assert_relative(soft, recorded["cluster_loss_alpha3"], "cluster_loss_alpha3")
    assert_relative(probabilities, recorded["cluster_probs_alpha3"], "cluster_probs_alpha3")


@pytest.mark.parametrize("case", case_parameters("cups_pseudo", "depthg_losses*"))
def test_farthest_point_sampling(case: Path) -> None:
    given, recorded = load(case)
    expected = recorded["fps_coords"]
    size = tuple(given["feats"].shape[-2:])
    coordinates = farthest_coordinates(given["depth"], size, expected.shape[1], reference_compat=True)
    assert_relative((coordinates + 1) / 2, expected, "fps_coords")
