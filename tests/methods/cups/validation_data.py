"""One small street in every official layout, and its perfect description as clusters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nolabel.methods.cups.statistics import STATISTICS_FILE, PseudoClassStatistics, save_statistics

HEIGHT, WIDTH = 48, 64
# Pieces of the street: class names in the Cityscapes sets, and the raw ids of the data sets.
ROAD, BUILDING, SKY, PERSON, VOID = range(5)
CITYSCAPES_IDS = np.array([7, 11, 23, 24, 0])
BDD_IDS = np.array([7, 10, 30, 31, 0])
WAYMO_IDS = np.array([20, 19, 25, 9, 0])
LABELS_19 = np.array([0, 2, 10, 11, 255])


def street(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> tuple[np.ndarray, np.ndarray]:
    """Pieces and instance ids (two persons), (H, W) each."""
    height, width = size
    pieces = np.full(size, ROAD)
    pieces[: height // 2] = BUILDING
    pieces[: height // 4] = SKY
    pieces[-2:] = VOID
    instances = np.zeros(size, np.int64)
    for number, column in ((1, 4 + seed % 8), (2, width // 2)):
        place = (slice(height // 3, height // 3 * 2), slice(column, column + 8))
        pieces[place], instances[place] = PERSON, number
    return pieces, instances


def picture(seed: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def _cityscapes_values(pieces: np.ndarray, instances: np.ndarray) -> np.ndarray:
    ids = CITYSCAPES_IDS[pieces]
    return np.where(instances > 0, ids * 1000 + instances - 1, ids).astype(np.uint16)


def cityscapes(root: Path, count: int = 2, sizes: list[tuple[int, int]] | None = None) -> list[str]:
    names = []
    for n in range(count):
        size = (HEIGHT, WIDTH) if sizes is None else sizes[n]
        stem = f"ulm_000000_{n:06d}"
        save(root / f"leftImg8bit_sequence/val/ulm/{stem}_leftImg8bit.png", picture(n, size))
        values = _cityscapes_values(*street(n, size))
        save(root / f"gtFine/val/ulm/{stem}_gtFine_instanceIds.png", values)
        names.append(f"{stem}_leftImg8bit")
    return names


def kitti_panoptic(root: Path, count: int = 2) -> list[str]:
    for n in range(count):
        save(root / f"validation/images/{n:06d}_10.png", picture(n))
        save(root / f"validation/cityscapes_instance_format/{n:06d}_10.png", _cityscapes_values(*street(n)))
    return [f"{n:06d}_10" for n in range(count)]


def bdd(root: Path, count: int = 2) -> list[str]:
    for n in range(count):
        pieces, instances = street(n)
        save(root / f"images/10k/val/{n}.jpg", picture(n))
        values = np.zeros((*pieces.shape, 4), np.uint8)
        values[..., 0], values[..., 2], values[..., 3] = BDD_IDS[pieces], instances >> 8, instances & 255
        save(root / f"labels/pan_seg/bitmasks/val/{n}.png", values)
    return [str(n) for n in range(count)]


def muses(root: Path, count: int = 2) -> list[str]:
    annotations = []
    for n in range(count):
        pieces, instances = street(n)
        segment = np.where(pieces == VOID, 0, 1 + 10 * pieces + instances + 300)
        save(root / f"frame_camera/val/clear/day/REC{n}_frame_camera.png", picture(n))
        rgb = np.stack([segment % 256, segment // 256, segment * 0], axis=-1).astype(np.uint8)
        save(root / f"gt_panoptic/val/clear/day/REC{n}_gt_panoptic.png", rgb)
        infos = [
            {"id": int(i), "category_id": int(CITYSCAPES_IDS[(int(i) - 301) // 10])}
            for i in np.unique(segment)
            if i
        ]
        annotations.append({"image_id": f"REC{n}", "segments_info": infos})
    index = root / "gt_panoptic/gt_panoptic_by_condition/val_clear_day.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"annotations": annotations}))
    return [f"REC{n}_frame_camera" for n in range(count)]


def waymo(root: Path, count: int = 2) -> list[str]:
    for n in range(count):
        pieces, instances = street(n)
        folder = root / "validation/scene1"
        save(folder / f"{n}_image.png", picture(n))
        save(folder / f"{n}_semantic.png", WAYMO_IDS[pieces].astype(np.uint8))
        save(folder / f"{n}_instance.png", (instances * 7).astype(np.uint16))
    return [f"scene1{n}_image" for n in range(count)]


def mots(root: Path, count: int = 2) -> list[str]:
    for n in range(count):
        _, instances = street(n)
        save(root / f"train/images/0002/{n:06d}.jpg", picture(n))
        values = np.where(instances > 0, 2000 + instances, 0).astype(np.uint16)
        save(root / f"train/instances/0002/{n:06d}.png", values)
    return [f"0002{n:06d}" for n in range(count)]


def kitti_instance(root: Path, count: int = 2) -> list[str]:
    for n in range(count):
        _, instances = street(n)
        save(root / f"training/image_2/{n:06d}_10.png", picture(n))
        values = np.where(instances > 0, 256 + instances, 0).astype(np.uint16)
        save(root / f"data_object_instance_2/training/instance_2/{n:06d}_10.png", values)
    return [f"{n:06d}_10" for n in range(count)]


def folder(root: Path, count: int = 2) -> list[str]:
    for n in range(count):
        pieces, instances = street(n)
        save(root / f"images/{n}.png", picture(n))
        save(root / f"labels/{n}.png", LABELS_19[pieces].astype(np.uint8))
        save(root / f"instances/{n}.png", instances.astype(np.uint16))
    return [str(n) for n in range(count)]


WRITERS: dict[str, Callable[[Path], list[str]]] = {
    "cityscapes": cityscapes,
    "kitti_panoptic": kitti_panoptic,
    "bdd": bdd,
    "muses": muses,
    "waymo": waymo,
    "mots": mots,
    "kitti_instance": kitti_instance,
    "folder": folder,
}

# Pseudo-classes: persons are split over no class, one class (2) is never used.
PSEUDO_CLASSES = np.array([4, 1, 0, 3, 1])


def perfect_pseudo_labels(out: Path, names: list[str], sizes: list[tuple[int, int]] | None = None) -> Path:
    """The street's pieces as pseudo-classes with objects, and their statistics: persons are the thing."""
    statistics = PseudoClassStatistics.zeros(5)
    for n, name in enumerate(names):
        pieces, instances = street(n, (HEIGHT, WIDTH) if sizes is None else sizes[n])
        classes = PSEUDO_CLASSES[pieces].astype(np.uint8)
        save(out / f"{name}_semantic.png", classes)
        save(out / f"{name}_instance.png", instances.astype(np.uint8))
        statistics.update(torch.from_numpy(classes), torch.from_numpy(instances))
    save_statistics(out / STATISTICS_FILE, statistics, 0.08)
    return out
