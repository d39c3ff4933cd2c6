"""The networks that a training on images starts with.

Source: UDASS specification, image 2.9, 2.10 (feature distance) and 3.6.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nolabel.engine.run_folder import RunFolder
from nolabel.engine.segmentation_inference import InferenceSize
from nolabel.engine.segmentation_networks import build_network, load_network_state
from nolabel.engine.segmentor_file import SegmentorModel, plain_options
from nolabel.errors import ConfigError, WeightsError
from nolabel.labels import LabelSpace
from nolabel.methods.quadmix.settings import ImageConfig
from nolabel.models.segmentation import FeatureSegmentor
from nolabel.weights import find_weights, load_checkpoint

__all__ = ["first_optimizer_state", "new_network", "reference_network"]


def new_network(config: ImageConfig, space: LabelSpace, size: InferenceSize) -> SegmentorModel:
    """Build the student with the weights that the settings name.

    Args:
        config: settings; ``start.checkpoint`` is a run folder of ours, or a file with a student in it.
        space: its classes.
        size: at which it will look at images.

    Raises:
        WeightsError: a file that does not fit, or is missing.
    """
    wanted = config.network
    network = build_network(
        wanted.name,
        space.num_classes,
        weights=wanted.weights,
        backbone=wanted.backbone,
        **plain_options(wanted.options),
    )
    start = config.start.checkpoint
    if start is not None:
        if start.is_dir():
            network.load_state_dict(_newest(start)["networks"]["student"])
        else:
            load_network_state(network, load_checkpoint(find_weights(str(start))).state_dict)
    return SegmentorModel(network, wanted.name, space, wanted.options, size)


def reference_network(config: ImageConfig, model: SegmentorModel) -> FeatureSegmentor | None:
    """Return the frozen network whose features the student stays near; it is in no checkpoint.

    Raises:
        ConfigError: there are no weights of ImageNet, or the network gives no features.
    """
    if config.feature_distance is None:
        return None
    wanted = config.network
    if wanted.backbone is None:
        raise ConfigError(
            "feature_distance needs the weights of ImageNet",
            hint="network.backbone=mit_b5 (a file or registered name), or feature_distance=null",
        )
    network = build_network(
        wanted.name, model.space.num_classes, backbone=wanted.backbone, **plain_options(wanted.options)
    )
    if not isinstance(network, FeatureSegmentor):
        raise ConfigError(f"{wanted.name} gives no features", hint="feature_distance=null")
    return network.eval().requires_grad_(False)


def first_optimizer_state(config: ImageConfig) -> dict[str, Any] | None:
    """Return the state of the student's optimizer where the training goes on from a run folder of ours.

    Files hold weights alone, as far as we read them: the optimizer then begins anew.
    """
    start = config.start.checkpoint
    if start is None or not start.is_dir():
        return None
    state: dict[str, Any] = _newest(start)["optimizers"]["student"]
    return state


def _newest(run: Path) -> dict[str, Any]:
    state = RunFolder(run).load()
    if state is None:
        raise WeightsError(f"{run} holds no checkpoint", hint="give the folder of a training, or a file")
    return state
