"""Voxels and points as ONE HTML file: a viewer for any browser, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import html
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nolabel.labels import LabelSpace
from nolabel.structures.pictures import Picture
from nolabel.viz.layout import resize
from nolabel.viz.report import embed_image

__all__ = ["PageLayer", "scene_page"]

TITLES = {"classes": "Classes", "image": "Image", "features": "Features", "height": "Height"}
LARGEST = 65535
DOT = 0.09  # metres, diameter of a point
PICTURE_WIDTH = 480


@dataclass(frozen=True, eq=False)
class PageLayer:
    """Things of one kind.

    Args:
        kind: ``voxels`` or ``points``.
        places: voxels: (N, 3) cells, >= 0; points: (N, 3) metres.
        labels: (N,) of the page's label space; None where there are none.
        paints: by ``image`` or ``features``: (N, 3) uint8.
        origin: voxels: corner of cell (0, 0, 0), metres.
        cell: voxels: edge of a cell, metres.
        openness: voxels: (N,) 0..1, dark to bright.
        shown: at first.
    """

    kind: Literal["voxels", "points"]
    places: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None = None
    paints: Mapping[str, Picture] = field(default_factory=dict)
    origin: Sequence[float] = (0.0, 0.0, 0.0)
    cell: float = 1.0
    openness: npt.NDArray[Any] | None = None
    shown: bool = True


def scene_page(
    title: str,
    layers: Sequence[PageLayer],
    space: LabelSpace,
    *,
    camera: npt.NDArray[Any] | None = None,
    corners: npt.NDArray[Any] | None = None,
    view: float = 60.0,
    picture: Picture | None = None,
    notes: Sequence[str] = (),
) -> bytes:
    """Return the page, the same bytes for the same arrays.

    The frame is x forward, y left, z up, metres. The page needs WebGL 2 and DecompressionStream, as all browsers have since
    2023.

    Args:
        title: heading and window title.
        layers: what is shown; empty ones are left out.
        space: what labels mean.
        camera: (4, 4) of the camera (x right, y down, z forward) to the frame.
        corners: (4, 3) the picture's corners in the camera's frame, drawn as a frame in space.
        view: vertical field of view of the camera, degrees.
        picture: shown small.
        notes: remarks, shown small.
    """
    block = _Block()
    layers = [layer for layer in layers if len(layer.places)]
    header: dict[str, Any] = {"layers": [_layer(layer, block) for layer in layers]}
    camera = _at_origin() if camera is None else np.asarray(camera, dtype=np.float64)
    if corners is not None:
        header["layers"].append(_frame(camera, np.asarray(corners, dtype=np.float64), block))
    header |= {
        "colours": [{"name": name, "title": TITLES[name]} for name in _modes(layers)],
        "palette": space.palette.tolist(),
        "classes": _legend(layers, space),
        "dot": DOT,
        **_extent(layers),
    }
    header["views"] = _views(camera, view, header["reach"])
    return _page(title, header, block.packed(), picture, notes).encode()


class _Block:
    """All arrays of a page one after another."""

    def __init__(self) -> None:
        self._content = bytearray()

    def add(self, array: npt.NDArray[Any]) -> list[int]:
        """Append an array; return where it begins and how many bytes it has."""
        self._content += b"\0" * (-len(self._content) % 4)
        data = np.ascontiguousarray(array).tobytes()
        self._content += data
        return [len(self._content) - len(data), len(data)]

    def packed(self) -> str:
        """Return everything deflated, as text."""
        return base64.b64encode(zlib.compress(bytes(self._content), 9)).decode("ascii")


def _layer(layer: PageLayer, block: _Block) -> dict[str, Any]:
    if layer.kind == "voxels":
        places, offset, scale = layer.places, list(layer.origin), [layer.cell] * 3
    else:
        low, high = layer.places.min(axis=0), layer.places.max(axis=0)
        step = np.maximum((high - low) / LARGEST, 1e-6)
        places = np.rint((layer.places - low) / step)
        offset, scale = low.tolist(), step.tolist()
    entry: dict[str, Any] = {
        "kind": layer.kind,
        "title": layer.kind.capitalize(),
        "count": len(places),
        "places": block.add(places.astype("<u2")),
        "offset": [float(value) for value in offset],
        "scale": [float(value) for value in scale],
        "labels": None if layer.labels is None else block.add(layer.labels.astype(np.uint8)),
        "paints": {name: block.add(paint) for name, paint in layer.paints.items()},
        "shown": layer.shown,
    }
    if layer.openness is not None:
        entry["open"] = block.add(np.rint(255 * layer.openness).astype(np.uint8))
    return entry


def _frame(camera: npt.NDArray[Any], corners: npt.NDArray[Any], block: _Block) -> dict[str, Any]:
    """Lines from the camera to the corners of its picture and between them."""
    ends = np.concatenate([np.zeros((1, 3)), corners]) @ camera[:3, :3].T + camera[:3, 3]
    pairs = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)]
    lines = PageLayer("points", ends[np.array(pairs).reshape(-1)])
    return _layer(lines, block) | {"kind": "lines", "title": ""}


def _modes(layers: Sequence[PageLayer]) -> list[str]:
    """Colours that some layer has, in a fixed order."""
    names = {name for layer in layers for name in layer.paints} | {"height"}
    if any(layer.labels is not None for layer in layers):
        names.add("classes")
    return [name for name in TITLES if name in names]


def _legend(layers: Sequence[PageLayer], space: LabelSpace) -> list[dict[str, Any]]:
    """Classes that occur, most frequent first, with their shares of the first layer that has them."""
    labelled = [layer.labels for layer in layers if layer.labels is not None]
    if not labelled:
        return []
    counts = np.bincount(np.concatenate(labelled).astype(np.int64), minlength=256)
    first = np.bincount(labelled[0].astype(np.int64), minlength=256)
    present = [label for label in np.argsort(-counts, kind="stable").tolist() if counts[label]]
    total = max(1, int(first.sum()))
    return [
        {
            "label": label,
            "name": space.names[label] if label < space.num_classes else "void",
            "share": f"{100 * first[label] / total:.1f} %",
        }
        for label in present
    ]


def _extent(layers: Sequence[PageLayer]) -> dict[str, Any]:
    """Heights of most things, lowest and highest, and how far things are."""
    if not layers:
        return {"heights": [0.0, 1.0], "extent": [0.0, 1.0], "reach": 30.0}
    parts = [
        np.asarray(layer.origin) + layer.cell * (layer.places + 0.5)
        if layer.kind == "voxels"
        else layer.places
        for layer in layers
    ]
    z = np.concatenate([part[:, 2] for part in parts])
    x = np.concatenate([part[:, 0] for part in parts])
    low, high = np.percentile(z, [1, 99])
    # A few points far up would make the slider useless.
    ends = [float(np.percentile(z, 0.1)), float(np.percentile(z, 99.9))]
    ends[1] = max(ends[1], ends[0] + 0.1)
    return {"heights": [float(low), float(high)], "extent": ends, "reach": float(np.percentile(x, 95))}


def _views(camera: npt.NDArray[Any], view: float, reach: float) -> dict[str, Any]:
    """Places to look from: an overview, the camera's own, and from above."""
    ahead = camera[:3, 2]
    place, target = camera[:3, 3], camera[:3, 3] + 10 * ahead
    yaw, pitch = math.atan2(ahead[1], ahead[0]), -math.asin(max(-1.0, min(1.0, float(ahead[2]))))
    far = max(8.0, min(reach, 60.0))
    wide = math.radians(50)
    middle = [0.42 * far, 0.0, float(place[2]) - 1.0]
    return {
        "start": {"target": middle, "yaw": -0.45, "pitch": 0.52, "range": 0.95 * far, "view": wide},
        "camera": {
            "target": target.tolist(),
            "yaw": yaw,
            "pitch": pitch,
            "range": 10.0,
            "view": math.radians(view),
        },
        "above": {
            "target": [0.5 * far, 0.0, 0.0],
            "yaw": 0.0,
            "pitch": 1.55,
            "range": 1.3 * far,
            "view": wide,
        },
    }


