"""Settings of the whole suite: no test may fail for being slow on a busy machine. And a world that many tests read."""

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("nolabel", deadline=None)
settings.load_profile("nolabel")


@pytest.fixture(scope="session")
def kitti360_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One drive of three frames in KITTI-360's layout, with fisheye images and voxels; read only."""
    from nolabel.world import Rig, WorldSettings, write_world

    out = tmp_path_factory.mktemp("kitti360")
    rig = Rig((96, 320), fps=4.0)
    write_world(out, WorldSettings(layout="kitti360", scenes=1, frames=3, rig=rig, seed=3, style="synthetic"))
    return out
