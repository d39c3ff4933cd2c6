"""What the trainings of SceneDINO look like while they run: one row for each scene of a look."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nolabel.labels import CITYSCAPES_19
from nolabel.structures.files import write_png
from nolabel.structures.pictures import Picture
from nolabel.viz import contact_sheet, depth_colours, feature_colours, principal_colours, to_picture
from nolabel.viz.colours import id_colours, label_colours

__all__ = ["GeometryLook", "SemanticLook", "draw_geometry", "draw_semantics"]

CELL_WIDTH = 384


@dataclass(frozen=True, eq=False)
class GeometryLook:
    """View 0 of a scene, as stage 1 shows it.

    Attributes:
        image: (3, H, W) RGB in [0, 1].
        depth: (H, W) metres along z.
        features: (h, w, C) rendered and brought down to cells.
        targets: (h, w, C).
        true_depth: (H, W) metres, 0 unknown; None where it is not known.
    """

    image: Tensor
    depth: Tensor
    features: Tensor
    targets: Tensor
    true_depth: Tensor | None = None


@dataclass(frozen=True, eq=False)
class SemanticLook:
    """View 0 of a scene, as stage 2 shows it; all maps (H, W).

    Attributes:
        image: (3, H, W) RGB in [0, 1].
        classes: by the part of the head that says so.
        labels: 255 void.
    """

    image: Tensor
    classes: dict[str, Tensor]
    labels: Tensor


def draw_geometry(path: Path, looks: list[GeometryLook], near: float, far: float) -> Path:
    """Write a sheet: image, depth, true depth, rendered features and targets in the same colours (principal axes).

    Args:
        path: a PNG.
        looks: one row each.
        near: metres, bright.
        far: metres, dark.
    """
    rows = []
    for look in looks:
        features, targets = (x.float().cpu().movedim(-1, 0) for x in (look.features, look.targets))
        basis = principal_colours(torch.stack([features, targets]))
        known = None
        if look.true_depth is not None:
            known = depth_colours(look.true_depth.cpu(), nearest=near, farthest=far)
        rows.append(
            [
                to_picture(look.image.cpu()),
                depth_colours(look.depth.float().cpu(), nearest=near, farthest=far),
                known,
                feature_colours(features, basis),
                feature_colours(targets, basis),
            ]
        )
    titles = ["image", "depth", "true depth", "rendered features", "target features"]
    return write_png(path, contact_sheet(rows, column_titles=titles, cell_width=CELL_WIDTH))


def draw_semantics(path: Path, looks: list[SemanticLook]) -> Path:
    """Write a sheet: image, classes of each part of the head, labels."""
    names = list(looks[0].classes)
    rows = [
        [
            to_picture(look.image.cpu()),
            *(_coloured(look.classes[name]) for name in names),
            _coloured(look.labels),
        ]
        for look in looks
    ]
    titles = ["image", *(name.replace("_", " ") for name in names), "labels"]
    return write_png(path, contact_sheet(rows, column_titles=titles, cell_width=CELL_WIDTH))


def _coloured(classes: Tensor) -> Picture:
    """Cityscapes' colours where the classes are its, else any."""
    labels = classes.cpu()
    if bool(((labels < CITYSCAPES_19.num_classes) | (labels == 255)).all()):
        return label_colours(labels, CITYSCAPES_19.palette)
    return id_colours(labels + 1)
