"""Every named label space, and the spaces that are not subsets of Cityscapes."""

from __future__ import annotations

from nolabel.labels.cityscapes import (
    CITYSCAPES_7,
    CITYSCAPES_19,
    CITYSCAPES_27,
    SYNTHIA_13,
    SYNTHIA_16,
    SYNTHIA_SEQ_12,
    VIPER_15,
)
from nolabel.labels.space import LabelClass, LabelSpace

__all__ = ["BINARY_2", "CAMVID_11", "CAMVID_TO_CITYSCAPES", "LABEL_SPACES", "SSCBENCH_19", "SSC_16"]

BINARY_2 = LabelSpace(
    "binary_2",
    (LabelClass("background", (70, 130, 180), False), LabelClass("object", (220, 20, 60), True)),
)
"""Background and objects: MOTS and KITTI instances, class-agnostic detectors."""

CAMVID_11 = LabelSpace(
    "camvid_11",
    (
        LabelClass("sky", (128, 128, 128), False),
        LabelClass("building", (128, 0, 0), False),
        LabelClass("pole", (192, 192, 128), False),
        LabelClass("road", (128, 64, 128), False),
        LabelClass("pavement", (60, 40, 222), False),
        LabelClass("tree", (128, 128, 0), False),
        LabelClass("sign/symbol", (192, 128, 128), False),
        LabelClass("fence", (64, 64, 128), False),
        LabelClass("car", (64, 0, 128), True),
        LabelClass("pedestrian", (64, 64, 0), True),
        LabelClass("bicyclist", (0, 128, 192), True),
    ),
)
"""The SegNet version of CamVid; raw id 11 is void."""

CAMVID_TO_CITYSCAPES = {
    "sky": "sky",
    "building": "building",
    "pole": "pole",
    "road": "road",
    "pavement": "sidewalk",
    "tree": "vegetation",
    "sign/symbol": "traffic sign",
    "fence": "fence",
    "car": "car",
    "pedestrian": "person",
    "bicyclist": "rider",
}

# As SegNet merged CamVid's 32 classes: vehicles are cars, two-wheelers belong to their riders, grass to trees.
CAMVID_MEMBERS = {member: name for name, member in CAMVID_TO_CITYSCAPES.items()} | {
    "bridge": "building",
    "tunnel": "building",
    "wall": "building",
    "parking": "pavement",
    "polegroup": "pole",
    "terrain": "tree",
    "traffic light": "sign/symbol",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "caravan": "car",
    "trailer": "car",
    "motorcycle": "bicyclist",
    "bicycle": "bicyclist",
}
"""Cityscapes class -> the CamVid class it belongs to."""

_SSC_COMMON = (
    LabelClass("empty", (0, 0, 0), False),
    LabelClass("car", (0, 0, 142), True),
    LabelClass("bicycle", (119, 11, 32), True),
    LabelClass("motorcycle", (0, 0, 230), True),
    LabelClass("truck", (0, 0, 70), True),
    LabelClass("other-vehicle", (0, 60, 100), True),
    LabelClass("person", (220, 20, 60), True),
    LabelClass("road", (128, 64, 128), False),
)
_SSC = {
    label_class.name: label_class
    for label_class in (
        LabelClass("parking", (250, 170, 160), False),
        LabelClass("sidewalk", (244, 35, 232), False),
        LabelClass("other-ground", (230, 150, 140), False),
        LabelClass("building", (70, 70, 70), False),
        LabelClass("fence", (190, 153, 153), False),
        LabelClass("vegetation", (107, 142, 35), False),
        LabelClass("terrain", (152, 251, 152), False),
        LabelClass("pole", (153, 153, 153), False),
        LabelClass("traffic-sign", (220, 220, 0), False),
        LabelClass("other-structure", (150, 100, 100), False),
        LabelClass("other-object", (250, 170, 30), False),
    )
}

SSCBENCH_19 = LabelSpace("sscbench_19", _SSC_COMMON + tuple(_SSC.values()))
"""SSCBench-KITTI-360 as published: empty and 18 classes."""

SSC_16 = LabelSpace(
    "ssc_16",
    _SSC_COMMON
    + tuple(
        _SSC[name]
        for name in (
            "sidewalk",
            "building",
            "fence",
            "vegetation",
            "terrain",
            "pole",
            "traffic-sign",
            "other-object",
        )
    ),
)
"""SSCBench-KITTI-360 as SceneDINO evaluates it: empty and 15 classes."""

LABEL_SPACES: dict[str, LabelSpace] = {
    space.name: space
    for space in (
        CITYSCAPES_27,
        CITYSCAPES_19,
        CITYSCAPES_7,
        SYNTHIA_16,
        SYNTHIA_13,
        VIPER_15,
        SYNTHIA_SEQ_12,
        CAMVID_11,
        BINARY_2,
        SSCBENCH_19,
        SSC_16,
    )
}
"""Name -> space, for configurations and files that name a space."""
