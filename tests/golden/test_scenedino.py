"""Every recorded case of SceneDINO; the tests lie beside this file, one module for each part of the system."""

import re
from fnmatch import fnmatch
from pathlib import Path

from golden.scenedino_data import *  # noqa: F403
from golden.scenedino_geometry import *  # noqa: F403
from golden.scenedino_network import *  # noqa: F403
from golden.scenedino_rendering import *  # noqa: F403
from golden.scenedino_scores import *  # noqa: F403
from golden.scenedino_training import *  # noqa: F403
from golden.support import need_root

_HERE = Path(__file__).parent


def test_every_folder_is_served():
    served = {
        pattern.split("/")[0]
        for module in _HERE.glob("scenedino_*.py")
        for pattern in re.findall(r'case_parameters\("scenedino", "([^"]+)"', module.read_text())
    }
    folders = [path.name for path in (need_root() / "scenedino").iterdir() if path.is_dir()]
    assert [name for name in folders if not any(fnmatch(name, pattern) for pattern in served)] == []
