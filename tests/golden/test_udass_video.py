"""Every golden case of the folder ``udass_video``; one module beside this one for each part of the system."""

from golden.udass_video_data import *  # noqa: F403
from golden.udass_video_mixing import *  # noqa: F403
from golden.udass_video_networks import *  # noqa: F403
from golden.udass_video_pieces import *  # noqa: F403
from golden.udass_video_training import *  # noqa: F403
