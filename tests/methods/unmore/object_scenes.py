"""Pictures of one bright blob each, with label files and mask folders: enough to train on in a test."""

from pathlib import Path

import numpy as np
import torch

from nolabel.methods.unmore.label_files import LabelledImage, write_label_file
from nolabel.structures import Instances
from nolabel.structures.files import write_png

SIZE = (48, 64)


def blob(number: int) -> np.ndarray:
    """An ellipse, (H, W) bool, somewhere else for each number."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    draw = np.random.default_rng(number)
    middle, radii = draw.uniform(0.35, 0.65, 2) * SIZE, draw.uniform(8, 14, 2)
    return ((rows - middle[0]) / radii[0]) ** 2 + ((columns - middle[1]) / radii[1]) ** 2 < 1


def write_scenes(root: Path, count: int = 8) -> tuple[Path, Path]:
    """Write images/, labels.json, and masks/ with ids/ for the PNG layout; return images and labels."""
    labelled = []
    for number in range(count):
        mask = blob(number)
        picture = np.where(mask[..., None], (230, 80, 60), (40, 90, 60)).astype(np.uint8)
        name = f"sub/{number}.png"
        write_png(root / "images" / name, picture)
        write_png(root / "masks" / name, (255 * mask).astype(np.uint8))
        write_png(root / "ids" / name, (2 * mask).astype(np.uint8))
        corner = np.zeros(SIZE, bool)
        corner[:6, :6] = True
        masks = torch.from_numpy(np.stack([corner, mask]))
        instances = Instances(masks, scores=[0.2, 0.9])
        labelled.append(LabelledImage(name, SIZE, number + 1, instances))
    write_label_file(root / "labels.json", labelled)
    return root / "images", root / "labels.json"
