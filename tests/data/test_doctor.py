import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from nolabel.cli import data as cli
from nolabel.data import DoctorReport, doctor

from .conftest import picture, save


def kinds(report: DoctorReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_good_stereo_video_has_no_findings(stereo_folder: Path) -> None:
    report = doctor(stereo_folder)
    assert report.findings == () and report.ok
    assert report.layout == "stereo"
    assert (
        report.facts["clips"] == 2 and report.facts["stereo frames"] == 7 and report.facts["size"] == "48x64"
    )
    assert report.text().endswith("no problems found")


def test_missing_partners(stereo_folder: Path) -> None:
    for n in range(4):
        (stereo_folder / "right" / "drive_a" / f"{n}.png").unlink()
    (stereo_folder / "left" / "drive_b" / "2.png").unlink()
    report = doctor(stereo_folder)
    (finding,) = report.findings
    assert (finding.kind, finding.count) == ("missing partner frames", 5) and not report.ok
    assert finding.examples == ("left/drive_a/0.png", "left/drive_a/1.png", "left/drive_a/2.png")
    assert "and 2 more" in report.text() and "problem: missing partner frames (5)" in report.text()


def test_unreadable_files(stereo_folder: Path) -> None:
    path = stereo_folder / "right" / "drive_a" / "1.png"
    path.write_bytes(path.read_bytes()[:-300])
    report = doctor(stereo_folder)
    assert kinds(report) == {"unreadable files": 1} and report.findings[0].examples == (
        "right/drive_a/1.png",
    )


def test_wrong_sizes(stereo_folder: Path) -> None:
    save(stereo_folder / "right" / "drive_a" / "1.png", picture(1, 48, 60))
    for side in ("left", "right"):
        save(stereo_folder / side / "drive_b" / "1.png", picture(1, 40, 64))
    assert kinds(doctor(stereo_folder)) == {"views of different size": 1, "images of another size": 1}


def test_absent_calibration(stereo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("elsewhere") / "camera.yaml"
    (stereo_folder / "calibration.yaml").rename(path)
    assert kinds(doctor(stereo_folder)) == {"missing calibration": 1}
    assert doctor(stereo_folder, calibration=path).ok


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("fx", "4000", "fx = 4000 px for images 64 px wide: 1 degrees across"),
        ("fy", "80", "fx = 40 and fy = 80 differ"),
        ("cx", "609.6", "cx = 609.6 px is far from the middle of 64 px"),
        ("baseline", "540", "baseline = 540 m"),
        ("fps", "0.1", "fps = 0.1"),
    ],
)
def test_implausible_calibration(stereo_folder: Path, key: str, value: str, message: str) -> None:
    path = stereo_folder / "calibration.yaml"
    lines = [
        f"{key}: {value}" if line.startswith(f"{key}:") else line for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines))
    (finding,) = doctor(stereo_folder).findings
    assert finding.kind == "implausible calibration" and message in finding.examples[0]


def test_gaps_are_a_note_and_lonely_frames_a_problem(stereo_folder: Path) -> None:
    for side in ("left", "right"):
        (stereo_folder / side / "drive_a" / "2.png").unlink()
        for n in (1, 2):
            (stereo_folder / side / "drive_b" / f"{n}.png").unlink()
    report = doctor(stereo_folder)
    assert kinds(report) == {"clips without a pair": 1, "gaps in frame numbers": 1}
    assert report.findings[0].examples == ("drive_b",)
    assert report.findings[1].examples == ("drive_a: 1 -> 3",) and not report.findings[1].is_problem


