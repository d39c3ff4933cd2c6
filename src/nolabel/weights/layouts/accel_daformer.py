"""Official checkpoints of UDASS' two-frame DAFormer (1111 tensors): mmsegmentation's names under other prefixes.

Source: spec ``udass_video.md`` 4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts import mmseg

__all__ = ["from_network", "to_network"]

# (here, in mmsegmentation's files)
PREFIXES = (("model.", "backbone."), ("decoder.", "decode_head."))
FUSION = ("decoder.sf_layer.", "fusion.")


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of :class:`nolabel.models.video_segmentation.AccelDAFormer` from the official one.

    Raises:
        WeightsError: there is no fusion layer, so this is no such network.
    """
    plain = {name.removeprefix("module."): value for name, value in state.items()}
    official, ours = FUSION
    fusion = {
        ours + name.removeprefix(official): value
        for name, value in plain.items()
        if name.startswith(official)
    }
    if not fusion:
        raise WeightsError(
            f"this is no two-frame DAFormer checkpoint: {official}weight is missing",
            hint="a backbone alone (mit_b5.pth) is what training starts from: give it as the backbone's weights",
        )
    rest = {name: value for name, value in plain.items() if not name.startswith(official)}
    return mmseg.to_network(_renamed(rest, PREFIXES)) | fusion


def from_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the official names of a network's state dict (inverse of :func:`to_network`)."""
    official, ours = FUSION
    fusion = {
        official + name.removeprefix(ours): value for name, value in state.items() if name.startswith(ours)
    }
    rest = {name: value for name, value in state.items() if not name.startswith(ours)}
    turned = tuple((theirs, here) for here, theirs in PREFIXES)
    return _renamed(mmseg.from_network(rest), turned) | fusion


def _renamed(state: Mapping[str, Tensor], prefixes: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        for before, after in prefixes:
            if name.startswith(before):
                name = after + name[len(before) :]
                break
        renamed[name] = value
    return renamed
