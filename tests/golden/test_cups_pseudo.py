"""Every golden case of the folder ``cups_pseudo``; one module beside this one for each part of the system."""

from golden.cups_pseudo_depthg_losses import *  # noqa: F403
from golden.cups_pseudo_metrics import *  # noqa: F403
from golden.cups_pseudo_motion import *  # noqa: F403
from golden.cups_pseudo_semantics import *  # noqa: F403
from golden.cups_pseudo_stereo_video import *  # noqa: F403
from golden.cups_pseudo_targets import *  # noqa: F403
