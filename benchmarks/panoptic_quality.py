"""Time panoptic quality with semantic matching on one Cityscapes-sized pair (the original: 0.18 + 19.3 s).

python benchmarks/panoptic_quality.py [--height 1024 --width 2048 --clusters 27 --instances 60 --repeats 7]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from nolabel.labels import LABEL_SPACES
from nolabel.metrics import PanopticQuality


def random_map(
    generator: torch.Generator, height: int, width: int, classes: int, things: set[int], instances: int
) -> torch.Tensor:
    """A panoptic map ``(1, H, W, 2)`` of blobs, with 5 % void and scattered single wrong pixels."""

    def blobs(values: int, cell: int) -> torch.Tensor:
        coarse = torch.randint(values, (1, 1, height // cell, width // cell), generator=generator)
        return F.interpolate(coarse.float(), (height, width))[0, 0].long()

    category = blobs(classes, 64)
    noise = torch.rand(height, width, generator=generator)
    scattered = torch.randint(classes, (height, width), generator=generator)
    category = torch.where(noise < 0.02, scattered, category)
    category = torch.where(blobs(20, 32) == 0, 255, category)
    is_thing = torch.isin(category, torch.tensor(sorted(things)))
    return torch.stack([category, (blobs(instances, 32) + 1) * is_thing], dim=-1)[None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--clusters", type=int, default=27)
    parser.add_argument("--stuff-clusters", type=int, default=17)
    parser.add_argument("--instances", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space = LABEL_SPACES["cityscapes_27"]
    generator = torch.Generator().manual_seed(0)
    size = options.height, options.width
    thing_clusters = set(range(options.stuff_clusters, options.clusters))
    prediction = random_map(generator, *size, options.clusters, thing_clusters, options.instances)
    target = random_map(generator, *size, space.num_classes, set(space.things), options.instances)
    seconds = []
    for _ in range(options.repeats):
        metric = PanopticQuality(options.clusters, options.stuff_clusters, space)
        start = time.perf_counter()
        metric.update(prediction, target)
        middle = time.perf_counter()
        metric.compute()
        seconds.append((middle - start, time.perf_counter() - middle))
    update, compute = (statistics.median(column) for column in zip(*seconds, strict=True))
    rows = len(metric.rows[0])
    print(f"{size[0]}x{size[1]} pair, one thread, {rows} segment pairs, median of {options.repeats}:")
    print(
        f"update {update:.3f} s + compute {compute:.3f} s = {update + compute:.3f} s (original 0.18 + 19.3 s)"
    )


if __name__ == "__main__":
    main()
