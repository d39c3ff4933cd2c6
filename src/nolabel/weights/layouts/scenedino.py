"""SceneDINO checkpoints (tum-vision/scenedino): names, and shapes where they differ (specification, 9).

Released files hold one flat dictionary, checkpoints of a training the same one under ``model``; both come out of
:func:`nolabel.weights.load_checkpoint` alike. Names without the leading ``renderer.net.``, as the network alone has them,
are read, too. LPIPS weights and the renderer's counters have no influence on the results and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.weights.layouts.renaming import Rules, renamed

__all__ = ["from_network", "is_official", "to_network"]

NETWORK = "renderer.net."
_UNUSED = ("lpips.", "renderer.renderer.")
_RULES: Rules = (
    ("artifact_field", "artifacts"),
    ("encoder.encoder.model.vit.", "encoder.vit.vit."),
    ("encoder.gt_encoder.model.vit.", "target.vit."),
    *(
        rule
        for level in range(4)
        for rule in (
            (
                f"encoder.decoder.reassemble_blocks.projects.{level}.",
                f"encoder.decoder.reassemble.{level}.0.",
            ),
            (
                f"encoder.decoder.reassemble_blocks.resize_layers.{level}.",
                f"encoder.decoder.reassemble.{level}.1.",
            ),
            (
                f"encoder.decoder.fusion_blocks.{3 - level}.res_conv_unit1.",
                f"encoder.decoder.fusions.{level}.skip.",
            ),
            (
                f"encoder.decoder.fusion_blocks.{3 - level}.res_conv_unit2.",
                f"encoder.decoder.fusions.{level}.refine.",
            ),
            (f"encoder.decoder.fusion_blocks.{3 - level}.project.", f"encoder.decoder.fusions.{level}.out."),
        )
    ),
    ("encoder.decoder.convs.", "encoder.decoder.projections."),
    ("encoder.decoder.project.", "encoder.decoder.smooth."),
    ("encoder.decoder.output_head.head_modules.", "encoder.decoder.head."),
    ("encoder.downsampler.patch_", "downsampler."),
    ("encoder.downsampler.conv.", "downsampler.salience."),
    ("encoder.dim_reduction.linear_in.", "expansion.first."),
    ("encoder.dim_reduction.linear_out.", "expansion.last."),
    ("heads.normal_head.lin_in.", "point_decoder.first."),
    ("heads.normal_head.lin_out.", "point_decoder.last."),
    ("downstream_head.stego_head.linear_path.0.", "semantic_head.code.linear."),
    ("downstream_head.stego_head.nonlinear_path.0.", "semantic_head.code.hidden."),
    ("downstream_head.stego_head.nonlinear_path.2.", "semantic_head.code.output."),
    ("downstream_head.stego_cluster_head.cluster_centers", "semantic_head.code_clusters.centres"),
    ("downstream_head.stego_cluster_head.pseudo_assignment", "semantic_head.code_clusters.classes"),
    ("downstream_head.direct_cluster_head.cluster_centers", "semantic_head.direct_clusters.centres"),
    ("downstream_head.direct_cluster_head.pseudo_assignment", "semantic_head.direct_clusters.classes"),
    ("downstream_head.stego_linear_head.linear.", "semantic_head.code_probe."),
    ("downstream_head.direct_linear_head.linear.", "semantic_head.direct_probe."),
)
_POINTWISE = ("downsampler.salience.weight", "semantic_head.code.")  # 1x1 convolutions there, matrices here
_MARK = "heads.normal_head."
_RATES, _PHASES = "code_xyz._freqs", "code_xyz._phases"


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Say whether these are the names of an official SceneDINO network."""
    return any(name.removeprefix(NETWORK).startswith(_MARK) for name in state)


def to_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of :class:`nolabel.models.scenedino.SceneDino` from the official one.

    Names that are in no official file are kept, for the strict loader to complain about.

    Raises:
        WeightsError: this is no such network, or its positional code is another.
    """
    if not is_official(state):
        raise WeightsError(
            f"this is no SceneDINO network: it has no {NETWORK}{_MARK}*",
            hint="give checkpoint.pt of a release, or the run folder of `nolabel scenedino train`",
        )
    plain = {n.removeprefix(NETWORK): v for n, v in state.items() if not n.startswith(_UNUSED)}
    rates, phases = plain.pop(_RATES, None), plain.pop(_PHASES, None)
    if rates is not None and phases is not None:
        _check_code(rates.flatten(), phases.flatten())
    return {
        name: value.flatten(1) if name.startswith(_POINTWISE) and value.ndim == 4 else value
        for name, value in renamed(plain, _RULES).items()
    }


def from_network(
    state: Mapping[str, Tensor], *, frequencies: int = 6, factor: float = 1.5, prefix: str = NETWORK
) -> dict[str, Tensor]:
    """Return the official names and shapes of a network's state dict (inverse of :func:`to_network`).

    Args:
        state: of :class:`nolabel.models.scenedino.SceneDino`.
        frequencies: of its positional code, whose constants are part of an official file.
        factor: its lowest frequency, radians.
        prefix: of all names but that of the artifact field.
    """
    rates, phases = _code_constants(frequencies, factor)
    shaped = {
        name: value[..., None, None] if name.startswith(_POINTWISE) and value.ndim == 2 else value
        for name, value in state.items()
    }
    official = renamed(shaped, _RULES, back=True) | {_RATES: rates, _PHASES: phases}
    return {name if name == "artifact_field" else prefix + name: value for name, value in official.items()}


def code_sizes(state: Mapping[str, Tensor]) -> tuple[int, float]:
    """Number of frequencies and lowest frequency (radians) of an official file; the published ones if it says nothing."""
    found = [value.flatten() for name, value in state.items() if name.endswith(_RATES)]
    return (len(found[0]) // 2, float(found[0][0])) if found else (6, 1.5)


def _code_constants(frequencies: int, factor: float) -> tuple[Tensor, Tensor]:
    rates = (factor * 2.0 ** torch.arange(frequencies)).repeat_interleave(2).reshape(1, -1, 1)
    return rates, torch.tensor([0, math.pi / 2]).repeat(frequencies).reshape(1, -1, 1)


def _check_code(rates: Tensor, phases: Tensor) -> None:
    expected, expected_phases = _code_constants(len(rates) // 2, float(rates[0]))
    same = torch.allclose(rates, expected.flatten()) and torch.allclose(phases, expected_phases.flatten())
    if not same:
        raise WeightsError("the positional code of this file is not made of doubling frequencies")
