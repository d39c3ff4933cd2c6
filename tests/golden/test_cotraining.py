"""Every golden case of the folder ``cotraining``; one module beside this one for each part of the system."""

from golden.cotraining_evaluate import *  # noqa: F403
from golden.cotraining_labels import *  # noqa: F403
from golden.cotraining_network import *  # noqa: F403
from golden.cotraining_training import *  # noqa: F403
