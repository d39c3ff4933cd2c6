"""DepthG's unsupervised metrics (golden cups_pseudo/unsupervised_metrics)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.metrics import SemanticQuality

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("path", case_parameters("cups_pseudo", "unsupervised_metrics"))
def test_unsupervised_metrics(path):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    clusters, classes = recorded["stats"].shape
    metric = SemanticQuality(classes, clusters, matching="one_to_one")
    metric.update(torch.from_numpy(given["pred"]), torch.from_numpy(given["target"]))
    np.testing.assert_array_equal(metric.confusion[:, :-1].T.numpy(), recorded["stats"])
    scores = metric.compute()
    np.testing.assert_array_equal(scores.assignment, recorded["assignment"])
    np.testing.assert_allclose(100 * scores.miou, recorded["miou"], rtol=1e-5)
    np.testing.assert_allclose(100 * scores.accuracy, recorded["accuracy"], rtol=1e-5)
