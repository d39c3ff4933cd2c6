"""Rows of what is read beside the training: patches of rare classes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.cups.row import Bench, Row, Work
from benchmarks.quadmix.samples import BATCH, CLASSES, blobs
from benchmarks.quadmix.twins import ratio, times_faster
from nolabel.data import open_labels
from nolabel.data.class_statistics import class_statistics
from nolabel.methods.quadmix.mixing_config import RareClassesConfig
from nolabel.methods.quadmix.patches import LabelledFrames, PatchBank, frames_with_class
from nolabel.structures.files import write_png

FRAME, FULL, CROP = (1052, 1914), (1024, 2048), 1024
COUNT = 16
FILES_OF_GTA5 = 24966
RARE = RareClassesConfig(classes=(3, 4, 5, 6, 12, 15, 16, 17, 18))
MEAN = (123.675, 116.28, 103.53)


def write_frames(folder: Path) -> Path:
    """Frames of the size of GTA5, with all classes in every one."""
    if (folder / "images").is_dir():
        return folder
    generator = np.random.default_rng(0)
    sides = (FRAME[0] // 32 * 32, FRAME[1] // 32 * 32)
    for index in range(COUNT):
        ids = np.zeros(FRAME, np.uint8)
        ids[: sides[0], : sides[1]] = blobs(index, sides, 1)[0].numpy()
        picture = 12 * ids[..., None] + generator.integers(0, 6, (*FRAME, 3), dtype=np.uint8)
        write_png(folder / "images" / f"{index:05d}.png", picture.astype(np.uint8))
        write_png(folder / "labels" / f"{index:05d}.png", ids)
    return folder


def one_by_one(folder: Path, classes: list[int], files: str) -> list[tuple[Tensor, Tensor]]:
    """Decode, resize, crop and translate whole frames until one shows a class, as the original does in its loop."""
    patches = []
    for _ in range(2 * BATCH):
        json.loads(files)  # it is read anew by every composite
        for class_id in classes:
            while True:
                name = f"{random.randrange(COUNT):05d}.png"
                image = Image.open(folder / "images" / name).convert("RGB").resize(FULL[::-1], Image.BILINEAR)
                raw = Image.open(folder / "labels" / name).resize(FULL[::-1], Image.NEAREST)
                left, top = random.randint(0, FULL[1] - CROP), random.randint(0, FULL[0] - CROP)
                box = (left, top, left + CROP, top + CROP)
                pixels = np.asarray(image.crop(box), np.float32)
                ids = np.asarray(raw.crop(box), np.float32)
                labels = 255 * np.ones_like(ids)
                for number in range(CLASSES):
                    labels[ids == number] = number
                if (labels == class_id).sum() > RARE.min_pixels:
                    break
            values = (pixels[:, :, ::-1] - MEAN) / 255
            patches.append(
                (torch.from_numpy(values.transpose(2, 0, 1).copy()).float(), torch.from_numpy(labels))
            )
    return patches


def prepare_patches(bench: Bench, warm: bool) -> Work:
    """The eight patches of an iteration; without frames in memory, or with all of them there."""
    folder = write_frames(bench.scenes / "frames")
    dataset = open_labels(folder)
    statistics = class_statistics(dataset)
    files = json.dumps({str(c): [f"{i:05d}.png" for i in range(FILES_OF_GTA5)] for c in range(CLASSES)})

    def bank() -> PatchBank:
        frames = LabelledFrames(dataset, FULL)
        return PatchBank(frames, frames_with_class(statistics, RARE), RARE, (CROP, CROP))

    kept = bank()
    generator = torch.Generator().manual_seed(0)
    if warm:
        for index in range(COUNT):
            kept.image(index), kept.labels(index)

    def own() -> None:
        used = kept if warm else bank()
        used.read(used.draw(generator, BATCH))

    return lambda: ratio(own, lambda: one_by_one(folder, [3, 12], files), "cpu")


ROWS = (
    Row(
        "patches",
        "8 rare patches of 1052x1914 PNG, nothing in memory, beside whole frames",
        lambda bench: prepare_patches(bench, False),
        accelerated=False,
        note=times_faster,
    ),
    Row(
        "patches-kept",
        "the same with all frames in memory (small data sets)",
        lambda bench: prepare_patches(bench, True),
        accelerated=False,
        note=times_faster,
    ),
)
