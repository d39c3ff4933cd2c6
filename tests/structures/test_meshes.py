"""Voxels as meshes, and the files they are written to."""

import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nolabel.labels import SSC_16
from nolabel.structures import VoxelScene
from nolabel.structures.gltf import GltfPart, encode_glb, linear_light
from nolabel.structures.ply import encode_ply
from nolabel.structures.voxel_mesh import exposed_voxels, merged_faces, openness


def scene_of(classes: np.ndarray) -> VoxelScene:
    return VoxelScene(torch.from_numpy(classes), torch.tensor([1.0, -2.0, 0.5]), 0.5, SSC_16)


def box(shape=(10, 8, 6), start=(2, 1, 2), stop=(5, 7, 4), label=3) -> np.ndarray:
    classes = np.zeros(shape, np.int64)
    classes[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = label
    return classes


def read_ply(content: bytes) -> tuple[list[str], bytes]:
    head, _, body = content.partition(b"end_header\n")
    return head.decode("ascii").splitlines(), body


def read_glb(content: bytes) -> tuple[dict, bytes]:
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON" and size % 4 == 0
    document = json.loads(content[20 : 20 + size])
    rest = content[20 + size :]
    if not rest:
        return document, b""
    length, kind = struct.unpack_from("<I4s", rest)
    assert kind == b"BIN\0" and length % 4 == 0 and len(rest) == 8 + length
    return document, rest[8:]


def accessor(document: dict, body: bytes, number: int) -> np.ndarray:
    entry = document["accessors"][number]
    view = document["bufferViews"][entry["bufferView"]]
    kind = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[entry["componentType"]]
    wide = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[entry["type"]]
    assert view["byteOffset"] % 4 == 0
    values = np.frombuffer(body, kind, entry["count"] * wide, view["byteOffset"])
    assert values.nbytes == view["byteLength"]
    return values.reshape(entry["count"], wide)


def test_a_box_has_six_faces():
    classes = box()
    faces = merged_faces(classes, classes > 0)
    assert len(faces.labels) == 6 and set(faces.labels.tolist()) == {3}
    assert sorted(faces.areas.tolist()) == sorted(2 * [6 * 2] + 2 * [3 * 2] + 2 * [3 * 6])
    assert faces.corners.reshape(-1, 3).min(0).tolist() == [2, 1, 2]
    assert faces.corners.reshape(-1, 3).max(0).tolist() == [5, 7, 4]
    assert sorted(map(tuple, faces.normals.tolist())) == sorted(
        tuple(sign * int(a == axis) for a in range(3)) for axis in range(3) for sign in (-1, 1)
    )


def test_a_box_on_a_plane():
    classes = box(start=(0, 0, 0), stop=(10, 8, 1), label=6) + box(start=(3, 2, 1), stop=(5, 5, 3), label=1)
    faces = merged_faces(classes, classes > 0)
    up = (faces.normals == [0, 0, 1]).all(1)
    ground = faces.labels == 6
    assert faces.areas[up & ground].sum() == 80 - 6 and faces.areas[up & ~ground].tolist() == [6]
    # No face where they touch: the box has five sides.
    assert len(faces.labels[~ground]) == 5 and not (faces.normals[~ground] == [0, 0, -1]).all(1).any()


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 0.95))
def test_merged_faces_cover_every_visible_face_once(seed, share):
    generator = np.random.default_rng(seed)
    shape = tuple(generator.integers(1, 7, 3))
    occupied = generator.random(shape) < share
    labels = generator.integers(0, 3, shape)
    faces = merged_faces(labels, occupied)
    edges = np.diff(faces.corners, axis=1)
    outwards = np.cross(edges[:, 0], edges[:, 1])
    assert (outwards == faces.normals * faces.areas[:, None]).all()  # counter-clockwise, and flat
    padded = np.pad(occupied, 1).astype(int)
    assert faces.areas.sum() == sum(np.abs(np.diff(padded, axis=axis)).sum() for axis in range(3))
    # Every rectangle lies on its voxels: those inside of it have its label, those outside are empty.
    for corners, normal, label in zip(faces.corners, faces.normals, faces.labels, strict=True):
        axis = int(np.abs(normal).argmax())
        low, high = corners.min(0), corners.max(0)
        inner = [slice(a, b) for a, b in zip(low, high, strict=True)]
        depth = low[axis] - (normal[axis] > 0)
        inner[axis] = slice(depth, depth + 1)
        assert occupied[tuple(inner)].all() and (labels[tuple(inner)] == label).all()


