"""A folder with a wrong calibration, a repeated frame and a black image: what doctor and report say (issue 3, 5)."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest

from nolabel.config import load_config
from nolabel.data import doctor
from nolabel.methods.cups.pseudo_label_config import PseudoLabelConfig
from nolabel.methods.cups.pseudo_labels import PseudoLabelSummary, generate_pseudo_labels
from nolabel.methods.cups.statistics import read_labels
from nolabel.world import Rig, WorldSettings, write_world
from nolabel.world.faults import blacken, miscalibrate, repeat_frame

CONFIG = load_config(
    PseudoLabelConfig,
    overrides=[
        "semantics.clusters=6",
        "semantics.fit_frames=3",
        "semantics.fit_samples=200",
        "semantics.restarts=1",
        "proposals.runs=2",
        "proposals.cycles=3",
        "crf.iterations=1",
        "crf.scale=0.5",
    ],
)
REPEATED, BLACK = "000000_000001", "000001_000002"  # the pair, and the pair before the black frame
REPORT_WORDS = ("What needs attention", "repeats the first: no objects possible", "is black")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "good"
    write_world(root, WorldSettings(layout="folder", scenes=2, frames=4, rig=Rig(size=(128, 256))))
    return root


def spoilt(footage: Path, place: Path, **factors: float) -> Path:
    shutil.copytree(footage, place)
    miscalibrate(place, **factors)
    repeat_frame(place, "000000_000001", "000000_000002")
    blacken(place, "000001_000003")
    return place


def label(video: Path, out: Path) -> PseudoLabelSummary:
    return generate_pseudo_labels(video, out, CONFIG, device="cpu", progress=False)


def kinds(findings: object) -> set[str]:
    return {finding.kind for finding in findings if finding.is_problem}  # type: ignore[attr-defined]


def test_good_footage_has_no_problem(footage: Path, tmp_path: Path) -> None:
    assert doctor(footage).ok
    summary = label(footage, tmp_path)
    assert kinds(summary.findings) <= {"no objects in any image"}
    assert "problem: implausible" not in str(summary)


@pytest.mark.parametrize(
    ("factors", "kind"),
    [
        ({"baseline": 2.0}, "implausible camera height"),
        ({"intrinsics": 0.5}, "intrinsics of another image size"),
    ],
)
def test_every_fault_is_said(footage: Path, tmp_path: Path, factors: dict[str, float], kind: str) -> None:
    video = spoilt(footage, tmp_path / "video", **factors)
    report = doctor(video)
    assert {kind, "repeated frames", "images without content"} <= kinds(report.findings)
    summary = label(video, tmp_path / "labels")
    assert kind in kinds(summary.findings)
    text, page = str(summary), summary.report.read_text()
    for words in (*REPORT_WORDS[1:], kind, REPEATED, BLACK, "left/000001_000003.png"):
        assert words in text and words in page, words
    assert page.index(kind) < page.index('<h2 id="section-2"')  # at the top
    # The black pair has no labels; the repeated one has classes and says why it has no objects.
    assert [name for name, _ in summary.labelling.failed] == [BLACK]
    assert not (summary.out / f"{BLACK}_instance.png").exists()
    assert not read_labels(summary.out / f"{REPEATED}_instance.png").any()
    assert summary.labelling.records[REPEATED]["empty"] == "repeated frame"
    assert summary.labelling.records[REPEATED]["classes"] > 1
    with (summary.out / "images.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert len(rows) == 6
    assert rows[BLACK]["result"] == "no labels" and "black" in rows[BLACK]["notes"]
    assert "repeats the first" in rows[REPEATED]["notes"]
    if "baseline" in factors:
        assert any("wrong baseline?" in row["notes"] for row in rows.values())
    else:
        assert any("wrong cy?" in row["notes"] for row in rows.values())
