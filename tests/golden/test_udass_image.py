"""Every golden case of the folder ``udass_image``; one module beside this one for each part of the system."""

from golden.udass_image_mixing import *  # noqa: F403
from golden.udass_image_networks import *  # noqa: F403
from golden.udass_image_pieces import *  # noqa: F403
from golden.udass_image_training import *  # noqa: F403
