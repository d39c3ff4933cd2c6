"""A prediction as pictures (spec ``scenedino.md`` 17, 19: the demo's)."""

from __future__ import annotations

import numpy as np

from nolabel.methods.scenedino.scene_prediction import ScenePrediction
from nolabel.structures.pictures import Picture
from nolabel.viz import contact_sheet, depth_colours, legend, resize, semantic_overlay, to_picture
from nolabel.viz.layout import PAPER
from nolabel.viz.volume_views import (
    bird_eye,
    density_from_above,
    density_slice,
    slice_of,
    with_metres,
)

__all__ = ["cut_picture", "feature_picture", "overlay_picture", "overview", "top_picture"]

WIDTH = 560
CUT_RISE = 2.0  # heights are drawn so much larger than lengths
NEAR, FAR = 3.0, 60.0  # metres, ends of the colours of depth


def overlay_picture(prediction: ScenePrediction) -> Picture:
    """The classes over the image, or the depth where there are none, (H, W, 3)."""
    image = to_picture(prediction.image)
    if prediction.classes is None:
        return depth_colours(prediction.depth, nearest=NEAR, farthest=FAR)
    return semantic_overlay(image, prediction.classes.labels, prediction.classes.space)


def feature_picture(prediction: ScenePrediction) -> Picture | None:
    """Three principal components of the features as colours, (h, w, 3); None where there are no features."""
    return prediction.view.colours


def top_picture(prediction: ScenePrediction) -> Picture | None:
    """Classes and density from above, side by side; None where there are no voxels."""
    grid, voxels, density = prediction.grid, prediction.voxels, prediction.density
    if grid is None or voxels is None or density is None:
        return None
    far = grid.origin[0] + grid.shape[0] * grid.voxel_size
    left = grid.origin[1] + grid.shape[1] * grid.voxel_size
    edges = (left, grid.origin[1]), (far, grid.origin[0])
    views = {
        "from above": bird_eye(voxels),
        "density from above": density_from_above(density.numpy(), grid.voxel_size),
    }
    parts = [with_metres(view, *edges, width=WIDTH, title=title) for title, view in views.items()]
    return np.concatenate(parts, axis=1)


def cut_picture(prediction: ScenePrediction, aside: float = 0.0) -> Picture | None:
    """Classes and density in the vertical plane straight ahead, one above the other; None where there are no voxels.

    Args:
        prediction: the scene.
        aside: metres to the left of the way ahead.
    """
    grid, voxels, density = prediction.grid, prediction.voxels, prediction.density
    if grid is None or voxels is None or density is None:
        return None
    ends = grid.origin[0], grid.origin[0] + grid.shape[0] * grid.voxel_size
    heights = grid.origin[2] + grid.shape[2] * grid.voxel_size, grid.origin[2]
    where = "straight ahead" if aside == 0 else f"{aside:g} m to the left"
    views = {
        f"cut {where} (heights twice as large)": slice_of(voxels, grid, aside),
        "density, 0.01 to 10 per metre": density_slice(density.numpy(), grid, aside),
    }
    parts = [
        with_metres(view, ends, heights, width=2 * WIDTH, title=title, scale=CUT_RISE)
        for title, view in views.items()
    ]
    return np.concatenate(parts)


def overview(prediction: ScenePrediction) -> Picture:
    """All on one sheet."""
    image = resize(prediction.image, width=WIDTH)
    shown = {
        "image": image,
        "depth": depth_colours(prediction.depth, nearest=NEAR, farthest=FAR),
        "features": feature_picture(prediction),
        "classes": None if prediction.classes is None else overlay_picture(prediction),
    }
    present = [(title, picture) for title, picture in shown.items() if picture is not None]
    sheets = []
    for pair in (present[:2], present[2:]):
        if pair:
            titles, pictures = zip(*pair, strict=True)
            sheets.append(contact_sheet([list(pictures)], column_titles=titles, cell_width=WIDTH))
    sheets += [part for part in (top_picture(prediction), cut_picture(prediction)) if part is not None]
    labels = prediction.seen_labels()
    if labels:
        space = prediction.space
        sheets.append(legend(space, labels, columns=6))
    width = max(sheet.shape[1] for sheet in sheets)
    return np.concatenate([_widened(sheet, width) for sheet in sheets])


def _widened(sheet: Picture, width: int) -> Picture:
    """White at the right, and a gap below."""
    missing = width - sheet.shape[1]
    padded = [np.pad(sheet[..., c], ((0, 12), (0, missing)), constant_values=PAPER[c]) for c in range(3)]
    return np.stack(padded, axis=-1)
