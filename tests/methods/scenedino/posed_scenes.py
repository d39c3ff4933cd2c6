"""Small posed scenes: noise for tests of the machinery, and a textured wall whose geometry can be learnt."""

import torch
from torch.utils.data import Dataset

from nolabel.data.posed_views import PosedSample

NETWORK = {
    "architecture": "vit-t",
    "image_size": [32, 64],
    "options": {
        "target": "descriptors", "channels": 15, "stride": 4, "decoded": 16, "reassembled": [8, 8, 16, 16],
        "compact": 8, "hidden": 16, "expansion_hidden": 16,
    },
}  # fmt: skip


class NoiseScenes(Dataset):
    """Views of nothing in particular; labels and depth where asked for."""

    def __init__(self, count: int = 6, views: int = 8, size: tuple[int, int] = (32, 64), classes: int = 3):
        self.count, self.views, self.size, self.classes = count, views, size, classes

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> PosedSample:
        generator = torch.Generator().manual_seed(index)
        height, width = self.size
        coarse = torch.rand(self.views, 3, 4, 8, generator=generator)
        images = torch.nn.functional.interpolate(coarse, size=self.size, mode="bilinear")
        intrinsics = torch.tensor([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]])
        poses = torch.eye(4).repeat(self.views, 1, 1)
        poses[:, 0, 3] = 0.3 * torch.arange(self.views)
        labels = torch.randint(self.classes, self.size, generator=generator) if self.classes else None
        return PosedSample(
            name=f"scene_{index}",
            images=images,
            intrinsics=intrinsics.repeat(self.views, 1, 1),
            poses=poses,
            frame_ids=tuple(number % 2 for number in range(self.views)),
            cameras=tuple(f"camera_{number // 2}" for number in range(self.views)),
            labels=labels,
            depth=torch.full(self.size, 10.0),
        )