def test_views_swapped_and_not_rectified(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for n in range(2):
        left = rng.integers(0, 256, (60, 80, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        save(tmp_path / "left" / f"{n}.png", left)
        save(tmp_path / "right" / f"{n}.png", np.roll(left, (5, 8), axis=(0, 1)))
    (tmp_path / "calibration.yaml").write_text("fx: 300\nfy: 300\ncx: 160\ncy: 120\nbaseline: 0.5\n")
    report = doctor(tmp_path)
    assert kinds(report) == {"left and right swapped": 1, "views not rectified": 1}
    # The detector works on an image pyramid: its places are good to about a pixel.
    rows = float(report.findings[1].examples[0].split()[3])
    disparity = float(report.findings[0].examples[0].split()[2])
    assert rows == pytest.approx(-5, abs=1) and disparity == pytest.approx(-8, abs=1)


def test_good_labels_have_no_findings(labelled_folder: Path) -> None:
    report = doctor(labelled_folder)
    assert report.findings == () and report.layout == "labelled"
    assert report.facts["labels"] == 5 and report.facts["label space"] == "cityscapes_19"


def test_unknown_and_empty_labels(labelled_folder: Path) -> None:
    save(labelled_folder / "labels" / "1.png", np.full((48, 64), 77, np.uint8))
    save(labelled_folder / "labels" / "2.png", np.full((48, 64), 255, np.uint8))
    save(labelled_folder / "labels" / "3.png", np.zeros((48, 60), np.uint8))
    report = doctor(labelled_folder)
    assert kinds(report) == {"unknown label ids": 1, "empty label maps": 2, "labels of another size": 1}
    by_kind = {finding.kind: finding for finding in report.findings}
    assert by_kind["unknown label ids"].examples == ("77 (first in labels/1.png)",)


def test_void_as_one_more_class_is_a_note(labelled_folder: Path) -> None:
    ids = np.zeros((48, 64), np.uint8)
    ids[:5] = 11
    save(labelled_folder / "labels" / "1.png", ids)
    report = doctor(labelled_folder, space="camvid_11")
    assert kinds(report) == {"void as one more class": 1} and report.ok


def test_images_and_labels_without_each_other(labelled_folder: Path) -> None:
    (labelled_folder / "labels" / "4.png").unlink()
    report = doctor(labelled_folder)
    assert kinds(report) == {"images without label map": 1} and report.ok
    (labelled_folder / "images" / "3.jpg").unlink()
    assert kinds(doctor(labelled_folder))["label maps without image"] == 1


def test_cityscapes_video(cityscapes: Callable[..., Path]) -> None:
    root = cityscapes({("ulm", "000001"): [0, 1, 2], ("ulm", "000002"): [0, 1]}, {("ulm", "000001"): [0]})
    (root / "rightImg8bit_sequence/train/ulm/ulm_000001_000001_rightImg8bit.png").unlink()
    report = doctor(root)
    assert kinds(report) == {"missing partner frames": 1, "missing calibration": 1}
    assert report.facts["stereo frames"] == 4 and report.facts["split"] == "train"
    assert dict.fromkeys(report.findings[1].examples) == {"ulm_000002": None}


def test_nothing_there(tmp_path: Path) -> None:
    assert kinds(doctor(tmp_path / "gone")) == {"cannot be opened": 1}
    report = doctor(tmp_path)
    assert report.layout is None and "holds no images" in report.findings[0].examples[0]
    (tmp_path / "left").mkdir()
    assert kinds(doctor(tmp_path))["cannot be opened"] == 2


def test_sampling_decodes_an_even_selection(stereo_folder: Path) -> None:
    assert doctor(stereo_folder, sample=3).facts["decoded"] == 6
    assert doctor(stereo_folder, sample=None).facts["decoded"] == 14


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("doctor")(cli.doctor)
    app.command("datasets")(cli.datasets)
    return app


def test_command_leaves_with_one_where_there_are_problems(app: typer.Typer, stereo_folder: Path) -> None:
    run = CliRunner().invoke
    good = run(app, ["doctor", str(stereo_folder)])
    assert good.exit_code == 0 and "no problems found" in good.output
    (stereo_folder / "calibration.yaml").unlink()
    bad = run(app, ["doctor", str(stereo_folder), "--json"])
    assert bad.exit_code == 1
    content = json.loads(bad.output)
    assert content["ok"] is False and content["findings"][0]["kind"] == "missing calibration"


def test_datasets_command(app: typer.Typer, stereo_folder: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["datasets"])
    assert listed.exit_code == 0
    for word in ("cityscapes (stereo video)", "kitti_raw", "licence", "https://www.cityscapes-dataset.com"):
        assert word in listed.output
    found = run(app, ["datasets", "--root", str(stereo_folder)])
    assert "folder (stereo video): left 7, right 7, calibration 1" in found.output