def _at_origin() -> npt.NDArray[np.float64]:
    return np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def _page(
    title: str, header: Mapping[str, Any], data: str, picture: Picture | None, notes: Sequence[str]
) -> str:
    files = resources.files("nolabel.viz")
    style, script = ((files / f"scene_viewer.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    name = html.escape(title)
    small = "" if picture is None else resize(picture, width=min(PICTURE_WIDTH, picture.shape[1]))
    shown = "" if isinstance(small, str) else f'<img alt="the image" src="{embed_image(small, quality=80)}">'
    remarks = "".join(f'<p class="notes">{html.escape(note)}</p>' for note in notes)
    facts = json.dumps(header, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{name}</title>
<style>
{style}</style>
</head>
<body>
<canvas id="canvas" tabindex="0" aria-label="The scene: drag to turn it, shift and drag to move it, wheel to zoom"></canvas>
<section id="panel" aria-label="What is shown">
<header><h1 title="{name}">{name}</h1>
<button id="fold" type="button" aria-expanded="true" aria-label="Fold the panel"></button></header>
{shown}
<h2>Show</h2><div class="choice" id="layers"></div>
<h2>Colours</h2><div class="choice" id="colours"></div>
<h2>Look from</h2><div class="choice" id="views"></div>
<div class="slider"><label for="cut">Hide above</label><output id="cut-value"></output><input type="range" id="cut"></div>
<div class="slider" id="size-row"><label for="size">Size of points</label><output id="size-value"></output>
<input type="range" id="size"></div>
<h2>Classes</h2><div id="legend"></div>
{remarks}
<p class="help">Drag: turn. Shift or right button, two fingers: move. Wheel, pinch: zoom. Double click: back.</p>
</section>
<p id="message" role="status" hidden></p>
<script type="application/json" id="scene">{facts}</script>
<script type="text/plain" id="data">{data}</script>
<script>
{script}</script>
</body>
</html>
"""
