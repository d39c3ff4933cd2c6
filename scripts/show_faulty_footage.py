"""Show what ``nolabel doctor`` and ``nolabel cups pseudo-label`` say about footage with known faults.

    python scripts/show_faulty_footage.py OUT [baseline_double|baseline_half|intrinsics_double|intrinsics_half|good]

Renders one clip of the embedded world, spoils its calibration by 2, lets one frame repeat the one before and blackens
one image; then runs both commands on it. The report lies in OUT/<fault>/labels/report.html.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from nolabel.world import Rig, WorldSettings, write_world
from nolabel.world.faults import blacken, miscalibrate, repeat_frame

FAULTS = {
    "baseline_double": {"baseline": 2.0},
    "baseline_half": {"baseline": 0.5},
    "intrinsics_double": {"intrinsics": 2.0},
    "intrinsics_half": {"intrinsics": 0.5},
    "good": {},
}


def main(out: Path, fault: str) -> None:
    """Make the folder and run the commands."""
    video, labels = out / fault / "video", out / fault / "labels"
    shutil.rmtree(out / fault, ignore_errors=True)
    write_world(video, WorldSettings(layout="folder", scenes=2, frames=5, rig=Rig(size=(256, 512))))
    miscalibrate(video, **FAULTS[fault])
    if fault != "good":
        repeat_frame(video, "000000_000001", "000000_000002")
        blacken(video, "000001_000004")
    command = [sys.executable, "-m", "nolabel"]
    for arguments in (
        ["doctor", str(video)],
        ["cups", "pseudo-label", "--data", str(video), "--out", str(labels), "--recipe", "cups/tiny"],
    ):
        print("$ nolabel", *arguments, flush=True)
        subprocess.run([*command, *arguments], check=False)


if __name__ == "__main__":
    if len(sys.argv) < 2 or (len(sys.argv) > 2 and sys.argv[2] not in FAULTS):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "baseline_double")
