"""Everything recorded of unMORE; one module for each part."""

from __future__ import annotations

from golden.unmore_detector import *  # noqa: F403
from golden.unmore_discovery import *  # noqa: F403
from golden.unmore_evaluator import *  # noqa: F403
from golden.unmore_objectness import *  # noqa: F403
from golden.unmore_objectness_training import *  # noqa: F403
from golden.unmore_votecut import *  # noqa: F403
