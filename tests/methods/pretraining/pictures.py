"""Small pictures to learn from: squares of one texture on ground of another; and the same with labels."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from nolabel.labels import BINARY_2

SIZE = (40, 56)


def scene(index):
    """Picture (3, H, W) in [0, 1] and labels (H, W): a striped square (class 1) on noise (class 0)."""
    generator = torch.Generator().manual_seed(index)
    image = 0.3 + 0.2 * torch.rand(3, *SIZE, generator=generator)
    labels = torch.zeros(SIZE, dtype=torch.long)
    top, left = torch.randint(0, 16, (2,), generator=generator).tolist()
    image[:, top : top + 24, left : left + 24] = 0.8
    image[:, top : top + 24 : 2, left : left + 24] = 0.6
    labels[top : top + 24, left : left + 24] = 1
    return image, labels


class Pictures(Dataset):
    """Squares on noise."""

    def __init__(self, count=6, start=0):
        self.count, self.start = count, start

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"name": str(index), "image": scene(self.start + index)[0]}


class LabelledPictures(Pictures):
    """The same with labels."""

    space, root = BINARY_2, "memory"

    def __getitem__(self, index):
        image, labels = scene(self.start + index)
        return {"name": str(index), "image": image, "semantic": labels}


def write_pictures(folder, count=6):
    """Write them as PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        array = (scene(index)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        Image.fromarray(array).save(folder / f"{index}.png")
    return folder