def test_exposed_voxels_and_openness():
    classes = box(start=(2, 1, 1), stop=(7, 6, 5))
    exposed = exposed_voxels(classes > 0)
    assert exposed.sum() == 5 * 5 * 4 - 3 * 3 * 2
    assert exposed_voxels(np.ones((3, 3, 3), bool)).sum() == 26
    free = openness(classes > 0)
    assert free[4, 3, 3] == 0 and free[2, 3, 3] == pytest.approx(9 / 26) and free[0, 0, 0] > 0.9
    assert free[2, 1, 1] == pytest.approx(19 / 26)


def test_ply_holds_points_and_quads():
    mesh = scene_of(box()).mesh()
    lines, body = read_ply(mesh.ply())
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "element vertex 24" in lines and "element face 6" in lines
    points = np.frombuffer(body, [("xyz", "<f4", 3), ("rgb", "u1", 3)], 24)
    np.testing.assert_allclose(points["xyz"].min(0), [1 + 0.5 * 2, -2 + 0.5 * 1, 0.5 + 0.5 * 2])
    np.testing.assert_allclose(points["xyz"].max(0), [1 + 0.5 * 5, -2 + 0.5 * 7, 0.5 + 0.5 * 4])
    assert (points["rgb"] == SSC_16.palette[3]).all()
    faces = np.frombuffer(body[24 * 15 :], [("count", "u1"), ("corners", "<i4", 4)])
    assert len(faces) == 6 and (faces["count"] == 4).all()
    assert sorted(faces["corners"].reshape(-1)) == list(range(24))
    lines, body = read_ply(encode_ply(np.eye(3), np.zeros((3, 3), np.uint8), labels=np.array([1, 2, 3])))
    assert "property uchar label" in lines and len(body) == 3 * 16 and body[15::16] == b"\1\2\3"


def test_glb_is_what_the_specification_asks_for():
    scene = scene_of(box())
    cloud = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    colours = np.array([[255, 128, 0], [0, 0, 0]], np.uint8)
    content = encode_glb(
        [scene.mesh().gltf(), GltfPart("points", cloud, colours), GltfPart("none", cloud[:0], colours[:0])]
    )
    document, body = read_glb(content)
    assert document["asset"]["version"] == "2.0" and len(document["nodes"]) == 2
    assert document["buffers"] == [{"byteLength": len(body)}]
    box_mesh, points = (mesh["primitives"][0] for mesh in document["meshes"])
    corners = accessor(document, body, box_mesh["attributes"]["POSITION"])
    entry = document["accessors"][box_mesh["attributes"]["POSITION"]]
    assert entry["min"] == corners.min(0).tolist() and entry["max"] == corners.max(0).tolist()
    # glTF: x right, y up, z backwards.
    np.testing.assert_allclose(corners.min(0), [-1.5, 1.5, -3.5])
    normals = accessor(document, body, box_mesh["attributes"]["NORMAL"])
    triangles = accessor(document, body, box_mesh["indices"]).reshape(-1, 3)
    assert len(triangles) == 12 and box_mesh["mode"] == 4 and points["mode"] == 0
    a, b, c = (corners[triangles[:, corner]] for corner in range(3))
    outwards = np.cross(b - a, c - a)
    assert (np.sign(np.round(outwards, 6)) == normals[triangles[:, 0]]).all()
    np.testing.assert_allclose(
        accessor(document, body, points["attributes"]["POSITION"])[0], [-2.0, 3.0, -1.0]
    )
    paint = accessor(document, body, points["attributes"]["COLOR_0"])
    assert paint[0].tolist() == [65535, round(65535 * linear_light(colours)[0, 1]), 0, 65535]
    assert content == encode_glb([scene.mesh().gltf(), GltfPart("points", cloud, colours)])
    empty, body = read_glb(encode_glb([]))
    assert empty["scenes"] == [{}] and body == b""
