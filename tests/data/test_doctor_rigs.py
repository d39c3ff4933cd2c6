"""What the doctor says about posed footage with known faults."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nolabel.data import doctor
from nolabel.data.doctor_report import Findings, Request
from nolabel.data.doctor_rigs import check_pose_path
from nolabel.world.rig_faults import FAULTS

SAID = {
    "inverted poses": "poses in the wrong direction",
    "poses in centimetres": "implausible steps",
    "poses at half their scale": "intrinsics, positions and poses disagree",
    "a matrix that is no rotation": "poses that are no rigid motion",
    "twice the focal length": "intrinsics, positions and poses disagree",
    "a missing image": "missing images",
}


def kinds(root: Path) -> set[str]:
    return {finding.kind for finding in doctor(root).findings if finding.is_problem}


def test_a_good_world_has_no_problems(kitti360_world):
    report = doctor(kitti360_world)
    assert report.layout == "kitti360" and report.ok, report.text()
    assert report.facts["cameras"] == "image_00, image_01, image_02, image_03"
    assert 0.8 < float(report.facts["pace of the points"].split()[0]) < 1.25


@pytest.mark.parametrize("fault", SAID)
def test_faults_are_named(kitti360_world, tmp_path, fault):
    root = tmp_path / "copy"
    shutil.copytree(kitti360_world, root, ignore=shutil.ignore_patterns("sscbench", "data_3d_raw"))
    FAULTS[fault](root)
    assert SAID[fault] in kinds(root), doctor(root).text()


def test_jumps_are_found():
    poses = torch.eye(4, dtype=torch.float64).repeat(20, 1, 1)
    poses[:, 2, 3] = torch.arange(20) * 1.5
    poses[11:, 0, 3] += 40
    camera = SimpleNamespace(to_rig=torch.eye(4, dtype=torch.float64))
    drive = SimpleNamespace(name="drive", frames=tuple(range(20)), poses=poses, cameras={"left": camera})
    findings = Findings()
    check_pose_path(Request(Path(), None, None, None, None, findings), drive, "left")
    assert [(one.kind, one.examples) for one in findings.sorted()] == [
        ("jumps in the poses", ("drive: 40.0 m from frame 10 to 11",))
    ]


def test_a_folder_without_calibration_cannot_be_opened(kitti360_world, tmp_path):
    for part in kitti360_world.iterdir():
        if part.name != "calibration":
            (tmp_path / part.name).symlink_to(part)
    assert kinds(tmp_path) == {"cannot be opened"}
