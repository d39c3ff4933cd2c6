"""``nolabel doctor`` on video of one camera: frames before each other, labels, sizes, flow files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nolabel.data import DoctorReport, doctor
from nolabel.structures.flow_tenths import TENTHS

SIZE = (16, 24)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3))


@pytest.fixture
def viper(tmp_path: Path) -> Path:
    """Two sequences of two frames each, with flow."""
    for sequence in ("001", "002"):
        for number in (9, 10):
            stem = f"{sequence}/{sequence}_{number:05d}"
            save(tmp_path / "train" / "img" / f"{stem}.jpg", picture(number))
            save(tmp_path / "train" / "cls" / f"{stem}.png", np.full(SIZE, 3))
        place = tmp_path / "flow" / "train" / f"{sequence}_0001000009{TENTHS}"
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, np.zeros((*SIZE, 2), np.int16))
    return tmp_path


def kinds(report: DoctorReport) -> dict[str, int]:
    return {finding.kind: finding.count for finding in report.findings}


def test_whole_clips_have_no_findings(viper: Path) -> None:
    report = doctor(viper)
    assert report.ok and not report.findings and report.layout == "viper"
    facts = {
        key: report.facts[key] for key in ("clips", "frames", "samples", "labelled frames", "flow files")
    }
    assert facts == {"clips": 2, "frames": 4, "samples": 2, "labelled frames": 4, "flow files": 2}


def test_faults_of_clips_are_found(viper: Path) -> None:
    (viper / "train/img/001/001_00009.jpg").unlink()
    (viper / "train/cls/002/002_00009.png").unlink()
    save(viper / "train/img/002/002_00009.jpg", picture(1, (16, 20)))
    save(viper / "train/cls/002/002_00010.png", np.full((8, 12), 99))
    next((viper / "flow/train").glob("002*")).unlink()
    report = doctor(viper)
    assert not report.ok
    assert kinds(report) == {
        "frames without the one before": 1,
        "images of another size": 1,
        "labels of another size": 1,
        "unknown label ids": 1,
        "missing flow files": 1,
        "key frames without label map": 1,
    }
    notes = [finding.kind for finding in report.findings if not finding.is_problem]
    assert notes == ["key frames without label map"]


def test_flow_of_a_named_folder_is_checked(viper: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("flow")
    assert kinds(doctor(viper, flow=other)) == {"missing flow files": 2}
    for sequence in ("001", "002"):
        np.save(other / f"{sequence}_0001000009{TENTHS}", np.zeros((16, 16, 2), np.int16))
    assert kinds(doctor(viper, flow=other)) == {"flow of another shape": 2}


def test_left_sequences_alone_and_own_folders_are_clips(tmp_path: Path) -> None:
    for number in (18, 19):
        stem = f"train/ulm/ulm_000001_{number:06d}"
        save(tmp_path / "cs" / "leftImg8bit_sequence" / f"{stem}_leftImg8bit.png", picture(number))
    save(tmp_path / "cs/gtFine/train/ulm/ulm_000001_000019_gtFine_labelIds.png", np.full(SIZE, 7))
    report = doctor(tmp_path / "cs")
    assert report.ok and (report.layout, report.facts["samples"]) == ("cityscapes_seq", 1)
    for number in range(3):
        save(tmp_path / "own" / "images" / "a" / f"{number}.png", picture(number))
        save(tmp_path / "own" / "labels" / "a" / f"{number}.png", np.full(SIZE, number))
    assert doctor(tmp_path / "own").layout == "labelled"
    report = doctor(tmp_path / "own", clips=True)
    assert report.ok and (report.layout, report.facts["samples"]) == ("folder", 2)
