"""Time the semantic half of the CUPS pseudo-labels: dense CRF, embedded features, geometry, clusters.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/cups_semantics.py

Prints CPU seconds on one thread. Original on one core (spec cups_pseudo 14.1): CRF 11.1 s (27 classes, 320x640,
10 iterations); DepthG ViT-B/8 one 320x320 window 10 s.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from nolabel.models.clusters import fit_clusters
from nolabel.models.dense_crf import dense_crf
from nolabel.models.features import build_features, scene_geometry


def seconds(work: Callable[[], object], repeats: int) -> float:
    """CPU seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def smooth_picture(height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """A picture with regions, gradients and a little noise, as (3, H, W) in [0, 1]."""
    layers = [
        F.interpolate(
            torch.rand(1, 3, height // step, width // step, generator=generator),
            size=(height, width),
            mode="bilinear",
        )[0]
        * weight
        for step, weight in ((64, 0.6), (16, 0.3), (1, 0.04))
    ]
    return torch.stack(layers).sum(0).clamp(0, 1)


def main() -> None:
    """Print one line for each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 640), help="height and width")
    parser.add_argument("--classes", type=int, default=27)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    height, width = options.size
    generator = torch.Generator().manual_seed(0)
    image = smooth_picture(height, width, generator)
    scores = 2 * torch.randn(options.classes, height // 8, width // 8, generator=generator)
    bytes_image = (image * 255).to(torch.uint8)
    disparity = torch.linspace(0.5, 60, height)[None, :, None].expand(1, height, width).contiguous()
    matrix = torch.tensor([[width * 1.1, 0, width / 2], [0, width * 1.1, height / 2], [0, 0, 1]])
    known = torch.ones(height, width, dtype=torch.bool)
    embedded = build_features("embedded")
    geometry = scene_geometry(disparity, matrix, 0.5, known)
    samples = torch.randn(60_000, embedded.channels, generator=generator)
    print(f"{height}x{width}, {options.classes} classes, one thread, CPU seconds")
    parts: dict[str, Callable[[], object]] = {
        "dense CRF, 10 iterations": lambda: dense_crf(scores, bytes_image),
        "stereo geometry": lambda: scene_geometry(disparity, matrix, 0.5, known),
        "embedded features": lambda: embedded(image[None], geometry),
        "cluster fit, 60 000 samples": lambda: fit_clusters(
            samples, options.classes, torch.Generator().manual_seed(0), balance=0.35, lift=3.0
        ),
    }
    for name, work in parts.items():
        print(f"  {name:30s} {seconds(work, options.repeats):7.3f}")


if __name__ == "__main__":
    main()
