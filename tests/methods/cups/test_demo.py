"""The demo from rendering to report, at a size that only shows that every stage meets the next."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from nolabel.config import load_config
from nolabel.methods.cups.demo import MEASURES, ROWS, DemoConfig, run_demo

SMALL = [
    "train_scenes=4",
    "test_scenes=2",
    "size=[128,256]",
    "pictured=1",
    "pseudo_labels.proposals.runs=2",
    "pseudo_labels.proposals.min_agreement=0.5",
    "pseudo_labels.thing_threshold=0.02",
    "pseudo_labels.semantics.clusters=12",
    "train.fit.steps=3",
    "train.decay_steps=0",
    "train.fit.batch_size=2",
]


@pytest.mark.slow
def test_the_demo_ends_in_scores_and_one_self_contained_report(tmp_path: Path) -> None:
    result = run_demo(tmp_path, load_config(DemoConfig, "cups/demo", SMALL), workers=1)
    written = json.loads((tmp_path / "results.json").read_text())
    assert list(written) == list(ROWS) and written == result.scores
    for row in written.values():
        assert list(row) == list(MEASURES) and all(0 <= value <= 1 for value in row.values())
    assert written["pseudo_labels"]["pq"] > 0 and written["pseudo_labels"]["miou"] > 0.03, written
    report = result.report.read_text()
    assert report.count("data:image/") >= 13
    assert str(tmp_path) not in report and not re.search(r"""(src|href)=["']https?:""", report)
