"""A look into a training: image, label and prediction side by side."""

from __future__ import annotations

from pathlib import Path

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nolabel.methods.cups.model_file import CupsModel
from nolabel.methods.cups.predict import to_panoptic_map
from nolabel.methods.cups.targets import VOID
from nolabel.models.panoptic import PanopticPrediction, PanopticTarget
from nolabel.structures import PanopticMap
from nolabel.structures.files import write_png
from nolabel.viz import side_by_side

__all__ = ["draw_training_picture", "label_map"]

HEIGHT = 256
"""Of the pictures, pixels: they are for a glance, and there may be many."""


def label_map(model: CupsModel, target: PanopticTarget) -> PanopticMap:
    """Translate a training target into the model's output space; "some thing" without an object is void."""
    num_stuff = model.network.config.num_stuff
    semantic, instances = target.semantic.cpu(), target.instances.cpu()
    clusters = torch.where((semantic == 0) | (semantic == VOID), VOID, semantic - 1)
    of_object = torch.cat([torch.zeros(1, dtype=torch.long), num_stuff + target.classes.cpu()])
    classes = model.lookup()[torch.where(instances > 0, of_object[instances], clusters)]
    return PanopticMap(classes, torch.where(classes == VOID, 0, instances), model.output_space)


def draw_training_picture(
    path: Path,
    model: CupsModel,
    image: Tensor,
    target: PanopticTarget,
    prediction: PanopticPrediction,
    titles: tuple[str, str] = ("label", "prediction"),
) -> Path:
    """Write image (3, H, W) in [0, 1], label and prediction as one PNG; ``titles`` are those of the latter two."""
    picture = image.cpu()
    columns: list[ArrayLike | Tensor] = [
        picture,
        label_map(model, target).overlay(picture),
        to_panoptic_map(model, prediction).overlay(picture),
    ]
    return write_png(path, side_by_side(columns, ["image", *titles], height=HEIGHT))
