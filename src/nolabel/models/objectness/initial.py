"""Transformers of DINO, DINOv2 or timm in the place of an objectness network's own.

The original starts from a transformer trained with ImageNet's labels, which a system that learns without labels should
not need (unMORE specification, 4.1); DINO's and DINOv2's were trained without.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from timm.layers import resample_abs_pos_embed
from timm.layers.patch_embed import resample_patch_embed
from torch import Tensor

from nolabel.errors import WeightsError
from nolabel.models.features.extractor import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["InputStatistics", "adapt_transformer"]

InputStatistics = Literal["imagenet", "none"]
"""What images the transformer was trained on: normalised by ImageNet's mean and deviation, or in [0, 1]."""

_LEFT_OUT = re.compile(r"^(head\b|head_|fc\.|fc_norm\.|norm\.|mask_token)")


def adapt_transformer(
    state: Mapping[str, Tensor], *, patch: int, positions: int, inputs: InputStatistics = "imagenet"
) -> dict[str, Tensor]:
    """Make the weights of any plain vision transformer those of one that sees images in [0, 1] in other patches.

    Scales of layers (DINOv2) become part of the matrices before them and the normalisation of images part of the patch
    embedding: both exactly. Patches of another side and position embeddings of another grid are resampled.

    Args:
        state: timm's names, as :mod:`nolabel.weights.layouts.dino` gives them for official files.
        patch: side of the patches, pixels.
        positions: side of the grid of position embeddings.
        inputs: what the weights expect.

    Returns:
        timm's names, without classifier and final normalisation.

    Raises:
        WeightsError: this is no such transformer.
    """
    named = {n: v.float() for n, v in state.items() if not _LEFT_OUT.match(n)}
    if any("reg" in name.split("_") or "register_tokens" in name for name in named):
        raise WeightsError(
            "transformers with register tokens do not fit", hint="take the file without registers"
        )
    if "patch_embed.proj.weight" not in named or "pos_embed" not in named:
        raise WeightsError(
            "this is no vision transformer: patch_embed.proj.weight or pos_embed is missing",
            hint="give an official DINO or DINOv2 file, or the state of a plain ViT of timm",
        )
    adapted = {name: value for name, value in named.items() if not re.search(r"\.ls[12]\.gamma$", name)}
    for name in named.keys() - adapted.keys():
        block, _, scale = name.removesuffix(".gamma").rpartition(".")
        layer = f"{block}.attn.proj" if scale == "ls1" else f"{block}.mlp.fc2"
        adapted[f"{layer}.weight"] = named[name][:, None] * adapted[f"{layer}.weight"]
        adapted[f"{layer}.bias"] = named[name] * adapted[f"{layer}.bias"]
    kernel = resample_patch_embed(named["patch_embed.proj.weight"], [patch, patch])
    bias = named["patch_embed.proj.bias"]
    if inputs == "imagenet":
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        kernel = kernel / std
        bias = bias - (kernel * mean).sum((1, 2, 3))
    adapted |= {"patch_embed.proj.weight": kernel, "patch_embed.proj.bias": bias}
    adapted["pos_embed"] = resample_abs_pos_embed(
        named["pos_embed"], [positions, positions], num_prefix_tokens=1
    )
    return adapted
