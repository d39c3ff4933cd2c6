"""What a training starts from: a pretrained ResNet, or a whole network of the same clusters."""

from __future__ import annotations

from pathlib import Path

from nolabel.engine.segmentor_file import MODEL_FILE
from nolabel.errors import WeightsError
from nolabel.methods.cups.checkpoint import load_backbone
from nolabel.methods.cups.model_file import load_model
from nolabel.models.panoptic import PanopticCascadeMaskRCNN
from nolabel.weights import find_weights, load_checkpoint
from nolabel.weights.layouts import cups

__all__ = ["load_initial_weights"]


def load_initial_weights(network: PanopticCascadeMaskRCNN, weights: Path) -> None:
    """Fill a new network from weights that exist.

    Args:
        network: filled in place. A ResNet goes into the backbone and leaves everything else as it is.
        weights: a ResNet (``dino_RN50_pretrain_d2_format.pkl``, timm's or torchvision's names, or a run of ``nolabel
            pretrain features`` with all of its stages), a CUPS checkpoint or run folder, or the registered name of one
            (``dino_resnet50_d2``).

    Raises:
        WeightsError: no such weights, or they belong to another network.
    """
    path = weights if weights.is_dir() else find_weights(str(weights))
    file = path / MODEL_FILE if path.is_dir() else path
    state = load_checkpoint(file).state_dict if file.is_file() else {}
    if cups.is_backbone(state):
        load_backbone(network, state)
        return
    start = load_model(path).network
    clusters, wanted = (
        f"{n.config.num_things} thing and {n.config.num_stuff} stuff clusters" for n in (start, network)
    )
    if clusters != wanted:
        raise WeightsError(
            f"{path} has {clusters}, the labels have {wanted}.",
            hint="start from a ResNet, from a network of the same labels, or use `nolabel cups fine-tune`",
        )
    network.load_state_dict(cups.strict_state(network.state_dict(), start.state_dict()))
