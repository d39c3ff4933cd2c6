"""Official checkpoints of unMORE's existence network: torchvision's ResNet-50 with all its 1000 outputs, and a head.

Source: unMORE specification, 4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.renaming import Rules, renamed

__all__ = ["TORCHVISION_RESNET", "backbone_state", "from_network", "is_official", "to_network"]

TORCHVISION_RESNET: Rules = (
    ("conv1.", "stem.conv1."),
    ("bn1.", "stem.conv1.norm."),
    *(
        (f"layer{stage}.#.{official}.", f"res{stage + 1}.#.{ours}.")
        for stage in (1, 2, 3, 4)
        for official, ours in (
            *((f"conv{number}", f"conv{number}") for number in (1, 2, 3)),
            *((f"bn{number}", f"conv{number}.norm") for number in (1, 2, 3)),
            ("downsample.0", "shortcut"),
            ("downsample.1", "shortcut.norm"),
        )
    ),
)
"""torchvision's ResNets -> :class:`nolabel.models.backbones.ResNet`."""
_BACKBONE = "classifier_backbone."
_HEAD = "binary_classification_head."
_RULES: Rules = (
    *((_BACKBONE + official, f"backbone.{ours}") for official, ours in TORCHVISION_RESNET),
    (f"{_BACKBONE}fc.", "outputs."),
    (_HEAD, "head."),
)


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Say whether these are the names of an official existence network."""
    return any(name.removeprefix("module.").startswith(_HEAD) for name in state)


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of :class:`nolabel.models.objectness.ResNetExistence` from the official one.

    Raises:
        WeightsError: this is no such network.
    """
    if not is_official(state):
        raise WeightsError(
            f"this is no existence network of unMORE: it has no {_HEAD}*",
            hint="give classifier_model.ckpt, or the run folder of `nolabel unmore train-existence`",
        )
    return renamed({name.removeprefix("module."): value for name, value in state.items()}, _RULES)


def from_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the official names of a network's state dict (inverse of :func:`to_network`)."""
    return renamed(state, _RULES, back=True)


def backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a ResNet-50's weights, in torchvision's or detectron2's names, as those of our backbone.

    Raises:
        WeightsError: there is no ResNet in it.
    """
    plain = {name.removeprefix("module.").removeprefix("backbone."): v for name, v in state.items()}
    ours = renamed(plain, TORCHVISION_RESNET)
    found = {
        f"backbone.{name}": value
        for name, value in ours.items()
        if name.startswith(("stem.conv1.", "res2.", "res3.", "res4.", "res5."))
    }
    if "backbone.stem.conv1.weight" not in found:
        raise WeightsError(
            "this is no ResNet checkpoint: conv1.weight is missing",
            hint="an existence network starts from a ResNet-50 in torchvision's or detectron2's layout",
        )
    return found
