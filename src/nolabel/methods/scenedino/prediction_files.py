"""The files of a prediction, as bytes by name."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image

from nolabel.errors import ConfigError
from nolabel.geometry import PinholeCamera
from nolabel.labels import SSC_16, VOID
from nolabel.methods.scenedino.prediction_pictures import (
    cut_picture,
    feature_picture,
    overlay_picture,
    overview,
    top_picture,
)
from nolabel.methods.scenedino.scene_prediction import ScenePrediction
from nolabel.structures.files import encode_json, encode_png
from nolabel.structures.gltf import GltfPart, encode_glb
from nolabel.structures.pictures import Picture
from nolabel.structures.ply import encode_ply
from nolabel.structures.voxel_mesh import openness
from nolabel.viz import to_picture
from nolabel.viz.result_files import known_formats
from nolabel.viz.scene_page import PageLayer, scene_page

__all__ = ["DEPTH_SCALE", "SCENE_FORMATS", "encode_prediction"]

DEPTH_SCALE = 256
"""Value of a depth PNG for a metre, as KITTI has it."""
MOST_METRES = 65535 / DEPTH_SCALE
FARTHEST_POINT = 60.0  # metres along z, of point clouds: beyond, a rendered depth is a guess

SCENE_FORMATS: dict[str, str] = {
    "depth": "<name>_depth.png: 16 bit, value / 256 = metres along z; <name>_scene.json says camera and frames",
    "labels": "<name>_semantic.png: 8 bit, value = class, 255 void, with palette",
    "features": "<name>_features.png: three principal components as colours, the same for all images of a run",
    "feature_array": "<name>_features.npz: features (C, h, w) float16 at the network's size",
    "overlay": "overlay/<name>.jpg: the classes over the image, or the depth where there are none",
    "sheet": "<name>_sheet.png: everything side by side",
    "views": "<name>_above.png, <name>_cut.png: classes and density from above and in the plane straight ahead",
    "voxels": "<name>_voxels.npz: classes, origin, voxel_size as VoxelScene has them, and density (float16)",
    "sscbench": "sscbench/<name>_1_1.npy: labels (X, Y, Z) uint8, 0 empty, as `evaluate-ssc --predictions` reads them",
    "ply": "<name>_points.ply: coloured points; <name>_mesh.ply: the surface of the voxels",
    "glb": "<name>.glb: both as one glTF 2.0 file",
    "page": "<name>.html: an interactive page, complete in itself",
}
Files = dict[str, bytes]


def encode_prediction(prediction: ScenePrediction, name: str, formats: Iterable[str] | None = None) -> Files:
    """Encode a prediction.

    Args:
        prediction: the scene.
        name: what the files' names start with.
        formats: names of :data:`SCENE_FORMATS`; all that the prediction can give by default, features as an array left out.

    Returns:
        Content by path, with ``/``.

    Raises:
        ConfigError: an unknown format, or one that the prediction has nothing for.
    """
    lacking = _lacking(prediction)
    if formats is None:
        chosen = tuple(kind for kind in SCENE_FORMATS if kind not in lacking and kind != "feature_array")
    else:
        chosen = known_formats(formats, SCENE_FORMATS)
    files: Files = {}
    for kind in chosen:
        if kind in lacking:
            raise ConfigError(f"there is no {kind} to write: {lacking[kind]}")
        files |= _ENCODERS[kind](prediction, name)
    return files


def _lacking(prediction: ScenePrediction) -> dict[str, str]:
    """Formats that cannot be written, and why."""
    lacking: dict[str, str] = {}
    if prediction.classes is None:
        lacking["labels"] = "no semantic head was trained"
    if prediction.voxels is None:
        lacking |= dict.fromkeys(("views", "voxels", "sscbench"), "voxels were not asked for")
    elif prediction.voxels.space != SSC_16:
        lacking["sscbench"] = "the voxels have no classes of SSCBench"
    if prediction.features is None:
        lacking |= dict.fromkeys(("features", "feature_array"), "features were not asked for")
    return lacking


def _depth(prediction: ScenePrediction, name: str) -> Files:
    metres = prediction.depth.clamp(0, MOST_METRES).double().numpy()
    record = {
        "size": list(prediction.size),
        "intrinsics": prediction.intrinsics.tolist(),
        "camera_to_grid": prediction.camera_to_grid.tolist(),
        "depth": {"file": f"{name}_depth.png", "values_per_metre": DEPTH_SCALE, "along": "z"},
        "notes": list(prediction.notes),
    }
    depth = np.rint(DEPTH_SCALE * metres).astype(np.uint16)
    return {f"{name}_depth.png": encode_png(depth), f"{name}_scene.json": encode_json(record)}


def _labels(prediction: ScenePrediction, name: str) -> Files:
    assert prediction.classes is not None  # checked by the caller
    labels = prediction.classes.labels.to(torch.uint8).numpy()
    return {f"{name}_semantic.png": encode_png(labels, prediction.classes.space.palette)}


def _features(prediction: ScenePrediction, name: str) -> Files:
    return _png(f"{name}_features.png", feature_picture(prediction))


def _feature_array(prediction: ScenePrediction, name: str) -> Files:
    assert prediction.features is not None  # checked by the caller
    return {f"{name}_features.npz": _npz(features=prediction.features.half().numpy())}


def _overlay(prediction: ScenePrediction, name: str) -> Files:
    buffer = io.BytesIO()
    Image.fromarray(overlay_picture(prediction)).save(buffer, "JPEG", quality=92)
    return {f"overlay/{name}.jpg": buffer.getvalue()}


def _sheet(prediction: ScenePrediction, name: str) -> Files:
    return _png(f"{name}_sheet.png", overview(prediction))


def _views(prediction: ScenePrediction, name: str) -> Files:
    return _png(f"{name}_above.png", top_picture(prediction)) | _png(
        f"{name}_cut.png", cut_picture(prediction)
    )


def _voxels(prediction: ScenePrediction, name: str) -> Files:
    voxels, density = prediction.voxels, prediction.density
    assert voxels is not None and density is not None  # checked by the caller
    content = _npz(
        classes=voxels.classes.numpy().astype(np.uint8),
        origin=voxels.origin.numpy(),
        voxel_size=np.asarray(voxels.voxel_size),
        density=density.clamp(max=6e4).half().numpy(),
    )
    return {f"{name}_voxels.npz": content}


def _sscbench(prediction: ScenePrediction, name: str) -> Files:
    assert prediction.voxels is not None  # checked by the caller
    labels = prediction.voxels.classes
    buffer = io.BytesIO()
    np.save(buffer, torch.where(labels == VOID, 0, labels).numpy().astype(np.uint8))
    return {f"sscbench/{name}_1_1.npy": buffer.getvalue()}


def _ply(prediction: ScenePrediction, name: str) -> Files:
    cloud = prediction.points(farthest=FARTHEST_POINT)
    labels = None if cloud.labels is None else cloud.labels.numpy()
    files = {f"{name}_points.ply": encode_ply(cloud.points.numpy(), cloud.pixels, labels=labels)}
    if prediction.voxels is not None:
        files[f"{name}_mesh.ply"] = prediction.voxels.mesh().ply()
    return files


def _glb(prediction: ScenePrediction, name: str) -> Files:
    cloud = prediction.points(farthest=FARTHEST_POINT)
    parts = [GltfPart("points", cloud.points.numpy(), cloud.pixels)]
    if prediction.voxels is not None:
        parts.insert(0, prediction.voxels.mesh().gltf())
    return {f"{name}.glb": encode_glb(parts)}


def _page(prediction: ScenePrediction, name: str) -> Files:
    height, width = prediction.size
    edges = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]], dtype=torch.float64) - 0.5
    corners = PinholeCamera(prediction.intrinsics).unproject(edges, torch.full((4,), 2.0).double())
    view = 2 * math.degrees(math.atan(height / 2 / float(prediction.intrinsics[1, 1])))
    content = scene_page(
        name,
        _page_layers(prediction),
        prediction.space,
        camera=prediction.camera_to_grid.numpy(),
        corners=corners.numpy(),
        view=min(120.0, view),
        picture=to_picture(prediction.image),
        notes=prediction.notes,
    )
    return {f"{name}.html": content}


def _page_layers(prediction: ScenePrediction) -> list[PageLayer]:
    """Voxels, where there are any, and points. Both have labels of the voxels' space, so that one legend serves them."""
    layers = []
    voxels, surface = prediction.voxels, prediction.surface
    if voxels is not None and surface is not None:
        places = tuple(surface.cells.T)
        layers.append(
            PageLayer(
                "voxels",
                surface.cells.numpy(),
                voxels.classes[places].numpy(),
                _paints(surface.pixels, surface.colours),
                voxels.origin.tolist(),
                voxels.voxel_size,
                openness(voxels.occupied.numpy())[tuple(axis.numpy() for axis in places)],
            )
        )
    cloud = prediction.points(farthest=FARTHEST_POINT)
    labels = cloud.labels
    if labels is not None and voxels is not None and prediction.voxel_labels is not None:
        labels = prediction.voxel_labels[labels]
        cloud, labels = cloud[labels > 0], labels[labels > 0]  # sky is empty space
    shown = voxels is None
    paints = _paints(cloud.pixels, cloud.colours)
    layers.append(
        PageLayer(
            "points", cloud.points.numpy(), None if labels is None else labels.numpy(), paints, shown=shown
        )
    )
    return layers


def _paints(pixels: Picture, colours: Picture | None) -> dict[str, Picture]:
    return {"image": pixels} if colours is None else {"image": pixels, "features": colours}


def _png(name: str, picture: Picture | None) -> Files:
    assert picture is not None  # checked by the caller
    return {name: encode_png(np.ascontiguousarray(picture))}


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


_ENCODERS: dict[str, Callable[[ScenePrediction, str], Files]] = {
    "depth": _depth,
    "labels": _labels,
    "features": _features,
    "feature_array": _feature_array,
    "overlay": _overlay,
    "sheet": _sheet,
    "views": _views,
    "voxels": _voxels,
    "sscbench": _sscbench,
    "ply": _ply,
    "glb": _glb,
    "page": _page,
}
