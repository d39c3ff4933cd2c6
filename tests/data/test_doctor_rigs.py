"""What the doctor says about posed footage with known faults."""

from pathlib import Path

import numpy as np
import pytest

from data.test_kitti360 import DRIVE, linked
from nolabel.data import doctor


def kinds(root: Path) -> set[str]:
    return {finding.kind for finding in doctor(root).findings if finding.is_problem}


@pytest.fixture
def copy(kitti360_world, tmp_path):
    """The world with poses and calibration of its own."""
    root = linked(kitti360_world, tmp_path, "data_poses", "calibration")
    for part in (f"data_poses/{DRIVE}", "calibration"):
        (root / part).mkdir(parents=True)
        for path in (kitti360_world / part).iterdir():
            (root / part / path.name).write_bytes(path.read_bytes())
    return root


def poses_of(root: Path) -> tuple[Path, np.ndarray]:
    path = root / "data_poses" / DRIVE / "poses.txt"
    return path, np.loadtxt(path)


def write_inverted(root: Path) -> None:
    path, rows = poses_of(root)
    whole = np.tile(np.eye(4), (len(rows), 1, 1))
    whole[:, :3] = rows[:, 1:].reshape(-1, 3, 4)
    # A drive that had turned by 90 degrees before.
    turn = np.array([[0, -1, 0, 4], [1, 0, 0, 2], [0, 0, 1, 0], [0, 0, 0, 1]])
    inverse = np.linalg.inv(turn @ whole)
    np.savetxt(path, np.concatenate([rows[:, :1], inverse[:, :3].reshape(len(rows), 12)], axis=1))


def test_a_good_world_has_no_problems(copy):
    report = doctor(copy)
    assert report.layout == "kitti360" and report.ok, report.text()
    assert report.facts["cameras"] == "image_00, image_01, image_02, image_03"
    assert 0.8 < float(report.facts["pace of the points"].split()[0]) < 1.25


def test_faults_of_poses(copy):
    path, rows = poses_of(copy)
    write_inverted(copy)
    assert "poses in the wrong direction" in kinds(copy)
    sheared = rows.copy()
    sheared[1, 1:4] *= 1.3
    np.savetxt(path, sheared)
    assert "poses that are no rigid motion" in kinds(copy)
    far = rows.copy()
    far[:, [4, 8, 12]] *= 100
    np.savetxt(path, far)
    assert "implausible steps" in kinds(copy)
    shifted = rows.copy()
    shifted[1:, 0] += 1  # a frame is missing, and every pose is that of the frame before
    np.savetxt(path, shifted)
    assert "missing images" in kinds(copy)


def test_jumps_are_found():
    from types import SimpleNamespace

    import torch

    from nolabel.data.doctor_report import Findings, Request
    from nolabel.data.doctor_rigs import check_pose_path

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


def test_faults_of_cameras(copy):
    path = copy / "calibration" / "perspective.txt"
    good = path.read_text()
    lines = []
    for line in good.splitlines():
        name, values = line.split(":", 1)
        numbers = values.split()
        if name.startswith("P_rect"):
            numbers[0], numbers[5] = (str(float(numbers[place]) * 2) for place in (0, 5))
        lines.append(f"{name}: {' '.join(numbers)}")
    path.write_text("\n".join(lines) + "\n")
    found = doctor(copy)
    assert "intrinsics, positions and poses disagree" in {one.kind for one in found.findings}, found.text()
    path.write_text(good.replace("P_rect_00", "P_lost_00"))
    assert "cannot be opened" in kinds(copy)
