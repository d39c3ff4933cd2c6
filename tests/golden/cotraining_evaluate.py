"""Co-Training's evaluator (golden cotraining/evaluate)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from golden.support import case_parameters, load_npz
from nolabel.metrics import confusion_matrix, cotraining_scores

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("path", case_parameters("cotraining", "evaluate"))
@pytest.mark.parametrize("mode", ["std", "void"])
def test_evaluator(path, mode):
    given, recorded = load_npz(path / "input.npz"), load_npz(path / "output.npz")
    size = len(recorded[f"{mode}_confusion"])
    void = size - 1
    # The ordinary mode turns everything above void into void; the void mode drops it.
    target = np.minimum(given["gt"], void) if mode == "std" else given["gt"]
    confusion = confusion_matrix(torch.from_numpy(given["pred"]), torch.from_numpy(target), size, size)
    confusion = confusion[:, :size].numpy()
    np.testing.assert_array_equal(confusion, recorded[f"{mode}_confusion"])
    scores = cotraining_scores(confusion, void_is_class=mode == "void", reference_compat=True)
    np.testing.assert_allclose(scores[:4], recorded[f"{mode}_summary_mIoU_fwIoU_mACC_pACC"], rtol=1e-9)
    np.testing.assert_allclose(scores.iou, recorded[f"{mode}_iou"], rtol=1e-9)
