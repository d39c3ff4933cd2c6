"""unMORE's stand-alone evaluator (golden unmore/evaluator)."""

from __future__ import annotations

import pytest

from golden.support import case_parameters, load_json
from nolabel.metrics import detection_scores

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("path", case_parameters("unmore", "evaluator"))
def test_average_precision(path):
    # Several JSON files make one case; the folder has one ground truth and one list of predictions.
    folder = path if path.is_dir() else path.parent
    recorded = load_json(folder / "metrics.json")
    found = load_json(folder / "predictions.json")
    for block, reference_compat in (("ids_from_0_as_given", True), ("ids_from_1", False)):
        scores = detection_scores(folder / "ground_truth.json", found, reference_compat=reference_compat)
        for task in ("bbox", "segm"):
            assert scores[task] == pytest.approx(recorded[block][task], abs=1e-4, nan_ok=True), (block, task)
        assert recorded[block]["number_of_annotations"] == len(found)
        assert recorded[block]["number_of_images"] == len({row["image_id"] for row in found})
