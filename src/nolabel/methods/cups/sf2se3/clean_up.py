"""From the chosen masks to the final instance map: fill holes, paint, drop what is too small (spec 6.3, 6.4)."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError
from torch import Tensor

from nolabel.methods.cups.sf2se3.run import NEIGHBOURHOODS
from nolabel.structures import StereoCalibration


def fill_holes(mask: Tensor, connectivity: int, reference_compat: bool = False) -> Tensor:
    """Fill holes of a mask (H, W), and background pieces that it cuts off from the largest one.

    ``connectivity`` is the object's; its holes are connected the other way (8-connected objects close diagonal
    gaps). ``reference_compat``: as the original, holes are connected the same way, and an object larger than
    every background piece counts as background, so that everything but the object becomes the object.
    """
    hole_connectivity = connectivity if reference_compat else 12 - connectivity
    outside, count = ndimage.label(~mask.cpu().numpy(), structure=NEIGHBOURHOODS[hole_connectivity])
    if count == 0:
        return mask
    sizes = np.bincount(outside.ravel())
    if not reference_compat:
        sizes[0] = 0
    return torch.from_numpy(outside != sizes.argmax()).to(mask.device)


def paint(masks: Tensor, connectivity: int, reference_compat: bool = False) -> tuple[Tensor, Tensor]:
    """Fill the holes of masks (P, H, W) and paint them into one map.

    Smaller objects lie over larger ones; with ``reference_compat`` larger over smaller, as in the original.

    Returns:
        image (H, W) int64 with ids 1..P in the order of painting (hidden ones are missing), and that order (P,)
        as indices of ``masks``.
    """
    image = masks.new_zeros(masks.shape[1:], dtype=torch.int64)
    order = masks.flatten(1).sum(dim=1).argsort(stable=True, descending=not reference_compat)
    for index, mask in enumerate(masks[order], start=1):
        image[fill_holes(mask, connectivity, reference_compat)] = index
    return image, order


def drop_small_objects(
    instances: Tensor,
    points: Tensor,
    camera: StereoCalibration,
    min_pixels: int,
    min_surface: float,
    reference_compat: bool = False,
) -> Tensor:
    """Remove objects that are small in pixels or in the world, and number the others 1..N.

    Args:
        instances: (H, W) int64, 0 = none.
        points: (3, H, W) metres; depth 0 where unknown.
        camera: calibration in pixels.
        min_pixels: least pixels.
        min_surface: least surface in square metres.
        reference_compat: as the original, measure the surface of a Delaunay triangulation of the mask's points
            (which depth noise inflates and which spans concave gaps), not of the mask at its median depth.
    """
    count = int(instances.max())
    pixels = instances.flatten().bincount(minlength=count + 1)
    keep = pixels >= min_pixels
    for index in range(1, count + 1):
        if keep[index]:
            mask = instances == index
            surface = (
                triangulated_surface(mask, points)
                if reference_compat
                else frontal_surface(mask, points[2], camera)
            )
            keep[index] = surface >= min_surface
    keep[0] = False
    return torch.where(keep, keep.cumsum(dim=0), 0)[instances]


def frontal_surface(mask: Tensor, depth: Tensor, camera: StereoCalibration) -> float:
    """Return the area in square metres of a mask (H, W) put up facing the camera at its median known depth."""
    known = depth[mask & (depth > 0)]
    if not len(known):
        return 0.0
    return float(mask.sum() * known.median() ** 2 / (camera.fx * camera.fy))


def triangulated_surface(mask: Tensor, points: Tensor) -> float:
    """Return the area in square metres of the Delaunay triangulation of a mask's pixels, lifted to 3D.

    Pixels on one line have no triangulation: their area is 0.
    """
    pixels = mask.nonzero().cpu().numpy()
    if len(pixels) < 3:
        return 0.0
    try:
        triangles = torch.from_numpy(Delaunay(pixels).simplices.astype(np.int64))
    except QhullError:
        return 0.0
    corners = points[:, mask].T.double().cpu()[triangles]  # (T, 3, 3)
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(normals.norm(dim=1).sum() / 2)
