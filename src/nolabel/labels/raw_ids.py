"""The raw ids that data sets store in their label files, as data.

Most tables name the Cityscapes class of a raw id; ids that are not listed are void. Source: spec
``semseg_metrics_and_datasets.md`` section 3; the last three tables: ``scenedino.md`` 11.2.
"""

from nolabel.labels.cityscapes import MASTER

CITYSCAPES = {label.raw_id: label.name for label in MASTER}

# fmt: off
KITTI_360 = CITYSCAPES | {34: "building", 35: "fence", 37: "pole"}  # garage, gate, small pole

SYNTHIA = {
    1: "sky", 2: "building", 3: "road", 4: "sidewalk", 5: "fence", 6: "vegetation", 7: "pole", 8: "car",
    9: "traffic sign", 10: "person", 11: "bicycle", 12: "motorcycle", 15: "traffic light", 16: "terrain",
    17: "rider", 18: "truck", 19: "bus", 20: "train", 21: "wall",
}

SYNTHIA_SEQ = {  # raw class 11 is called "bicycle" and holds riders
    1: "sky", 2: "building", 3: "road", 4: "sidewalk", 5: "fence", 6: "vegetation", 7: "pole", 8: "car",
    9: "traffic sign", 10: "person", 11: "rider", 15: "traffic light",
}

VIPER = {
    2: "sky", 3: "road", 4: "sidewalk", 6: "terrain", 7: "vegetation", 8: "vegetation", 9: "building",
    11: "fence", 13: "traffic light", 14: "traffic sign", 20: "person", 22: "bicycle", 23: "motorcycle",
    24: "car", 26: "bus", 27: "truck",
}

BDD_PANOPTIC = {
    5: "parking", 6: "rail track", 7: "road", 8: "sidewalk", 9: "bridge", 10: "building", 11: "fence",
    13: "guard rail", 14: "tunnel", 15: "wall", 20: "pole", 21: "polegroup", 25: "traffic light",
    26: "traffic sign", 28: "terrain", 29: "vegetation", 30: "sky", 31: "person", 32: "rider", 33: "bicycle",
    34: "bus", 35: "car", 36: "caravan", 37: "motorcycle", 38: "trailer", 39: "train", 40: "truck",
}

MAPILLARY = {  # version 1.2, convention of HRDA: crosswalks and bike lanes are void, not road
    2: "sidewalk", 3: "fence", 6: "wall", 13: "road", 15: "sidewalk", 17: "building", 19: "person",
    20: "rider", 21: "rider", 22: "rider", 24: "road", 27: "sky", 29: "terrain", 30: "vegetation",
    41: "road", 45: "pole", 47: "pole", 48: "traffic light", 50: "traffic sign", 52: "bicycle", 54: "bus",
    55: "car", 57: "motorcycle", 58: "train", 61: "truck",
}

WAYMO = {
    2: "car", 3: "truck", 4: "bus", 5: "train", 6: "bicycle", 7: "motorcycle", 9: "person", 10: "rider",
    11: "rider", 15: "pole", 17: "traffic sign", 18: "traffic light", 19: "building", 20: "road", 21: "road",
    22: "road", 23: "sidewalk", 24: "vegetation", 25: "sky",
}
# With seven classes CUPS leaves lane and road markers void and keeps trailers.
WAYMO_7 = {raw: name for raw, name in WAYMO.items() if raw not in (21, 22)} | {8: "trailer"}

SSCBENCH_RAW = {  # raw ids of the voxel files -> the 19 published labels; 0 is empty, void = 0 in the files
    0: 0, 1: 0, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: 0, 32: 0, 40: 7, 44: 8, 48: 9,
    49: 10, 50: 11, 51: 12, 52: 17, 60: 7, 70: 13, 71: 0, 72: 14, 80: 15, 81: 16, 99: 18, 252: 1, 253: 0,
    254: 6, 255: 0, 256: 5, 257: 5, 258: 4, 259: 5,
}
SSCBENCH_TO_SSC = {
    0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 8, 10: 12, 11: 9, 12: 10, 13: 11, 14: 12, 15: 13,
    16: 14, 17: 9, 18: 15, 19: 0,
}
CITYSCAPES_19_TO_SSC = (7, 8, 9, 9, 10, 13, 15, 14, 11, 12, 0, 6, 0, 1, 4, 5, 5, 3, 2)  # sky, rider: empty
# fmt: on
