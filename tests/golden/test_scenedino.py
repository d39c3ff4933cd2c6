"""Every recorded case of SceneDINO; the tests lie beside this file, one module for each part of the system."""

from golden.scenedino_data import *  # noqa: F403
from golden.scenedino_geometry import *  # noqa: F403
from golden.scenedino_network import *  # noqa: F403
from golden.scenedino_rendering import *  # noqa: F403
from golden.scenedino_scores import *  # noqa: F403
from golden.scenedino_training import *  # noqa: F403
