"""SMURF's TensorFlow variables (google-research/smurf) to the names of ``raft_smurf.pt`` (spec cups_pseudo 3.3).

Kernels are (height, width, in, out) there and (out, in, height, width) here; biases are equal. Variables are found by
the end of their name, so prefixes of the object graph do not matter. The paths are the module names of RAFT as it was
published; a file that calls its modules otherwise is converted with a table of its own (see ``to_official``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.raft_smurf import PREFIX

__all__ = ["LAYERS", "from_official", "to_official"]


def _encoder(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    yield f"{theirs}/conv1", f"{ours}.convnormrelu.0"
    for stage in (1, 2, 3):
        for block in (0, 1):
            for number in (1, 2):
                yield (
                    f"{theirs}/layer{stage}/{block}/conv{number}",
                    f"{ours}.layer{stage}.{block}.convnormrelu{number}.0",
                )
        if stage > 1:
            yield f"{theirs}/layer{stage}/0/downsample/0", f"{ours}.layer{stage}.0.downsample.0"
    yield f"{theirs}/conv2", f"{ours}.conv"


LAYERS: dict[str, str] = {
    **dict(_encoder("fnet", "feature_encoder")),
    **dict(_encoder("cnet", "context_encoder")),
    "update_block/encoder/convc1": "update_block.motion_encoder.convcorr1.0",
    "update_block/encoder/convc2": "update_block.motion_encoder.convcorr2.0",
    "update_block/encoder/convf1": "update_block.motion_encoder.convflow1.0",
    "update_block/encoder/convf2": "update_block.motion_encoder.convflow2.0",
    "update_block/encoder/conv": "update_block.motion_encoder.conv.0",
    **{
        f"update_block/gru/conv{gate}{number}": f"update_block.recurrent_block.convgru{number}.conv{gate}"
        for number in (1, 2)
        for gate in "zrq"
    },
    "update_block/flow_head/conv1": "update_block.flow_head.conv1",
    "update_block/flow_head/conv2": "update_block.flow_head.conv2",
    "update_block/mask/0": "mask_predictor.convrelu.0",
    "update_block/mask/2": "mask_predictor.conv",
}
"""Path of a layer in TensorFlow -> in torchvision's RAFT."""

_PARTS = {"kernel": "weight", "bias": "bias"}
_NOT_WEIGHTS = re.compile(r"optimizer|adam|moment|save_counter|global_step|object_graph", re.IGNORECASE)


def to_official(
    variables: Mapping[str, Tensor], layers: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """Return the state dict of ``raft_smurf.pt`` from TensorFlow's variables.

    Args:
        variables: by name; states of the optimizer and counters are left out.
        layers: path of each layer in TensorFlow -> in torchvision's RAFT, where they are not ``LAYERS``.

    Raises:
        WeightsError: a layer is missing, is there twice, or has another number of dimensions.
    """
    layers = LAYERS if layers is None else layers
    named = {_path(name): (name, value) for name, value in variables.items() if not _NOT_WEIGHTS.search(name)}
    state: dict[str, Tensor] = {}
    missing: list[str] = []
    for theirs, ours in layers.items():
        for part, renamed in _PARTS.items():
            wanted = f"{_path(theirs)}/{part}"
            found = [named[path] for path in named if path == wanted or path.endswith(f"/{wanted}")]
            if not found:
                missing.append(f"{theirs}/{part}")
                continue
            if len(found) > 1:
                raise WeightsError(
                    f"{theirs}/{part} is there {len(found)} times: {', '.join(name for name, _ in found)}",
                    hint="give a table (layer in TensorFlow -> in torch) whose paths are longer",
                )
            name, value = found[0]
            if value.ndim != (4 if part == "kernel" else 1):
                raise WeightsError(f"{name} has the shape {tuple(value.shape)}, which no convolution has")
            state[f"{PREFIX}{ours}.{renamed}"] = (
                value.permute(3, 2, 0, 1).contiguous() if part == "kernel" else value
            )
    if missing:
        others = ", ".join(f"{name} {tuple(value.shape)}" for name, value in list(named.values())[:5])
        raise WeightsError(
            f"{len(missing)} variables of RAFT are missing, such as {', '.join(missing[:3])}; the file has {others} ...",
            hint="give a JSON table with --names: path of each layer in the file -> in torch (see LAYERS in "
            "nolabel.weights.layouts.smurf_tensorflow)",
        )
    return state


def from_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return TensorFlow's names and kernels of an official state dict (inverse of ``to_official``)."""
    paths = {ours: theirs for theirs, ours in LAYERS.items()}
    parts = {ours: theirs for theirs, ours in _PARTS.items()}
    variables = {}
    for name, value in state.items():
        layer, _, part = name.removeprefix(PREFIX).rpartition(".")
        kernel = value.permute(2, 3, 1, 0).contiguous() if value.ndim == 4 else value
        variables[f"{paths[layer]}/{parts[part]}"] = kernel
    return variables


def _path(name: str) -> str:
    """A variable's name without what checkpoints and variables add at its end; parts joined by ``/``."""
    return name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").removesuffix(":0").replace(".", "/").strip("/")
