"""Show what ``nolabel doctor`` says about posed footage with known faults.

    python scripts/show_faulty_rigs.py OUT

Renders one drive of the embedded world in KITTI-360's layout, copies it once for each fault, spoils the copy and checks it.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from nolabel.data import doctor
from nolabel.world import Rig, WorldSettings, write_world
from nolabel.world.rig_faults import FAULTS


def main(out: Path) -> None:
    """Make the folders and print the reports."""
    good = out / "good"
    write_world(
        good, WorldSettings(layout="kitti360", scenes=1, frames=5, rig=Rig((192, 640)), side_pictures=True)
    )
    print(doctor(good).text())
    for name, spoil in FAULTS.items():
        copy = out / name.replace(" ", "_")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(good, copy)
        spoil(copy)
        print(f"\n== {name}")
        print(doctor(copy).text(), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
