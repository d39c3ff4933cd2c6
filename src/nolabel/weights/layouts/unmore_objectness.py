"""Official checkpoints of unMORE's objectness network (378 tensors): DPT's names for a ViT-L and two heads.

Source: unMORE specification, 4.1 and 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.renaming import Rules, renamed

__all__ = ["from_network", "is_official", "is_rectified", "to_network"]

_PARTS: Rules = (
    ("backbone.pretrained.model.", "vit."),
    *(
        rule
        for number in range(4)
        for rule in (
            (f"backbone.pretrained.act_postprocess{number + 1}.0.project.0.", f"readouts.{number}."),
            (f"backbone.pretrained.act_postprocess{number + 1}.3.", f"reassemble.{number}.0."),
            (f"backbone.pretrained.act_postprocess{number + 1}.4.", f"reassemble.{number}.1."),
            (f"backbone.scratch.layer{number + 1}_rn.", f"projections.{number}."),
            (f"backbone.scratch.refinenet{number + 1}.resConfUnit1.", f"fusions.{number}.skip."),
            (f"backbone.scratch.refinenet{number + 1}.resConfUnit2.", f"fusions.{number}.refine."),
            (f"backbone.scratch.refinenet{number + 1}.out_conv.", f"fusions.{number}.out."),
        )
    ),
    *((f"center_field_prediction_head.{2 * number}.", f"centre_head.{2 * number}.") for number in range(4)),
)
# The places of the boundary head's convolutions tell whether there are ReLUs between them.
_LINEAR: Rules = tuple((f"sdf_prediction_head.{n}.", f"boundary_head.convolutions.{n}.") for n in range(4))
_RECTIFIED: Rules = tuple(
    (f"sdf_prediction_head.{2 * n}.", f"boundary_head.convolutions.{n}.") for n in range(4)
)
_MARK = "sdf_prediction_head."
_RECTIFIED_MARK = "sdf_prediction_head.6.weight"
# In the official files, but without influence on the results: the classifier of the ViT, and the unit for a skip connection
# that the coarsest fusion has not.
_UNUSED = {
    "vit.norm.weight": ("width",),
    "vit.norm.bias": ("width",),
    "vit.head.weight": (1000, "width"),
    "vit.head.bias": (1000,),
    **{
        f"fusions.3.skip.conv{number}.{name}": shape
        for number in (1, 2)
        for name, shape in (("weight", ("features", "features", 3, 3)), ("bias", ("features",)))
    },
}


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Say whether these are the names of an official objectness network."""
    return any(name.removeprefix("module.").startswith(_MARK) for name in state)


def is_rectified(state: Mapping[str, Tensor]) -> bool:
    """Say whether an official file's boundary head has ReLUs between its convolutions (the ``relu`` form)."""
    return any(name.endswith(_RECTIFIED_MARK) for name in state)


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of :class:`nolabel.models.objectness.DptObjectness` from the official one.

    Names that are in no official file are kept, for the strict loader to complain about.

    Raises:
        WeightsError: this is no such network, or tensors are missing that every official file has.
    """
    if not is_official(state):
        raise WeightsError(
            f"this is no objectness network of unMORE: it has no {_MARK}*",
            hint="give objectness_net_model.ckpt, or the run folder of `nolabel unmore train-objectness`",
        )
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    ours = renamed(plain, _PARTS + (_RECTIFIED if is_rectified(plain) else _LINEAR))
    missing = [name for name in _UNUSED if name not in ours]
    if missing:
        official = renamed(dict.fromkeys(missing), _PARTS, back=True)
        raise WeightsError(
            f"{len(missing)} tensors of an official file are missing: {', '.join(list(official)[:3])}",
            hint="was the checkpoint cut off?",
        )
    return {name: value for name, value in ours.items() if name not in _UNUSED}


def from_network(state: Mapping[str, Tensor], *, rectified: bool = False) -> dict[str, Tensor]:
    """Return the official names of a network's state dict (inverse of :func:`to_network`).

    Args:
        state: of :class:`nolabel.models.objectness.DptObjectness`.
        rectified: its boundary head is of the ``relu`` form.

    Returns:
        All 378 tensors; those without influence on the results are zeros.
    """
    sizes = {"width": state["vit.cls_token"].shape[-1], "features": state["fusions.3.out.bias"].shape[0]}
    idle = {
        name: torch.zeros([sizes[side] if isinstance(side, str) else side for side in shape])
        for name, shape in _UNUSED.items()
    }
    return renamed({**state, **idle}, _PARTS + (_RECTIFIED if rectified else _LINEAR), back=True)
