"""Every golden case of the folder ``cups_model``; one module beside this one for each part of the system."""

from golden.cups_model_average import *  # noqa: F403
from golden.cups_model_datasets import *  # noqa: F403
from golden.cups_model_files import *  # noqa: F403
from golden.cups_model_labels import *  # noqa: F403
from golden.cups_model_metrics import *  # noqa: F403
from golden.cups_model_network import *  # noqa: F403
from golden.cups_model_pseudo_dataset import *  # noqa: F403
from golden.cups_model_self_labels import *  # noqa: F403
from golden.cups_model_training_data import *  # noqa: F403
