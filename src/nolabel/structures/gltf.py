"""GLB files (binary glTF 2.0): meshes and points with colours, for browsers, Blender and everything else.

Written by hand: the format is a header, a JSON that says what lies where, and the arrays themselves. glTF's axes are x
right, y up, z backwards; its colours are linear light (Khronos, glTF 2.0 specification, 3.4 and 3.7.2.1).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GltfPart", "encode_glb", "linear_light"]

FLOAT, UINT32, UINT16 = 5126, 5125, 5123
VERTICES, INDICES = 34962, 34963
POINTS, TRIANGLES = 0, 4


@dataclass(frozen=True, eq=False)
class GltfPart:
    """One object of a scene.

    Args:
        name: shown by viewers.
        points: (V, 3) metres; x forward, y left, z up.
        colours: (V, 3) uint8 RGB as screens show them.
        quads: (F, 4) corners among the points, counter-clockwise from outside; points alone by default.
        normals: (V, 3) unit vectors, for quads.
    """

    name: str
    points: npt.NDArray[Any]
    colours: npt.NDArray[np.uint8]
    quads: npt.NDArray[Any] | None = None
    normals: npt.NDArray[Any] | None = None


def encode_glb(parts: Sequence[GltfPart]) -> bytes:
    """Return the bytes of a GLB file, the same for the same arrays; parts without points are left out."""
    buffer = _Buffer()
    parts = [part for part in parts if len(part.points)]
    meshes = [_mesh(part, buffer) for part in parts]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "nolabel"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(parts)))} if parts else {}],
    }
    if parts:
        document |= {
            "nodes": [{"name": part.name, "mesh": number} for number, part in enumerate(parts)],
            "meshes": meshes,
            "materials": [
                {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}, "doubleSided": True}
            ],
            "accessors": buffer.accessors,
            "bufferViews": buffer.views,
            "buffers": [{"byteLength": len(buffer.content)}],
        }
    text = json.dumps(document, separators=(",", ":")).encode()
    chunks = [(b"JSON", text + b" " * (-len(text) % 4))]
    if buffer.content:
        chunks.append((b"BIN\0", bytes(buffer.content)))
    body = b"".join(struct.pack("<I", len(data)) + kind + data for kind, data in chunks)
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def linear_light(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Colours as screens show them (sRGB, uint8) as light, 0..1."""
    share = colours / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _upright(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Vectors (V, 3) of x forward, y left, z up in glTF's axes."""
    return np.stack([-vectors[:, 1], vectors[:, 2], -vectors[:, 0]], axis=1).astype("<f4")


def _mesh(part: GltfPart, buffer: _Buffer) -> dict[str, Any]:
    light = np.round(65535 * linear_light(part.colours))
    opaque = np.full((len(light), 1), 65535.0)
    attributes = {
        "POSITION": buffer.add(_upright(part.points), FLOAT, "VEC3", VERTICES, bounds=True),
        "COLOR_0": buffer.add(np.hstack([light, opaque]).astype("<u2"), UINT16, "VEC4", VERTICES),
    }
    primitive: dict[str, Any] = {"attributes": attributes, "mode": POINTS}
    if part.quads is not None:
        if part.normals is not None:
            attributes["NORMAL"] = buffer.add(_upright(part.normals), FLOAT, "VEC3", VERTICES)
        corners = part.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1).astype("<u4")
        primitive |= {"mode": TRIANGLES, "indices": buffer.add(corners, UINT32, "SCALAR", INDICES)}
        primitive["material"] = 0
    return {"name": part.name, "primitives": [primitive]}


class _Buffer:
    """All arrays of a file one after another, and what says where they lie."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(
        self, array: npt.NDArray[Any], component: int, kind: str, target: int, *, bounds: bool = False
    ) -> int:
        """Append an array, whose elements are multiples of four bytes, and return the number of its accessor."""
        data = np.ascontiguousarray(array).tobytes()
        self.views.append(
            {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(data), "target": target}
        )
        self.content += data
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        if component == UINT16:
            accessor["normalized"] = True
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1
