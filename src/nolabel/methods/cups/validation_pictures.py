"""Pictures of a validation: aligned predictions and truth over the images."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nolabel import viz
from nolabel.data import LabelledDataset
from nolabel.engine.progress import Progress
from nolabel.labels import VOID, LabelSpace
from nolabel.methods.cups.kept_predictions import KeptPredictions
from nolabel.methods.cups.semantic_protocol import nearest_square
from nolabel.structures import PanopticMap
from nolabel.structures.files import write_png

__all__ = ["compared_pictures", "write_overlays"]

OVERLAYS = "overlays"
Picture = np.ndarray


def compared_pictures(
    dataset: LabelledDataset,
    name: str,
    kept: KeptPredictions,
    classes: Sequence[int],
    *,
    center_crop: int | None = None,
    boxes: bool = False,
) -> dict[str, Picture]:
    """Return the image, the prediction with named classes, the truth and the errors, each (H, W, 3) uint8.

    Args:
        dataset: the labelled images.
        name: which of them.
        kept: the predicted clusters.
        classes: class of every cluster.
        center_crop: side of the square that the protocol scores.
        boxes: draw the boxes of objects.
    """
    sample = dataset[dataset.names.index(name)]
    target = torch.stack([torch.as_tensor(sample["semantic"]), torch.as_tensor(sample["instance"])], dim=-1)
    image = torch.as_tensor(sample["image"])
    if center_crop is not None:
        target = nearest_square(target, center_crop)
        target[..., 1] = 0
        image = nearest_square(image.movedim(0, -1), center_crop).movedim(-1, 0)
    table = torch.full((VOID + 1,), VOID, dtype=torch.long)
    table[: len(classes)] = torch.as_tensor(classes)
    ids = kept.get(name)
    prediction = torch.stack([table[ids[..., 0].clamp(0, VOID)], ids[..., 1]], dim=-1)
    return {
        "image": viz.to_picture(image),
        "prediction": _overlay(image, prediction, dataset.space, boxes),
        "truth": _overlay(image, target, dataset.space, boxes),
        "errors": viz.error_colours(prediction[..., 0], target[..., 0]),
    }


def write_overlays(
    out: Path,
    dataset: LabelledDataset,
    names: Sequence[str],
    kept: KeptPredictions,
    classes: Sequence[int],
    *,
    center_crop: int | None = None,
    boxes: bool = False,
    progress: bool = True,
) -> Path:
    """Write ``<name>_prediction.png`` and ``<name>_truth.png`` of some images; all of them, or none when interrupted.

    Args:
        out: the result folder; overlays of an earlier validation in it are replaced.
        dataset, kept, classes, center_crop, boxes: see :func:`compared_pictures`.
        names: of the images.
        progress: show progress.

    Returns:
        The folder of the overlays.
    """
    folder, unfinished = out / OVERLAYS, out / f".{OVERLAYS}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with Progress("draw", len(names), unit="images", enabled=progress) as line:
            for name in names:
                pictures = compared_pictures(
                    dataset, name, kept, classes, center_crop=center_crop, boxes=boxes
                )
                for kind in ("prediction", "truth"):
                    write_png(unfinished / f"{name}_{kind}.png", pictures[kind])
                line.advance()
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _overlay(image: Tensor, labels: Tensor, space: LabelSpace, boxes: bool) -> Picture:
    picture = viz.panoptic_overlay(image, labels[..., 0], labels[..., 1], space, numbers=True)
    if not boxes:
        return picture
    things = torch.isin(labels[..., 0], torch.as_tensor(space.things))
    _, segments = PanopticMap(labels[..., 0], labels[..., 1] * things, space).segments()
    objects = [segment for segment in segments if segment.instance > 0]
    corners = np.asarray([segment.box for segment in objects], np.float64).reshape(-1, 4)
    return viz.draw_boxes(picture, corners, [space.names[segment.label] for segment in objects])
