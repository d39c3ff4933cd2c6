"""PLY files, binary little endian: coloured points or polygons that every 3D program opens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["encode_ply"]

Array = npt.NDArray[np.generic]


def encode_ply(
    points: Array,
    colours: Array,
    *,
    quads: Array | None = None,
    labels: Array | None = None,
) -> bytes:
    """Return the bytes of a PLY file, the same for the same arrays.

    Args:
        points: (V, 3) coordinates; stored as float32.
        colours: (V, 3) uint8 RGB.
        quads: (F, 4) positions of each face's corners among the points, counter-clockwise from outside; points alone
            by default.
        labels: (V,) uint8, stored as the property ``label``.
    """
    fields: list[tuple[str, str, int]] = [("xyz", "<f4", 3), ("rgb", "u1", 3)]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    if labels is not None:
        fields.append(("label", "u1", 1))
        header.append("property uchar label")
    vertices = np.empty(len(points), np.dtype([(name, kind, (size,)) for name, kind, size in fields]))
    vertices["xyz"], vertices["rgb"] = points, colours
    if labels is not None:
        vertices["label"] = np.asarray(labels)[:, None]
    body = vertices.tobytes()
    if quads is not None:
        header += [f"element face {len(quads)}", "property list uchar int vertex_indices"]
        faces = np.empty(len(quads), np.dtype([("count", "u1"), ("corners", "<i4", (4,))]))
        faces["count"], faces["corners"] = 4, quads
        body += faces.tobytes()
    return "\n".join([*header, "end_header", ""]).encode("ascii") + body
